//! What can go wrong, as people and scripts see it: a message, what to do about it, an exit code.

use std::fmt;

/// The result of everything here that can fail.
pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// How the program ended, for scripts and CI. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Something failed that is none of the cases below.
    Failed = 1,
    /// The command line or a configuration file is wrong; nothing was touched.
    Config = 2,
    /// A robot does not answer, or is not the machine it was.
    Unreachable = 3,
    /// Somebody else deploys to a robot, or it must not be disturbed: what runs there runs on.
    Busy = 4,
    /// A new release was not well, and the robot went back to the one before.
    Unhealthy = 5,
    /// A person or a signal ended the run (128 + SIGINT, as shells count).
    Interrupted = 130,
}

/// A failure that says what to do about it.
///
/// It travels inside an [`anyhow::Error`], so that context can be put around it; [`exit_of`] and
/// [`hints_of`] find it again.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
    source: Option<anyhow::Error>,
}

impl Failure {
    /// A failure with `message`: a lowercase fragment, no full stop, names in backticks.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new(), source: None }
    }

    /// An error in a configuration file or on the command line.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// A robot that cannot be used.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// A failure without a more special kind.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Adds what a person can do about it: a command to type or a key to change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the error that led to this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| &**error as _)
    }
}

fn failures(error: &anyhow::Error) -> impl Iterator<Item = &Failure> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// The exit code for `error`: that of the outermost [`Failure`] in its chain.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    failures(error).next().map_or(Exit::Failed, |failure| failure.exit)
}

/// Whether all that happened is that nobody reads our results any more.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}

/// An error with what it means; that of a run which was interrupted means that, and stays as it is.
pub fn explained(
    error: anyhow::Error,
    explain: impl FnOnce(anyhow::Error) -> anyhow::Error,
) -> anyhow::Error {
    if exit_of(&error) == Exit::Interrupted { error } else { explain(error) }
}

/// The error of a thread that panicked.
pub fn panicked(payload: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text =
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    Failure::failed(format!("xtask made a mistake: {text}"))
        .hint("please report it, with the lines above; `RUST_BACKTRACE=1` shows more of them")
        .into()
}

/// Whether `error` came from reading or writing that failed in this way.
pub fn has_kind(error: &anyhow::Error, kind: std::io::ErrorKind) -> bool {
    let is_it = |cause: &std::io::Error| cause.kind() == kind;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_it))
}

/// All that can be done about `error`, outermost first.
pub fn hints_of(error: &anyhow::Error) -> Vec<&str> {
    failures(error).flat_map(|failure| failure.hints.iter().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn exit_code_and_hints_survive_context() {
        let inner = Failure::unreachable("`main` does not answer").hint("switch it on");
        let error = Err::<(), _>(inner).context("deploy").unwrap_err();
        assert_eq!(exit_of(&error), Exit::Unreachable);
        assert_eq!(hints_of(&error), ["switch it on"]);
    }

    #[test]
    fn an_ordinary_error_is_exit_code_one() {
        assert_eq!(exit_of(&anyhow::anyhow!("disk on fire")) as i32, 1);
    }
}
