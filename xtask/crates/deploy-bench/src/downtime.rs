//! Downtime of an edited service: from the end of its old container until the new node logs that it is ready.
//!
//! The times come from the robot's engine, by its own clock and in the same way for every method: when the
//! old container died, when the new container started, and when the new node logged its ready message. The
//! node logs that message after its first heartbeat, and from then on the health check succeeds. Docker's own
//! health status would hide the differences between methods, because Docker first runs the check seconds
//! after a start. The end of the deploy is not comparable either: `deploy` runs the check itself, but `docker
//! compose up` does not wait for it.

use serde::{Deserialize, Serialize};

use robot_deploy::error::{Failure, Result};

/// Script that prints when the old container died, when the new container started and when the new node was
/// ready, in nanoseconds. Arguments: PROJECT SERVICE OLD-CONTAINER READY-TEXT. After a deploy by hand the
/// node may not be ready yet, or may have to start twice, so the script waits for the line in the container's log.
pub(crate) const TIMESTAMPS: &str = r#"
new=$(docker container ls --quiet --no-trunc --filter "label=com.docker.compose.project=$1" \
    --filter "label=com.docker.compose.service=$2")
last() {
    docker events --since 1 --until "$(date +%s.%N)" --filter "container=$1" --filter "event=$2" \
        --format '{{.TimeNano}}' | tail -n 1
}
last "$3" die
start=$(last "$new" start)
echo "$start"
ready=$(timeout 60 sh -c 'until docker container logs --timestamps --since "$1" "$2" 2>&1 | grep -m 1 -F -- "$3"; do
    sleep 0.5; done' sh "${start%?????????}.${start#??????????}" "$new" "$4")
[ -z "$ready" ] || date -d "${ready%% *}" +%s%N"#;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Downtime {
    /// Seconds from the end of the old container to the start of the new one.
    pub to_start: f64,
    /// Seconds from that start until the new node logs that it is ready.
    pub to_ready: f64,
    /// Time at which it does, in nanoseconds since 1970 by the clock of the robot, which a simulated one shares with this
    /// machine.
    #[serde(skip)]
    pub ready_at: u64,
}

impl Downtime {
    /// Parses the output of [`TIMESTAMPS`].
    pub(crate) fn parse(text: &str, service: &str) -> Result<Self> {
        let timestamps: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        match timestamps[..] {
            [died, started, ready] if died <= started && started <= ready => {
                let (to_start, to_ready) = (seconds(started - died), seconds(ready - started));
                Ok(Self { to_start, to_ready, ready_at: ready })
            }
            _ => {
                Err(Failure::failed(format!("`{service}` was not replaced by a container that became ready"))
                    .hint(format!(
                        "timestamps from the robot's engine (died, started, ready): `{}`",
                        text.replace('\n', ", ")
                    ))
                    .into())
            }
        }
    }

    pub(crate) fn seconds(self) -> f64 {
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
    fn three_timestamps_give_a_downtime() -> Result<()> {
        let downtime = Downtime::parse("1700000000250000000\n1700000000500000000\n1700000002000000000", "a")?;
        let ready_at = 1_700_000_002_000_000_000;
        assert_eq!(downtime, Downtime { to_start: 0.25, to_ready: 1.5, ready_at });
        assert!((downtime.seconds() - 1.75).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn a_timestamp_that_is_missing_or_out_of_order_is_an_error() {
        for text in ["", "1\n2", "2\n1\n3", "1\n3\n2", "1\n2\n3\n4"] {
            Downtime::parse(text, "lidar").unwrap_err();
        }
    }
}
