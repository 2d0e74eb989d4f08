//! A robot pulls images by digest, so that what its engine keeps is what was verified, and names them.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Delivered;
use crate::error::{Failure, Result};
use crate::process;
use crate::robot::{Session, Tunnel, tunnel};

/// What the robot's shell does, with [`arguments`].
pub const SCRIPT: &str = include_str!("scripts/pull.sh");

/// The same with a login, whose `config.json` it reads on stdin.
pub const SCRIPT_WITH_LOGIN: &str =
    concat!(include_str!("scripts/login.sh"), include_str!("scripts/pull.sh"));

/// How often a registry is asked whether it is there, while an image is pulled from it.
const ASKED: Duration = Duration::from_secs(5);

/// How long it may say nothing: a slow disk has much to do then.
const SILENT: Duration = Duration::from_secs(40);

/// Lets the robot pull from its own registry, for as long as that answers: `docker pull` would wait for ever.
/// Gives what the script printed.
///
/// # Errors
/// Fails when the script does, the connection drops, or the registry falls silent.
pub fn watched(session: &Session, tunnel: &Tunnel<'_>, args: &[&str]) -> Result<String> {
    if process::mode().dry_run {
        return session.script(SCRIPT, args).run_for_output();
    }
    let argv = ["sh", "-s", "--"].iter().chain(args);
    let (child, mut words, mut answers) = session.command(argv).converse()?;
    // A shell that has ended reads nothing, and says why.
    drop(words.write_all(SCRIPT.as_bytes()));
    drop(words);
    let listening = std::thread::spawn(move || std::io::read_to_string(&mut answers));
    let mut answered = Instant::now();
    while !child.ends_within(ASKED)? {
        match tunnel.registry().ping() {
            Ok(_) => answered = Instant::now(),
            Err(error) if answered.elapsed() > SILENT => return Err(tunnel::silent(session.robot(), error)),
            Err(_) => {}
        }
    }
    process::check_interrupted()?;
    child.wait()?;
    let output = listening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    output.context("read what the robot says of the images")
}

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
