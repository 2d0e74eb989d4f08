//! Tries of a step of a delivery, over a new connection each time the connection to the robot drops.

use crate::error::{Exit, Result, exit_of};
use crate::robot::Tunnel;
use crate::{process, ui};

/// Counts the failed tries of a step, and decides whether another one makes sense.
pub(super) struct Retries<'a> {
    pub tunnel: &'a Tunnel<'a>,
    /// Failed tries since the last progress.
    pub failed: u32,
}

impl Retries<'_> {
    /// Connects again after a try that failed with `error`, so that the step can be tried again; warns with
    /// `again` if the connection had dropped. `needs_drop` is false for a step that another try may help over the
    /// same connection, too.
    ///
    /// # Errors
    /// `error`, unless another try makes sense; [`Exit::Unreachable`] if the connection keeps dropping.
    pub(super) fn reconnect(&mut self, error: anyhow::Error, needs_drop: bool, again: &str) -> Result<()> {
        process::check_interrupted()?;
        if exit_of(&error) == Exit::Unreachable {
            return Err(error);
        }
        let robot = self.tunnel.robot();
        let dropped = self.tunnel.reopen()?;
        self.failed += 1;
        if dropped && self.failed == process::TRIES {
            return Err(process::keeps_dropping(robot).because(error).into());
        }
        if !dropped && (needs_drop || self.failed == process::TRIES) {
            return Err(error);
        }
        let text = if dropped { again } else { &format!("{error}: trying again") };
        ui::warn(robot, text);
        Ok(())
    }
}

/// Runs `step`, and again each time the connection drops, with the warning `again`.
///
/// # Errors
/// As [`Retries::reconnect`].
pub(super) fn retrying<T>(
    tunnel: &Tunnel<'_>,
    again: &str,
    mut step: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut retries = Retries { tunnel, failed: 0 };
    loop {
        match step() {
            Ok(done) => return Ok(done),
            Err(error) => retries.reconnect(error, true, again)?,
        }
    }
}
