//! How long an edited service was interrupted: from the end of its old container to the new node's word that it
//! is ready.
//!
//! The robot's engine is asked when all is over, by its own clock, and the same for everybody: when the old
//! container died, when the new one was started, when the new node wrote that line. It is written after the first
//! heartbeat: from then on the health check succeeds. Docker's own verdict would hide the difference: its first try
//! comes seconds after a start, whoever deploys. Nor does it count when a deploy has found out: `deploy` tries the
//! check itself, `docker compose up` does not wait for it.

use serde::{Deserialize, Serialize};

use crate::error::{Failure, Result};

/// The three moments, in nanoseconds: PROJECT SERVICE OLD-CONTAINER WORDS. Who has deployed by hand may have to wait
/// for the last: the engine tells it when it comes, and is not asked again and again.
pub const MOMENTS: &str = r#"
new=$(docker container ls --quiet --no-trunc --filter "label=com.docker.compose.project=$1" \
    --filter "label=com.docker.compose.service=$2")
last() {
    docker events --since 1 --until "$(date +%s.%N)" --filter "container=$1" --filter "event=$2" \
        --format '{{.TimeNano}}' | tail -n 1
}
last "$3" die
last "$new" start
pipe=$(mktemp -u) && mkfifo "$pipe" || exit
timeout 60 docker container logs --follow --timestamps "$new" >"$pipe" 2>&1 &
ready=$(grep -m 1 -F -- "$4" "$pipe")
kill $!
rm "$pipe"
[ -z "$ready" ] || date -d "${ready%% *}" +%s%N"#;

/// An interruption.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// Seconds from the end of the old container to the start of the new one.
    pub to_start: f64,
    /// Seconds from there to the new node's word that it is ready.
    pub to_ready: f64,
}

impl Gap {
    /// What [`MOMENTS`] prints of a service.
    pub fn parse(text: &str, service: &str) -> Result<Self> {
        let moments: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        match moments[..] {
            [died, started, ready] if died <= started && started <= ready => {
                Ok(Self { to_start: seconds(started - died), to_ready: seconds(ready - started) })
            }
            _ => Err(Failure::failed(format!("`{service}` was not replaced by one that says it is ready"))
                .hint(format!("the robot's engine tells of it: `{}`", text.replace('\n', ", ")))
                .into()),
        }
    }

    /// All of it.
    pub fn seconds(self) -> f64 {
        self.to_start + self.to_ready
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_moments_make_a_gap() -> Result<()> {
        let gap = Gap::parse("1700000000250000000\n1700000000500000000\n1700000002000000000", "a")?;
        assert_eq!(gap, Gap { to_start: 0.25, to_ready: 1.5 });
        assert!((gap.seconds() - 1.75).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn a_moment_that_is_missing_or_out_of_order_is_an_error() {
        for text in ["", "1\n2", "2\n1\n3", "1\n3\n2", "1\n2\n3\n4"] {
            Gap::parse(text, "lidar").unwrap_err();
        }
    }
}
