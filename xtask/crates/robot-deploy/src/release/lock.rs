//! The deploy lock of a robot: one deploy at a time.
//!
//! A shell on the robot holds the lock, flock(2), while this process sends it a byte every few seconds. So
//! the lock is released when this process ends, when the connection is lost, and when this laptop is closed.

use std::io::{PipeWriter, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::metadata;
use crate::error::{Exit, Failure, FollowedBy as _, Result};
use crate::process::{self, Child};
use crate::robot::Session;
use crate::robot::outcome::PendingOutcome;
use crate::robot_side::Script;
use crate::robot_side::lines::{self, lock as word};
use crate::ui::{self, Progress};

/// Time between two bytes to the robot, which waits five times as long.
const BEAT: Duration = Duration::from_secs(4);

/// A robot's lock, held until this guard is dropped.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
pub(crate) struct Lock {
    token: String,
    /// `None` in a dry run.
    holder: Option<Holder>,
}

/// The shell on the robot that holds the lock.
#[derive(Debug)]
struct Holder {
    child: Child,
    /// Dropping it stops the thread that sends bytes.
    _beats: Sender<()>,
}

/// Reaction to a lock that another run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLocked {
    /// Fail at once.
    Refuse,
    /// Wait, however long it takes.
    Wait,
}

impl OnLocked {
    /// Announces the wait for the lock, or fails.
    fn announce(self, robot: &str, message: String) -> Result<()> {
        if self == Self::Refuse {
            let hint = "`--wait` waits until that run has ended";
            return Err(Failure::new(Exit::Busy, message).hint(hint).into());
        }
        ui::step(robot, &format!("waiting: {message}"));
        Ok(())
    }
}

impl Lock {
    /// Takes the lock. Also returns a stamp, which equals the one of [`Survey`](crate::robot::Survey) if
    /// nothing has been activated since. Prints an unreported activation result unless it equals `reported`.
    ///
    /// # Errors
    /// Fails with [`Exit::Busy`] if another run holds it and `on_locked` says not to wait.
    pub(crate) fn take(
        session: &Session,
        project: &str,
        on_locked: OnLocked,
        reported: Option<&PendingOutcome>,
        progress: &Progress,
    ) -> Result<(Self, String)> {
        let token = format!("{}-{:x}", std::process::id(), nonce());
        let start = || Holder::start(session, project, &token, on_locked, reported, progress);
        let started = process::patiently(start);
        let Some((holder, stamp)) = started.unless_planned()? else {
            progress.doing("taking the deploy lock", None);
            return Ok((Self { token, holder: None }, String::new()));
        };
        Ok((Self { token, holder: Some(holder) }, stamp))
    }

    /// Identifies the run that holds the lock, on the robot.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Takes the lock again if it was lost with the connection. Returns the new stamp in that case; it
    /// differs from the old one if something has been activated meanwhile.
    ///
    /// # Errors
    /// Fails with [`Exit::Busy`] if another run holds it now.
    pub(crate) fn keep(
        &mut self,
        session: &Session,
        project: &str,
        progress: &Progress,
    ) -> Result<Option<String>> {
        if let Some(holder) = &mut self.holder
            && !holder.child.is_running()
        {
            let start = || Holder::start(session, project, &self.token, OnLocked::Refuse, None, progress);
            let stamp;
            (*holder, stamp) = process::patiently(start)?;
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
        process::outcome_needed()?;
        let wait = if on_locked == OnLocked::Wait { "yes" } else { "no" };
        let argv = Script::Lock.argv(&[project, token, &metadata::whoami(), wait]);
        let (child, stdin, answers) = session.command(argv).converse()?;
        let answers = process::lines(&child, answers, process::LINE);
        let (beats, ended) = channel();
        thread::spawn(move || beat(stdin, &ended));
        let mut greeting = 0..process::GREETING;
        while let Some(line) = process::next_line(&answers)? {
            match lines::fields(&line)[..] {
                [word::HELD, stamp] => return Ok((Self { child, _beats: beats }, stamp.to_owned())),
                [word::NEWS, release, outcome, reason] => {
                    let pending = PendingOutcome::parse(release, outcome, reason);
                    if reported != Some(&pending) {
                        ui::warn(session.robot(), &pending.to_string());
                    }
                }
                [word::BUSY, age, edits, by] => {
                    let robot = session.robot();
                    let message = match edits {
                        "0" => format!("{by} has been deploying to `{robot}` for {age} s"),
                        _ => format!("{by} has been editing `{robot}` live for {age} s, with `watch`"),
                    };
                    on_locked.announce(session.robot(), message)?;
                    progress.waiting("waiting for the lock");
                }
                // A login shell may print a greeting.
                _ => anyhow::ensure!(
                    greeting.next().is_some(),
                    "`{}` prints unexpected lines instead of the state of its lock",
                    session.robot()
                ),
            }
        }
        child.wait()?;
        Err(Failure::failed(format!("the lock of `{}` could not be taken", session.robot())).into())
    }
}

/// Sends bytes until the robot stops reading or the lock is dropped.
fn beat(mut stdin: PipeWriter, ended: &Receiver<()>) {
    while stdin.write_all(b".").is_ok() && ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {}
}

/// Returns the time in nanoseconds, which makes the token of a run unique.
fn nonce() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}
