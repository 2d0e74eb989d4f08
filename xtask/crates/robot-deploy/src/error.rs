//! Errors for people and scripts: a message, hints and an exit code.

use std::fmt;
use std::io::ErrorKind;

pub type Result<T, E = anyhow::Error> = std::result::Result<T, E>;

/// Exit codes for scripts and CI. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Any other failure.
    Failed = 1,
    /// Error in the command line or a configuration file; nothing was changed.
    Config = 2,
    /// A robot does not answer, or its host key has changed.
    Unreachable = 3,
    /// A robot is locked by another deploy, or must not be disturbed now; its containers keep running.
    Busy = 4,
    /// The new release was unhealthy and was rolled back.
    Unhealthy = 5,
    /// A person or a signal ended the run (128 + SIGINT, as in shells).
    Interrupted = 130,
}

/// Error with an exit code and hints.
///
/// It is passed as an [`anyhow::Error`], so that callers can add context; [`exit_of`] and [`hints_of`] find
/// it in the chain.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
    source: Option<anyhow::Error>,
}

impl Failure {
    /// Returns a failure with `message`: a lowercase fragment without full stop, names in backticks.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Error in a configuration file or on the command line.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// Error of a robot that cannot be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// Error of no special kind.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Adds a hint: a command to run or a key to change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Like [`Failure::because`], but leaves the error of an interrupted run or of a dry run as it is.
    pub fn caused_by(self, error: anyhow::Error) -> anyhow::Error {
        if is_end_of_run(&error) { error } else { self.because(error).into() }
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

/// Exit code of a command that a verb has run for a person. The verb ends with the same code and adds nothing: the
/// person has seen what the command printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended(pub u8);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command ended with exit code {}", self.0)
    }
}

impl std::error::Error for Ended {}

/// Error of a dry run whose next steps need the outcome of a change that was not made.
///
/// It ends the work on one robot, or the verb, without being a failure.
#[derive(Debug, Default)]
pub struct Planned(Vec<String>);

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dry run does not know the outcome of the commands above")
    }
}

impl std::error::Error for Planned {}

impl Planned {
    /// Finds the error in a chain.
    pub fn find(error: &anyhow::Error) -> Option<&Self> {
        error.chain().find_map(|cause| cause.downcast_ref())
    }

    /// The steps that depend on the outcome, in words and in order.
    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

/// Steps of a dry run that depend on changes which it does not make.
pub trait FollowedBy<T>: Sized {
    /// Names the step after a change, if the change was only planned.
    fn followed_by(self, step: impl Into<String>) -> Result<T>;

    /// Turns [`Planned`] into `None`.
    fn unless_planned(self) -> Result<Option<T>>;
}

impl<T> FollowedBy<T> for Result<T> {
    fn followed_by(self, step: impl Into<String>) -> Result<T> {
        self.map_err(|mut error| {
            if let Some(planned) = error.downcast_mut::<Planned>() {
                planned.0.push(step.into());
            }
            error
        })
    }

    fn unless_planned(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if Planned::find(&error).is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn failures(error: &anyhow::Error) -> impl Iterator<Item = &Failure> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// Exit code of the outermost [`Failure`] of a special kind in the chain of `error`.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    failures(error).map(|failure| failure.exit).find(|exit| *exit != Exit::Failed).unwrap_or(Exit::Failed)
}

/// Returns whether `error` is a write to a closed stdout.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(ErrorKind::BrokenPipe)
}

/// Returns whether an error ends the run without being a failure of the step.
fn is_end_of_run(error: &anyhow::Error) -> bool {
    exit_of(error) == Exit::Interrupted || Planned::find(error).is_some()
}

/// Applies `explain` to an error, unless the error is that of an interrupted run, of a dry run, or of a robot that
/// cannot be reached, which is the explanation by itself.
pub fn explained(
    error: anyhow::Error,
    explain: impl FnOnce(anyhow::Error) -> anyhow::Error,
) -> anyhow::Error {
    if is_end_of_run(&error) || exit_of(&error) == Exit::Unreachable { error } else { explain(error) }
}

/// Returns whether `error` says no more than that the run was interrupted.
pub fn is_plain_interrupt(error: &anyhow::Error) -> bool {
    exit_of(error) == Exit::Interrupted && hints_of(error).is_empty()
}

/// The result of work that goes on until a person ends it: to end it is no error.
pub fn until_interrupted(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if exit_of(&error) == Exit::Interrupted => Ok(()),
        result => result,
    }
}

/// Error for the panic of a thread.
pub fn panicked(payload: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text =
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    Failure::failed(format!("internal error in xtask: {text}"))
        .hint("please report it with the lines above; `RUST_BACKTRACE=1` adds a backtrace")
        .into()
}

/// Returns whether the chain of `error` has an I/O error of this kind.
pub fn has_kind(error: &anyhow::Error, kind: ErrorKind) -> bool {
    error.chain().any(|cause| cause.downcast_ref().is_some_and(|cause: &std::io::Error| cause.kind() == kind))
}

/// All hints in the chain of `error`, outermost first; without any, the remedy for an I/O error of this machine.
pub fn hints_of(error: &anyhow::Error) -> Vec<&str> {
    let hints: Vec<&str> =
        failures(error).flat_map(|failure| failure.hints.iter().map(String::as_str)).collect();
    let remedy = || REMEDIES.iter().find(|(kind, _)| has_kind(error, *kind)).map(|(_, remedy)| *remedy);
    if hints.is_empty() { remedy().into_iter().collect() } else { hints }
}

/// Remedies for errors of this machine's disks.
const REMEDIES: [(ErrorKind, &str); 3] = [
    (
        ErrorKind::ReadOnlyFilesystem,
        "the disk is mounted read-only: work in a clone of the repository on a disk that you may write to",
    ),
    (
        ErrorKind::PermissionDenied,
        "the file may belong to another user, for instance after a run with `sudo`: `ls -l` shows its owner, `sudo chown -R $USER` makes it yours",
    ),
    (
        ErrorKind::StorageFull,
        "make room on this machine: `cargo xtask prune --local` removes images and layers that no release needs",
    ),
];

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
    fn an_explanation_of_no_special_kind_keeps_the_exit_code_of_its_cause() {
        let cause = Failure::unreachable("`main` does not answer");
        let error = Failure::failed("the registry does not start").because(cause).into();
        assert_eq!(exit_of(&error), Exit::Unreachable);
    }

    #[test]
    fn an_error_of_a_disk_has_a_remedy_unless_it_has_a_hint() {
        let error = || std::io::Error::from(ErrorKind::ReadOnlyFilesystem);
        assert!(
            hints_of(&anyhow::Error::new(error()).context("write `target`"))[0].contains("a clone of the")
        );
        let hinted = Failure::failed("no room for the bundle").hint("--to").because(error()).into();
        assert_eq!(hints_of(&hinted), ["--to"]);
        assert!(hints_of(&std::io::Error::from(ErrorKind::TimedOut).into()).is_empty());
    }

    #[test]
    fn an_ordinary_error_is_exit_code_one() {
        assert_eq!(exit_of(&anyhow::anyhow!("disk on fire")) as i32, 1);
    }
}
