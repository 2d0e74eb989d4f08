//! The only module that creates processes.
//!
//! A [`Cmd`] is a command as data: argv-building code returns one, tests look at it, `Display` prints it
//! as one could paste it into a shell. Its verbs say what running it means:
//!
//! | verb | for | in `--dry-run` |
//! |---|---|---|
//! | [`Cmd::read`], [`Cmd::succeeds`] | questions that change nothing | asked all the same |
//! | [`Cmd::run`], [`Cmd::run_for_output`], [`Cmd::interactive`], [`Cmd::feed`] | changes | printed only |
//! | [`Cmd::spawn`], [`Cmd::converse`] | a child that works beside us, ended by its guard | not to be called |
//! | [`Cmd::clean_up`] | undoing, also after Ctrl-C | printed only |
//!
//! Output of a child is read up to a limit, whoever it speaks for: see [`capture`] and [`lines`](mod@lines).
//!
//! Ctrl-C, SIGTERM and SIGHUP end the children and make every further command fail with
//! [`Exit::Interrupted`], so that errors travel up and guards clean up on the way.

mod capture;
mod child;
mod display;
mod interrupt;
mod lines;
mod outcome;
mod poll;
#[cfg(test)]
mod tests;

use std::io::{BufReader, ErrorKind, PipeReader, PipeWriter};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use crate::error::{Exit, Failure, Result, exit_of};
use crate::ui;

pub use child::Child;
pub use display::plan_file;
pub use interrupt::{check as check_interrupted, install as install_signal_handler, stop};
pub use lines::{GREETING, LINE, lines, next_line, piece};
pub use poll::{pause, poll};

/// How the whole run behaves, from the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    /// Print what would change something instead of doing it.
    pub dry_run: bool,
    /// Print every command before it runs, and how long it took.
    pub verbose: bool,
}

static MODE: OnceLock<Mode> = OnceLock::new();

/// Sets the mode, once, before the first command.
pub fn configure(mode: Mode) {
    // A second call can only come from a test in the same process; the first one stands.
    let _ = MODE.set(mode);
}

/// The mode of this run.
pub fn mode() -> Mode {
    MODE.get().copied().unwrap_or_default()
}

#[derive(Clone, Debug, Default)]
enum Stdin {
    #[default]
    Null,
    Bytes(Vec<u8>),
    /// Bytes that are printed as if they came from this file.
    From(Vec<u8>, String),
}

/// A command: program, arguments, environment, directory, input.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    hidden_env: Vec<(String, String)>,
    dir: Option<Utf8PathBuf>,
    stdin: Stdin,
    shown: Option<Shown>,
    deadline: Option<Duration>,
}

/// Makes of one line of output the lines to show.
pub type LineFilter = Box<dyn FnMut(&str) -> Vec<String>>;

/// Under which name output is shown as it comes, and through which filter.
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

/// A command as one would type it. `{name}` is one argument, whatever is in it; `{list...}` is several.
///
/// The syntax, and the splitting into words at compile time, are those of [`xshell::cmd!`]; how it runs is
/// decided by the verbs of [`Cmd`].
///
/// # Errors
/// Gives an error when the current directory is gone.
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
    /// A command without arguments.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            hidden_env: Vec::new(),
            dir: None,
            stdin: Stdin::Null,
            shown: None,
            deadline: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. Never a secret: verbose mode prints it.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets an environment variable whose value is nobody's business: printed by name only.
    #[must_use]
    pub fn hidden_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.hidden_env.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Utf8Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets what the command reads on stdin; without it stdin is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Sets what the command reads on stdin where that is nobody's business or no text: printed as `< file`.
    #[must_use]
    pub fn stdin_from(mut self, file: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::From(bytes.into(), file.into());
        self
    }

    /// Shows the command's output line by line as it comes, under the name of what it is about.
    #[must_use]
    pub fn show(self, scope: impl Into<String>) -> Self {
        self.show_through(scope, || Box::new(|line| vec![line.to_owned()]))
    }

    /// Shows what a filter makes of the command's output; its error does not repeat that.
    #[must_use]
    pub fn show_through(
        mut self,
        scope: impl Into<String>,
        filter: impl Fn() -> LineFilter + Send + Sync + 'static,
    ) -> Self {
        self.shown = Some(Shown { scope: scope.into(), filter: Arc::new(filter) });
        self
    }

    /// Ends the command, as failed, when it has not finished in time.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The program and its arguments, for tests and for commands that wrap commands.
    pub fn argv(&self) -> Vec<&str> {
        std::iter::once(self.program.as_str()).chain(self.args.iter().map(String::as_str)).collect()
    }

    /// Asks: runs the command, also in dry-run mode, and gives its stdout without trailing newlines.
    ///
    /// # Errors
    /// Fails when the command cannot be started, fails, or writes something that is not UTF-8 or too long.
    pub fn read(&self) -> Result<String> {
        self.announce(false);
        self.text(self.finish()?)
    }

    /// Asks: runs the command, also in dry-run mode, and tells whether it succeeded. A dry run takes what
    /// cannot be asked for a no: then all steps are shown.
    ///
    /// # Errors
    /// Fails when the command cannot be started or does not end in time.
    pub fn succeeds(&self) -> Result<bool> {
        self.announce(false);
        match self.output() {
            Ok(output) => Ok(output.status.success()),
            Err(error) if mode().dry_run && exit_of(&error) != Exit::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes something: runs the command to its successful end.
    ///
    /// # Errors
    /// Fails when the command cannot be started or fails; the error shows its last lines.
    pub fn run(&self) -> Result<()> {
        self.run_for_output().map(drop)
    }

    /// Changes something, by a command that may fail in a way worth another try: tells whether it succeeded; it has
    /// not only where it said `words`.
    ///
    /// # Errors
    /// As [`Cmd::run`], where it failed in any other way.
    pub fn run_but_for(&self, words: &str) -> Result<bool> {
        if self.announce(true) {
            return Ok(true);
        }
        let output = self.output()?;
        let is_worth_it = !output.status.success() && String::from_utf8_lossy(&output.stderr).contains(words);
        if is_worth_it { Ok(false) } else { self.check(output).map(|_| true) }
    }

    /// Changes something and gives the stdout; nothing in dry-run mode.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn run_for_output(&self) -> Result<String> {
        if self.announce(true) {
            return Ok(String::new());
        }
        self.text(self.finish()?)
    }

    /// Changes something, with the terminal in the command's hands: it asks or has a display of its own. What it writes
    /// is not filtered: for verbs that are there for that, and for programs of this machine.
    ///
    /// # Errors
    /// Fails when the command cannot be started or fails.
    pub fn interactive(&self) -> Result<()> {
        if self.announce(true) {
            return Ok(());
        }
        interrupt::check()?;
        let expression = match &self.stdin {
            Stdin::Null => self.expression(),
            Stdin::Bytes(bytes) | Stdin::From(bytes, _) => self.expression().stdin_bytes(bytes.clone()),
        };
        let started = expression.start().map_err(|error| self.cannot_start(error))?;
        let status = self.wait(&Arc::new(started))?;
        if status.success() { Ok(()) } else { Err(self.failure(&status.to_string(), "")) }
    }

    /// Changes something with what `producer` writes: `producer | self`, each exit status checked. Gives the
    /// bytes that went from one to the other.
    ///
    /// # Errors
    /// Fails when either command cannot be started or fails.
    pub fn feed(&self, producer: &Cmd) -> Result<u64> {
        if announce(true, || format!("{producer} | {self}")) {
            return Ok(0);
        }
        let (mut produced, stdout) = std::io::pipe().context("make a pipe")?;
        let (stdin, mut consumed) = std::io::pipe().context("make a pipe")?;
        let source = Child::start(producer, producer.expression().stdin_null().stdout_file(stdout))?
            .ended_by_signals();
        let copying = std::thread::spawn(move || std::io::copy(&mut produced, &mut consumed));
        let started = self.start(self.expression().stdin_file(stdin).stdout_null());
        let consumed = started.and_then(|(handle, words)| Ok((self.wait(&handle)?, words)));
        let produced = source.wait();
        // Either may have failed of the signal: that it is the signal's doing says more.
        interrupt::check()?;
        let copied = copying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let consumed = consumed.and_then(|(status, words)| match status.success() {
            true => Ok(()),
            false => {
                let words = words.end(None).unwrap_or_default();
                Err(self.failure(&status.to_string(), &String::from_utf8_lossy(&words)))
            }
        });
        // A consumer that ends early takes the producer with it, and has its reasons; else the producer's own failure
        // explains the consumer's.
        let is_cut_off = matches!(&copied, Err(error) if error.kind() == ErrorKind::BrokenPipe);
        match (consumed, produced) {
            (Err(error), Err(_)) if is_cut_off => return Err(error),
            (_, Err(error)) | (Err(error), Ok(())) => return Err(error),
            (Ok(()), Ok(())) => {}
        }
        // One that has read all it wants need not read the rest.
        if is_cut_off { Ok(0) } else { copied.context("pass on what a command writes") }
    }

    /// Asks how many bytes the command writes.
    ///
    /// # Errors
    /// Fails when the command cannot be started or fails.
    pub fn count_output(&self) -> Result<u64> {
        let (child, words, mut answers) = self.converse()?;
        drop(words);
        let count =
            std::io::copy(&mut answers, &mut std::io::sink()).context("count what a command writes")?;
        child.wait()?;
        Ok(count)
    }

    /// Starts a child that works beside us until its guard is dropped; Ctrl-C does not reach it before that.
    ///
    /// # Errors
    /// Fails when the command cannot be started.
    pub fn spawn(&self) -> Result<Child> {
        self.announce(false);
        interrupt::check()?;
        let expression = self.expression().stdin_null().stdout_null();
        Child::start_apart(self, expression)
    }

    /// Starts a child whose stdin we hold open, so that it sees end-of-file however we end, and whose
    /// stdout we read.
    ///
    /// # Errors
    /// Fails when the command cannot be started.
    pub fn spawn_held(&self) -> Result<(Child, BufReader<PipeReader>)> {
        self.announce(false);
        interrupt::check()?;
        let (stdin, held) = std::io::pipe().context("make a pipe")?;
        let (stdout, child_stdout) = std::io::pipe().context("make a pipe")?;
        let expression = self.expression().stdin_file(stdin).stdout_file(child_stdout);
        Ok((Child::start_apart(self, expression)?.holding(held), BufReader::new(stdout)))
    }

    /// Starts a child to talk with: what is written to the pipe it reads, what it writes can be read. It ends
    /// with its guard, or at a signal.
    ///
    /// # Errors
    /// Fails when the command cannot be started.
    pub fn converse(&self) -> Result<(Child, PipeWriter, BufReader<PipeReader>)> {
        self.announce(false);
        interrupt::check()?;
        let (stdin, words) = std::io::pipe().context("make a pipe")?;
        let (answers, stdout) = std::io::pipe().context("make a pipe")?;
        let expression = self.expression().stdin_file(stdin).stdout_file(stdout);
        Ok((Child::start_apart(self, expression)?.ended_by_signals(), words, BufReader::new(answers)))
    }

    /// Undoes something, also when the run has been interrupted. Problems are worth a warning, not an error.
    pub fn clean_up(&self) {
        if self.announce(true) {
            return;
        }
        let expression = child::apart(self.with_stdin().stdout_null().stderr_null()).unchecked();
        if let Err(error) = expression.start().and_then(|handle| {
            handle.wait_timeout(Duration::from_secs(20)).map(drop)?;
            handle.kill()
        }) {
            ui::warn("clean-up", &format!("`{self}`: {error}"));
        }
    }

    /// Prints the command where the mode asks for it; tells whether that is all that shall happen.
    fn announce(&self, changes: bool) -> bool {
        announce(changes, || self.to_string())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place where processes are made")]
    fn expression(&self) -> duct::Expression {
        let mut expression = duct::cmd(&self.program, &self.args).unchecked();
        for (name, value) in self.env.iter().chain(&self.hidden_env) {
            expression = expression.env(name, value);
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

/// See [`Cmd::announce`].
fn announce(changes: bool, line: impl FnOnce() -> String) -> bool {
    let Mode { dry_run, verbose } = mode();
    if changes && dry_run {
        ui::planned(&line());
        return true;
    }
    if verbose {
        ui::command(&line());
    }
    false
}

/// The error of a run that a person or a signal ended.
fn interrupted() -> anyhow::Error {
    Failure::new(Exit::Interrupted, "interrupted").into()
}
