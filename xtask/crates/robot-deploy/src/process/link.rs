//! Commands over a connection that may drop: they are repeated once the connection is there again.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Exit, Failure, Result, exit_of};

/// Exit code of `ssh` if the connection failed: ssh(1), exit status. A command on the robot may end with it, too.
pub(super) const FAILED: i32 = 255;

/// Most times in a row that the connection may drop during one command.
const TRIES: u32 = 5;

/// Time after which a connection counts as one that lasts.
const LASTING: Duration = Duration::from_secs(60);

/// A connection that commands use.
pub trait Link: fmt::Debug + Send + Sync {
    /// Makes the connection again if it has dropped since `since`. Returns false if it has not: the command
    /// ended for a reason of its own.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] if the other end does not come back in time.
    fn restore(&self, since: Instant) -> Result<bool>;

    /// Name of the robot at the other end.
    fn robot(&self) -> &str;
}

/// Error of a command that failed.
#[derive(Debug)]
pub(super) struct CommandFailed {
    pub message: String,
    /// End of the command's stderr.
    pub stderr: Option<anyhow::Error>,
    /// Exit code as shells tell it: 128 and the signal, for a command that a signal ended.
    pub code: Option<u8>,
    /// Connection of a command that ended as `ssh` does when the connection fails.
    pub link: Option<Weak<dyn Link>>,
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.stderr.as_ref().map(|error| &**error as _)
    }
}

/// The exit code of the command that failed, if `error` is or wraps the error of one.
pub(super) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    error.chain().find_map(|cause| cause.downcast_ref::<CommandFailed>()?.code)
}

/// The connection that failed a command, if `error` is or wraps the error of one.
fn dropped(error: &anyhow::Error) -> Option<Arc<dyn Link>> {
    error.chain().find_map(|cause| cause.downcast_ref::<CommandFailed>()?.link.as_ref()?.upgrade())
}

/// Runs `step`, and again each time the connection of its commands has dropped and is there again. The step must
/// be one that can be repeated.
///
/// # Errors
/// Those of `step`, and [`Exit::Unreachable`] if the connection does not come back in time or keeps dropping.
pub fn patiently<T>(mut step: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        let began = Instant::now();
        let error = match step() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let Some(link) = dropped(&error).filter(|_| exit_of(&error) == Exit::Failed) else {
            return Err(error);
        };
        super::check_interrupted()?;
        let lasted = began.elapsed() > LASTING;
        if !link.restore(began)? {
            return Err(error);
        }
        tries = if lasted { 1 } else { tries + 1 };
        if tries == TRIES {
            let keeps = format!("the connection to `{}` keeps dropping", link.robot());
            return Err(Failure::unreachable(keeps).because(error).into());
        }
    }
}
