//! The only module that creates processes.
//!
//! A [`Cmd`] is a command as data: functions that build an argv return a `Cmd`, tests inspect it, and
//! `Display` prints it ready to paste into a shell. The method that runs it tells whether the command changes
//! anything:
//!
//! | method | use | in `--dry-run` |
//! |---|---|---|
//! | [`Cmd::read`], [`Cmd::succeeds`] | queries that change nothing | runs |
//! | [`Cmd::run`], [`Cmd::interactive`], [`Cmd::feed`], [`write_file`] | changes | only printed |
//! | [`Cmd::run_for_output`] | changes whose outcome is needed | printed, then the error [`Planned`] |
//! | [`Cmd::spawn`], [`Cmd::converse`] | a child in the background, ended by its guard | runs: changes call [`Cmd::plan`] or [`outcome_needed`] before |
//! | [`Cmd::clean_up`] | clean-up, also after Ctrl-C | only printed |
//!
//! The output of every child is read up to a limit: see [`capture`] and [`lines`](mod@lines).
//!
//! Ctrl-C, SIGTERM and SIGHUP end the children and make every further command fail with
//! [`Exit::Interrupted`], so that the error propagates and guards clean up on the way.

mod capture;
mod child;
mod display;
mod executor;
mod interrupt;
mod lines;
mod link;
mod outcome;
mod poll;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{BufReader, ErrorKind, PipeReader, PipeWriter};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use duct::unix::HandleExt as _;

#[cfg(doc)]
use crate::error::Planned;
use crate::error::{Ended, Exit, Failure, FollowedBy as _, Result};
use crate::mode::verbose;
use crate::{parallel, ui};

pub use child::Child;
pub use display::end_marker;
pub use interrupt::{check as check_interrupted, go_on, install as install_signal_handler, stop};
pub(crate) use lines::receive;
pub use lines::{GREETING, LINE, lines, next_line, piece};
pub use link::{Link, patiently};
pub(crate) use link::{TRIES, exit_code, is_dropped, keeps_dropping};
pub(crate) use outcome::words_of;
pub use poll::{pause, poll};

use executor::executor;

#[derive(Clone, Debug, Default)]
enum Stdin {
    #[default]
    Null,
    Bytes(Vec<u8>),
    /// Bytes, and the file name that is printed in their place.
    From(Vec<u8>, String),
}

/// A command: program, arguments, environment, working directory, stdin.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: String,
    args: Vec<String>,
    /// Indices of arguments that are not printed.
    unshown: BTreeSet<usize>,
    /// True if the command gets only the variables below.
    has_own_env: bool,
    /// Variables of this process that the command does not get.
    removed_env: Vec<String>,
    env: Vec<(String, String)>,
    hidden_env: Vec<(String, String)>,
    dir: Option<Utf8PathBuf>,
    stdin: Stdin,
    shown: Option<Shown>,
    deadline: Option<Duration>,
    /// Connection that the command uses.
    link: Option<Weak<dyn Link>>,
    /// Name in error messages, if the first words do not tell.
    name: Option<String>,
}

/// Turns one line of output into the lines to show.
pub type LineFilter = Box<dyn FnMut(&str) -> Vec<String>>;

/// Scope and filter for output that is shown while the command runs.
#[derive(Clone)]
struct Shown {
    scope: String,
    filter: Arc<dyn Fn() -> LineFilter + Send + Sync>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "as {}", self.scope)
    }
}

/// A [`Cmd`] written as a shell line. `{name}` is one argument, whatever its content; `{list...}` is several.
///
/// [`xshell::cmd!`] defines the syntax and splits the line into words at compile time; xshell does not run
/// it.
/// It fails only when the current directory no longer exists.
#[macro_export]
macro_rules! cmd {
    ($line:literal) => {
        xshell::Shell::new()
            .map(|shell| $crate::process::Cmd::from(xshell::cmd!(shell, $line)))
            .map_err(anyhow::Error::from)
    };
}

impl From<xshell::Cmd<'_>> for Cmd {
    fn from(typed: xshell::Cmd<'_>) -> Self {
        let command = std::process::Command::from(typed);
        let word = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        Self::new(word(command.get_program())).args(command.get_args().map(word))
    }
}

impl Cmd {
    /// Returns a command without arguments.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            unshown: BTreeSet::new(),
            has_own_env: false,
            removed_env: Vec::new(),
            env: Vec::new(),
            hidden_env: Vec::new(),
            dir: None,
            stdin: Stdin::Null,
            shown: None,
            deadline: None,
            link: None,
            name: None,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds arguments that are not printed, because what they name ends with this process: a printed command
    /// works without them.
    #[must_use]
    pub fn unshown<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        let first = self.args.len();
        self.args.extend(args.into_iter().map(Into::into));
        self.unshown.extend(first..self.args.len());
        self
    }

    /// Keeps the variables of this process from the command.
    #[must_use]
    pub(crate) fn without_env(mut self) -> Self {
        self.has_own_env = true;
        self
    }

    /// Keeps some variables of this process from the command.
    #[must_use]
    pub(crate) fn without_variables(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.removed_env.extend(names);
        self
    }

    /// Sets an environment variable. Never a secret: verbose mode prints it.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets a secret environment variable: only its name is printed.
    #[must_use]
    pub fn hidden_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.hidden_env.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Utf8Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets the content of stdin; the default is an empty stdin.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Sets the content of stdin when it is secret or binary: it is printed as `< file`.
    #[must_use]
    pub fn stdin_from(mut self, file: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::From(bytes.into(), file.into());
        self
    }

    /// Shows the command's output line by line while it runs, labelled with `scope`.
    #[must_use]
    pub fn show(self, scope: impl Into<String>) -> Self {
        self.show_through(scope, || Box::new(|line| vec![line.to_owned()]))
    }

    /// Shows the command's output through a filter; the error of a failed command does not repeat the output.
    #[must_use]
    pub fn show_through(
        mut self,
        scope: impl Into<String>,
        filter: impl Fn() -> LineFilter + Send + Sync + 'static,
    ) -> Self {
        self.shown = Some(Shown { scope: scope.into(), filter: Arc::new(filter) });
        self
    }

    /// Kills the command and fails when it takes longer than `deadline`.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Names the connection that the command uses. [`Cmd::read`], [`Cmd::run`] and their like repeat the command
    /// if the connection drops meanwhile: it must be one that can be repeated.
    #[must_use]
    pub(crate) fn over(mut self, link: Weak<dyn Link>) -> Self {
        self.link = Some(link);
        self
    }

    /// Names the command in error messages.
    #[must_use]
    pub(crate) fn called(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Program and arguments, for tests and for commands that wrap other commands.
    pub fn argv(&self) -> Vec<&str> {
        std::iter::once(self.program.as_str()).chain(self.args.iter().map(String::as_str)).collect()
    }

    /// Runs a query, also in a dry run, and returns its stdout without trailing newlines.
    ///
    /// Output that is too long or not UTF-8 is an error.
    pub fn read(&self) -> Result<String> {
        announce(self);
        self.text(patiently(|| self.check(self.output()?))?)
    }

    /// Like [`Cmd::read`], with the last of what the command wrote to stderr.
    pub(crate) fn read_with_stderr(&self) -> Result<(String, String)> {
        announce(self);
        let output = patiently(|| self.check(self.output()?))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((self.text(output)?, stderr))
    }

    /// Runs a query, also in a dry run, and returns whether it exited with 0.
    pub fn succeeds(&self) -> Result<bool> {
        announce(self);
        Ok(self.output()?.status.success())
    }

    /// Runs a command that changes something; the error of a failed command shows the last lines of its
    /// output.
    pub fn run(&self) -> Result<()> {
        self.run_for_output().unless_planned().map(drop)
    }

    /// Like [`Cmd::run`], but returns `Ok(false)` when the command fails and its stderr contains one of `texts`, and
    /// fails with [`Planned`] in a dry run.
    pub fn run_unless_stderr_has(&self, texts: &[&str]) -> Result<bool> {
        let output = executor().run(self)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let has_text = !output.status.success() && texts.iter().any(|text| said.contains(text));
        if has_text { Ok(false) } else { self.check(output).map(|_| true) }
    }

    /// Runs a command that changes something and returns its stdout.
    ///
    /// # Errors
    /// Fails with [`Planned`] in a dry run.
    pub fn run_for_output(&self) -> Result<String> {
        self.text(patiently(|| self.check(executor().run(self)?))?)
    }

    /// Runs a command that changes something and owns the terminal: it asks questions or has its own display.
    ///
    /// Its output is not filtered for control characters: use it for programs of this machine, and for
    /// subcommands whose purpose is a terminal on the robot.
    pub fn interactive(&self) -> Result<()> {
        executor().interactive(self)
    }

    /// Like [`Cmd::interactive`], for a command of the person who uses the terminal.
    ///
    /// # Errors
    /// Fails with [`Ended`] if the command fails.
    pub fn hand_over(&self) -> Result<()> {
        let result = self.interactive();
        result.map_err(|error| link::exit_code(&error).map_or(error, |code| Ended(code).into()))
    }

    /// Like [`Cmd::interactive`], but ends the command as a signal would when `is_overtaken` says so, which waits a moment
    /// each time. Returns `None` then, and the result of the command otherwise.
    pub(crate) fn interactive_unless(
        &self,
        mut is_overtaken: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Result<()>>> {
        announce(self);
        let child = self.attached()?;
        let _registered = interrupt::register(&child);
        while child.try_wait().with_context(|| format!("wait for `{self}`"))?.is_none() {
            let overtaken = is_overtaken();
            if matches!(overtaken, Ok(false)) {
                continue;
            }
            if overtaken.is_ok() {
                drop(child.send_signal(interrupt::SIGTERM));
            }
            drop(child.wait());
            return overtaken.map(|_| None);
        }
        Ok(Some(self.end(&child)))
    }

    fn attach(&self) -> Result<()> {
        self.end(&self.attached()?)
    }

    /// Waits until it exits with 0.
    fn end(&self, child: &Arc<duct::Handle>) -> Result<()> {
        let status = self.wait(child)?;
        if status.success() { Ok(()) } else { Err(self.failed(status, "")) }
    }

    /// Starts the command with this process's terminal.
    fn attached(&self) -> Result<Arc<duct::Handle>> {
        interrupt::check()?;
        let expression = match &self.stdin {
            Stdin::Null => self.expression(),
            Stdin::Bytes(bytes) | Stdin::From(bytes, _) => self.expression().stdin_bytes(bytes.clone()),
        };
        Ok(Arc::new(expression.start().map_err(|error| self.cannot_start(error))?))
    }

    /// Runs `producer | self`, checks both exit statuses, and returns the number of bytes that went through
    /// the pipe; 0 in a dry run.
    pub fn feed(&self, producer: &Cmd) -> Result<u64> {
        patiently(|| executor().pipe(producer, self))
    }

    /// Prints the command in a dry run and fails with [`Planned`]: for changes that are started as a query, to
    /// follow their output.
    pub fn plan(&self) -> Result<()> {
        outcome_needed().inspect_err(|_| executor().announce(self))
    }

    /// Shows a command that is about to run after a question.
    pub fn show_beforehand(&self) {
        executor().announce(self);
    }

    fn take_from(&self, producer: &Cmd) -> Result<u64> {
        let (mut produced, stdout) = std::io::pipe().context("create a pipe")?;
        let (stdin, mut consumed) = std::io::pipe().context("create a pipe")?;
        let source = Child::start(producer, producer.expression().stdin_null().stdout_file(stdout))?
            .ended_by_signals();
        let copying = std::thread::spawn(move || std::io::copy(&mut produced, &mut consumed));
        let started = self.start(self.expression().stdin_file(stdin).stdout_null());
        let consumed = started.and_then(|(handle, stderr)| Ok((self.wait(&handle)?, stderr)));
        let produced = source.wait();
        // After a signal both may have failed: "interrupted" explains more than their errors.
        interrupt::check()?;
        let copied = parallel::joined(copying.join());
        let consumed = consumed.and_then(|(status, stderr)| match status.success() {
            true => Ok(()),
            false => {
                let stderr = stderr.end(None).unwrap_or_default();
                Err(self.failed(status, &String::from_utf8_lossy(&stderr)))
            }
        });
        // A consumer that ends early also ends the producer (broken pipe): its error is the cause. Otherwise
        // the producer's failure explains the consumer's.
        let is_cut_off = matches!(&copied, Err(error) if error.kind() == ErrorKind::BrokenPipe);
        match (consumed, produced) {
            (Err(error), Err(_)) if is_cut_off => return Err(error),
            (_, Err(error)) | (Err(error), Ok(())) => return Err(error),
            (Ok(()), Ok(())) => {}
        }
        // A consumer may succeed without reading everything.
        if is_cut_off { Ok(0) } else { copied.context("copy the output of a command") }
    }

    /// Starts a background child that runs until its guard is dropped; Ctrl-C does not end it before that.
    pub fn spawn(&self) -> Result<Child> {
        announce(self);
        interrupt::check()?;
        let expression = self.expression().stdin_null().stdout_null();
        Child::start_apart(self, expression)
    }

    /// Starts a background child and returns its stdout. Its stdin stays open until this process ends, even
    /// by a crash: the child then reads end-of-file.
    pub fn spawn_held(&self) -> Result<(Child, BufReader<PipeReader>)> {
        announce(self);
        interrupt::check()?;
        let (stdin, held) = std::io::pipe().context("create a pipe")?;
        let (stdout, child_stdout) = std::io::pipe().context("create a pipe")?;
        let expression = self.expression().stdin_file(stdin).stdout_file(child_stdout);
        Ok((Child::start_apart(self, expression)?.holding(held), BufReader::new(stdout)))
    }

    /// Starts a background child and returns pipes to its stdin and from its stdout. Its guard or a signal
    /// ends it.
    pub fn converse(&self) -> Result<(Child, PipeWriter, BufReader<PipeReader>)> {
        announce(self);
        interrupt::check()?;
        let (stdin, input) = std::io::pipe().context("create a pipe")?;
        let (answers, stdout) = std::io::pipe().context("create a pipe")?;
        let expression = self.expression().stdin_file(stdin).stdout_file(stdout);
        Ok((Child::start_apart(self, expression)?.ended_by_signals(), input, BufReader::new(answers)))
    }

    /// Runs a clean-up command, also after an interrupt. A failure is a warning, not an error.
    pub fn clean_up(&self) {
        executor().clean_up(self);
    }

    /// Runs a query, also in a dry run, and returns what it wrote to stderr; `None` if it had not ended within `limit`.
    pub(crate) fn stderr_within(&self, limit: Duration) -> Result<Option<String>> {
        announce(self);
        let ended = Self::end_within(&self.with_stdin().stdout_null().stderr_capture(), limit)?;
        Ok(ended.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Runs a command that is killed after `limit`; returns its output if it had ended by then.
    fn end_within(
        expression: &duct::Expression,
        limit: Duration,
    ) -> std::io::Result<Option<std::process::Output>> {
        let handle = expression.start()?;
        let ended = handle.wait_timeout(limit)?.cloned();
        handle.kill()?;
        Ok(ended)
    }

    /// Tries a request to a process of ours, also after an interrupt and in a dry run. Its result does not matter.
    pub(crate) fn try_briefly(&self) {
        let expression = child::apart(self.with_stdin().stdout_null().stderr_null()).unchecked();
        if let Err(error) = Self::end_within(&expression, Duration::from_secs(20)) {
            ui::warn("clean-up", &format!("`{self}`: {error}"));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place where processes are made")]
    fn expression(&self) -> duct::Expression {
        let mut expression = duct::cmd(&self.program, &self.args).unchecked();
        for (name, value) in self.env.iter().chain(&self.hidden_env) {
            expression = expression.env(name, value);
        }
        // Outermost, because duct applies what is inside later.
        for name in &self.removed_env {
            expression = expression.env_remove(name);
        }
        if self.has_own_env {
            expression = expression.full_env(std::iter::empty::<(String, String)>());
        }
        match &self.dir {
            Some(dir) => expression.dir(dir),
            None => expression,
        }
    }

    fn with_stdin(&self) -> duct::Expression {
        match &self.stdin {
            Stdin::Null => self.expression().stdin_null(),
            Stdin::Bytes(bytes) | Stdin::From(bytes, _) => self.expression().stdin_bytes(bytes.clone()),
        }
    }
}

/// Prints a command in verbose mode.
fn announce(line: &dyn std::fmt::Display) {
    if verbose() {
        ui::command(&line.to_string());
    }
}

/// Fails with [`Planned`] in a dry run: the next step needs the outcome of the changes before.
pub fn outcome_needed() -> Result<()> {
    executor().outcome()
}

/// Creates a directory and those above it; a dry run prints the command for it.
pub fn create_dir(path: &Utf8Path) -> Result<()> {
    executor().create_dir(path)
}

/// Replaces the content of a file; a dry run prints the commands for it.
pub fn write_file(path: &Utf8Path, text: &str) -> Result<()> {
    executor().write(path, text)
}

/// As [`write_file`], unless the file has that content already.
pub fn provide_file(path: &Utf8Path, text: &str) -> Result<()> {
    match fs_err::read_to_string(path) {
        Ok(old) if old == text => Ok(()),
        _ => write_file(path, text),
    }
}

/// Error of a run that a signal or [`stop`] ended.
fn interrupted() -> anyhow::Error {
    Failure::new(Exit::Interrupted, "interrupted").into()
}
