//! What no kept release of a robot needs goes: releases, images, layers in its registry.

use crate::error::Result;
use crate::robot::{Session, registry};
use crate::{number, process};

/// The robot's part.
const SCRIPT: &str = concat!(
    include_str!("scripts/release.sh"),
    include_str!("scripts/keep.sh"),
    include_str!("scripts/prune.sh")
);

/// What the registry's own Python does.
const PROGRAM: &str = include_str!("scripts/prune.py");

/// The robot's part where it is only asked.
const GARBAGE: &str = concat!(include_str!("scripts/release.sh"), include_str!("scripts/garbage.sh"));

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Bytes that are free now and were not before.
    pub freed: u64,
    /// Whether the registry was left alone, because somebody pushes into it or a courier brings layers.
    pub registry_is_busy: bool,
}

/// Prunes a robot, whose lock has to be held: its registry's garbage collection would take what is being
/// delivered. Other projects' deliveries are kept apart from it by the courier's lock.
///
/// # Errors
/// Fails when the connection is gone or Docker on the robot fails.
pub fn prune(session: &Session, project: &str, keep: u32) -> Result<Pruned> {
    let argv = ["sh", "-c", SCRIPT, "prune", project, &keep.to_string(), registry::CONTAINER, PROGRAM];
    let text = session.command(argv).run_for_output()?;
    if process::mode().dry_run {
        return Ok(Pruned::default());
    }
    Ok(parse(&text))
}

/// Bytes of a robot's registry that [`prune`] would free; 0 where that cannot be told.
pub fn garbage(session: &Session, project: &str) -> u64 {
    let argv = ["sh", "-c", GARBAGE, "garbage", project, registry::CONTAINER, PROGRAM];
    session.command(argv).read().ok().and_then(|text| number::said(text.trim())).unwrap_or_default()
}

fn parse(text: &str) -> Pruned {
    let bytes = |line: &str| number::kibibytes(line.strip_prefix("free\t")?);
    let free: Vec<u64> = text.lines().filter_map(bytes).collect();
    let freed = match free[..] {
        [before, .., after] => after.saturating_sub(before),
        _ => 0,
    };
    Pruned { freed, registry_is_busy: text.lines().any(|line| line == "busy") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_answers_to_prune_are_read() {
        fuzz(
            "prune",
            500,
            &[b"Welcome\nfree\t1000\nbusy\nfree\t1500", b"free\t1\nfree\t18446744073709551615"],
            |bytes| {
                let _pruned = parse(&text(bytes));
            },
        );
    }

    #[test]
    fn what_is_freed_is_the_difference_and_never_negative() {
        assert_eq!(
            parse("Welcome\nfree\t1000\nfree\t1500"),
            Pruned { freed: 512_000, registry_is_busy: false }
        );
        assert_eq!(parse("free\t1000\nbusy\nfree\t900"), Pruned { freed: 0, registry_is_busy: true });
    }
}
