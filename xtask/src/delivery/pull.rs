//! A robot pulls images by digest, so that what its engine keeps is what was verified, and names them.

use super::Delivered;
use crate::error::{Failure, Result};
use crate::process;

/// What the robot's shell does, with [`arguments`].
pub const SCRIPT: &str = include_str!("scripts/pull.sh");

/// The same with a login, whose `config.json` it reads on stdin.
pub const SCRIPT_WITH_LOGIN: &str =
    concat!(include_str!("scripts/login.sh"), include_str!("scripts/pull.sh"));

/// The images, and the two names that each gets: `eurobot:navigation` is for people; the one in `repository`,
/// where it was pulled from, keeps the digest's name from being pruned (an engine with the classic store
/// prunes images that have only a digest).
pub fn arguments(images: &[Delivered], repository: &str, project: &str) -> Vec<String> {
    let names = |Delivered { image, reference }: &Delivered| {
        [reference.clone(), format!("{repository}:{image}"), format!("{project}:{image}")]
    };
    images.iter().flat_map(names).collect()
}

/// Whether the robot says that it has what it was to pull.
///
/// # Errors
/// Fails when it has not kept one of the images under its digest.
pub fn check(robot: &str, images: &[Delivered], output: &str) -> Result<()> {
    if process::mode().dry_run {
        return Ok(());
    }
    for Delivered { image, reference } in images {
        if !output.split_whitespace().any(|word| word == reference) {
            return Err(Failure::failed(format!("`{robot}` did not keep `{image}` as {reference}")).into());
        }
    }
    Ok(())
}
