//! Evicts old releases of a robot, and removes the images and layers that no stored release needs.

#[cfg(test)]
mod program;

use crate::error::{FollowedBy as _, Result};
use crate::number;
use crate::robot::{Session, registry};
use crate::robot_side::lines::{self, prune as word};
use crate::robot_side::{REGISTRY_PRUNE, Script};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Bytes that were freed on the robot's disk.
    pub freed: u64,
    /// True if the registry was skipped because of a push or a delta transfer.
    pub registry_is_busy: bool,
}

/// Prunes a robot. The caller must hold the deploy lock, because the garbage collection of the registry would
/// remove layers that are being delivered. The lock of the delta transfer protects the deliveries of other
/// projects.
pub(crate) fn prune(session: &Session, project: &str, keep: u32) -> Result<Pruned> {
    let argv = Script::Prune.argv(&[project, &keep.to_string(), registry::CONTAINER, REGISTRY_PRUNE]);
    let text = session.command(argv).run_for_output();
    let text = text.followed_by("recording the number of freed bytes in the robot's history")?;
    Ok(parse(&text))
}

/// Returns the bytes that [`prune`] would free in a robot's registry; 0 if the robot does not answer.
pub(crate) fn garbage(session: &Session, project: &str) -> u64 {
    let argv = Script::Garbage.argv(&[project, registry::CONTAINER, REGISTRY_PRUNE]);
    session.command(argv).read().ok().and_then(|text| number::said(text.trim())).unwrap_or_default()
}

fn parse(text: &str) -> Pruned {
    let free = lines::read(text).filter(|line| line[0] == word::FREE);
    let free: Vec<u64> = free.filter_map(|line| number::kibibytes(line.get(1)?)).collect();
    let freed = match free[..] {
        [before, .., after] => after.saturating_sub(before),
        _ => 0,
    };
    Pruned { freed, registry_is_busy: text.lines().any(|line| line == lines::registry_prune::BUSY) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_output_of_prune_is_parsed() {
        fuzz(
            "prune",
            500,
            &[b"Welcome\nfree\t1000\nbusy\nfree\t1500", b"free\t1\nfree\t18446744073709551615"],
            |bytes| {
                parse(&text(bytes));
            },
        );
    }

    #[test]
    fn freed_bytes_are_the_difference_and_never_negative() {
        assert_eq!(
            parse("Welcome\nfree\t1000\nfree\t1500"),
            Pruned { freed: 512_000, registry_is_busy: false }
        );
        assert_eq!(parse("free\t1000\nbusy\nfree\t900"), Pruned { freed: 0, registry_is_busy: true });
    }
}
