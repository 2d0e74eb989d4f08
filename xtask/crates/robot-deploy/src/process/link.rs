//! Commands over a connection that may drop: they are repeated once the connection is there again.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Exit, Failure, Result, exit_of};

/// Exit code of `ssh` if the connection failed: ssh(1), exit status. A command on the robot may end with it, too.
pub(super) const FAILED: i32 = 255;

/// Most times in a row that the connection may drop during one step.
pub(crate) const TRIES: u32 = 5;

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

    /// Returns whether the connection has lasted since then.
    fn is_up_since(&self, since: Instant) -> bool;

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
pub(crate) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    error.chain().find_map(|cause| cause.downcast_ref::<CommandFailed>()?.code)
}

/// The connection that failed a command, if `error` is or wraps the error of one.
fn dropped(error: &anyhow::Error) -> Option<Arc<dyn Link>> {
    error.chain().find_map(|cause| cause.downcast_ref::<CommandFailed>()?.link.as_ref()?.upgrade())
}

/// Returns whether `error` is or wraps the error of a command whose connection has failed.
pub(crate) fn is_dropped(error: &anyhow::Error) -> bool {
    dropped(error).is_some()
}

/// Error for a connection that has dropped [`TRIES`] times in a row.
pub(crate) fn keeps_dropping(robot: &str) -> Failure {
    Failure::unreachable(format!("the connection to `{robot}` keeps dropping"))
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
            return Err(keeps_dropping(link.robot()).because(error).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::process::Cmd;

    /// A connection that drops during the next commands, so many times, and comes back each time.
    #[derive(Debug)]
    struct Dropping(AtomicU32);

    impl Link for Dropping {
        fn restore(&self, _since: Instant) -> Result<bool> {
            let drops = self.0.load(Ordering::SeqCst);
            self.0.store(drops.saturating_sub(1), Ordering::SeqCst);
            Ok(drops > 0)
        }

        fn is_up_since(&self, _since: Instant) -> bool {
            self.0.load(Ordering::SeqCst) == 0
        }

        fn robot(&self) -> &'static str {
            "main"
        }
    }

    /// Result of a shell script over a connection that drops, and the number of times that it ran.
    fn read(script: &str, drops: u32) -> (Result<String>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let link: Arc<dyn Link> = Arc::new(Dropping(drops.into()));
        let script = format!("echo >>{}; {script}", log.display());
        let result = Cmd::new("sh").args(["-c", &script]).over(Arc::downgrade(&link)).read();
        (result, fs_err::read_to_string(log).unwrap().lines().count())
    }

    #[test]
    fn a_command_is_repeated_until_its_connection_has_lasted() {
        for script in ["echo answer", "echo answer; exit 255"] {
            let (result, runs) = read(script, 2);
            assert_eq!((result.is_ok(), runs), (script == "echo answer", 3), "{script}");
        }
    }

    #[test]
    fn a_connection_that_keeps_dropping_is_given_up() {
        let (result, runs) = read("echo answer", 100);
        let error = result.unwrap_err();
        assert_eq!((exit_of(&error), runs), (Exit::Unreachable, 5));
        assert_eq!(error.to_string(), "the connection to `main` keeps dropping");
    }

    #[test]
    fn the_commands_own_failure_is_not_that_of_its_connection() {
        for script in ["exit 255", "exit 3"] {
            let (result, runs) = read(script, 0);
            let error = result.unwrap_err();
            assert_eq!((exit_of(&error), runs), (Exit::Failed, 1), "{script}");
            assert!(error.to_string().starts_with("`sh` on `main` failed: exit status: "), "{error}");
        }
    }
}
