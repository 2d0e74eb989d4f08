//! The lock of a robot: one deploy at a time, whoever's it is.
//!
//! A shell on the robot holds it, flock(2), for as long as this process sends it something every few seconds: it is
//! gone when this process is, when the connection is, and when this machine was closed in the middle.

use std::io::{PipeWriter, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::metadata;
use crate::error::{Exit, Failure, Result};
use crate::process::{self, Child};
use crate::robot::Session;
use crate::robot::outcome::PendingOutcome;
use crate::ui::{self, Progress};

/// The robot's part.
const SCRIPT: &str = concat!(include_str!("scripts/release.sh"), include_str!("scripts/lock.sh"));

/// How often the robot is told that it is still wanted; it waits five times as long.
const BEAT: Duration = Duration::from_secs(4);

/// A robot's lock, held until this guard is dropped.
#[derive(Debug)]
#[must_use = "the lock is gone when it is dropped"]
pub struct Lock {
    token: String,
    /// None in a dry run.
    holder: Option<Holder>,
}

/// The shell on the robot.
#[derive(Debug)]
struct Holder {
    child: Child,
    /// Its end stops the beats.
    _beats: Sender<()>,
}

/// Whether to wait for a lock that another has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLocked {
    /// Fail at once.
    Refuse,
    /// Wait, however long it takes.
    Wait,
}

impl Lock {
    /// Takes the lock. Gives a stamp as well, which is the one of [`Survey`](crate::robot::Survey) if nobody has
    /// activated anything since. How an activation ended of which nobody has been told is told here, unless it is what
    /// the user has been `told`.
    ///
    /// # Errors
    /// Fails with [`Exit::Busy`] where another has it and is not to be waited for.
    pub fn take(
        session: &Session,
        project: &str,
        on_locked: OnLocked,
        reported: Option<&PendingOutcome>,
        progress: &Progress,
    ) -> Result<(Self, String)> {
        let token = format!("{}-{:x}", std::process::id(), fresh());
        if process::mode().dry_run {
            return Ok((Self { token, holder: None }, String::new()));
        }
        let (holder, stamp) = Holder::start(session, project, &token, on_locked, reported, progress)?;
        Ok((Self { token, holder: Some(holder) }, stamp))
    }

    /// Sees to it that the lock is still held, after the connection may have been lost: gives the stamp if it was, which
    /// is another one if somebody has activated something meanwhile.
    ///
    /// # Errors
    /// Fails where another has taken it and still holds it.
    pub fn keep(&mut self, session: &Session, project: &str, progress: &Progress) -> Result<Option<String>> {
        if let Some(holder) = &mut self.holder
            && !holder.child.is_running()
        {
            let _again = session.ensure_connected()?;
            let stamp;
            (*holder, stamp) =
                Holder::start(session, project, &self.token, OnLocked::Refuse, None, progress)?;
            return Ok(Some(stamp));
        }
        Ok(None)
    }
}

impl Holder {
    fn start(
        session: &Session,
        project: &str,
        token: &str,
        on_locked: OnLocked,
        reported: Option<&PendingOutcome>,
        progress: &Progress,
    ) -> Result<(Self, String)> {
        let wait = if on_locked == OnLocked::Wait { "yes" } else { "no" };
        let argv = ["sh", "-c", SCRIPT, "lock", project, token, &metadata::whoami(), wait];
        let (child, words, answers) = session.command(argv).converse()?;
        let answers = process::lines(&child, answers, process::LINE);
        let (beats, ended) = channel();
        thread::spawn(move || beat(words, &ended));
        let mut greeting = 0..process::GREETING;
        while let Some(line) = process::next_line(&answers)? {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["held", stamp] => return Ok((Self { child, _beats: beats }, stamp.to_owned())),
                ["news", release, word, reason] => {
                    let pending = PendingOutcome::parse(release, word, reason);
                    if reported != Some(&pending) {
                        ui::warn(session.robot(), &pending.to_string());
                    }
                }
                ["busy", age, who] => {
                    let message = format!("{who} has been deploying to `{}` for {age} s", session.robot());
                    if on_locked == OnLocked::Refuse {
                        let hint = "`--wait` waits for it; the lock is gone as soon as that run is";
                        return Err(Failure::new(Exit::Busy, message).hint(hint).into());
                    }
                    ui::step(session.robot(), &format!("waiting: {message}"));
                    progress.waiting("waiting for its lock");
                }
                // A login shell may print a greeting of its own.
                _ => anyhow::ensure!(
                    greeting.next().is_some(),
                    "`{}` says much, and nothing of its lock",
                    session.robot()
                ),
            }
        }
        child.wait()?;
        Err(Failure::failed(format!("`{}` does not give its lock", session.robot())).into())
    }
}

/// Says something, again and again, until nobody listens or the lock is given back.
fn beat(mut words: PipeWriter, ended: &Receiver<()>) {
    while words.write_all(b".").is_ok() && ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {}
}

/// A number that no other run has.
fn fresh() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}
