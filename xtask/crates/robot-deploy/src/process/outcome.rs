//! Runs a command to its end and builds the error of one that failed.

use std::io::{BufReader, PipeReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Output};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::capture::{ANSWER, Capture, Tail};
use super::lines::{LINE, piece};
use super::link::{self, CommandFailed};
use super::{Cmd, Shown, interrupt};
use crate::error::{Failure, Result};
use crate::ui;

/// Number of output lines that the error of a failed command shows.
const SHOWN_LINES: usize = 20;

impl Cmd {
    /// Starts an expression built from this command and captures the end of its stderr.
    pub(super) fn start(&self, expression: duct::Expression) -> Result<(Arc<duct::Handle>, Capture)> {
        self.start_with(expression, Capture::of_stderr)
    }

    fn start_with(
        &self,
        expression: duct::Expression,
        capture: impl FnOnce(PipeReader) -> Capture,
    ) -> Result<(Arc<duct::Handle>, Capture)> {
        let (reader, writer) = std::io::pipe().context("create a pipe")?;
        // The expression holds the write end of the pipe: drop it, so that the reader sees end-of-file.
        let started = { expression.stderr_file(writer).start() };
        let handle = started.map_err(|error| self.cannot_start(error))?;
        Ok((Arc::new(handle), capture(reader)))
    }

    pub(super) fn output(&self) -> Result<Output> {
        interrupt::check()?;
        let began = Instant::now();
        let deadline = self.deadline.map(|deadline| began + deadline);
        if let Some(shown) = self.shown.clone() {
            let show = |reader| Capture::new(move || show_lines(&shown, reader));
            let (handle, output) = self.start_with(self.with_stdin().stdout_to_stderr(), show)?;
            let status = self.wait(&handle)?;
            let stderr = output.end(deadline).ok_or_else(|| self.timed_out())?;
            self.check_link(status, began)?;
            return Ok(Output { status, stdout: Vec::new(), stderr });
        }
        let (reader, writer) = std::io::pipe().context("create a pipe")?;
        let (handle, stderr) = self.start(self.with_stdin().stdout_file(writer))?;
        let stdout = Capture::of_answer(reader, &handle);
        let status = self.wait(&handle)?;
        let stdout = stdout.end(deadline).ok_or_else(|| self.timed_out())?;
        if stdout.len() > ANSWER {
            return Err(self.failure(&format!("it wrote more than {} MiB", ANSWER >> 20), ""));
        }
        let stderr = stderr.end(deadline).ok_or_else(|| self.timed_out())?;
        self.check_link(status, began)?;
        Ok(Output { status, stdout, stderr })
    }

    pub(super) fn wait(&self, handle: &Arc<duct::Handle>) -> Result<ExitStatus> {
        let begin = Instant::now();
        let _registered = interrupt::register(handle);
        let waited = match self.deadline {
            Some(deadline) => handle.wait_timeout(deadline),
            None => handle.wait().map(Some),
        };
        let status = waited.with_context(|| format!("wait for `{self}`"))?.map(|output| output.status);
        if crate::mode::verbose() {
            ui::output("", &format!("{} took {:.2} s", self.program, begin.elapsed().as_secs_f32()));
        }
        interrupt::check()?;
        // The terminal sends Ctrl-C to the child as well; its end may be visible before our own signal
        // arrives.
        match status {
            Some(status) if status.signal() == Some(interrupt::SIGINT) => {
                interrupt::wait(Duration::from_secs(1))?
            }
            Some(status) if !status.success() => interrupt::wait(Duration::from_millis(20))?,
            _ => {}
        }
        if let Some(status) = status {
            return Ok(status);
        }
        handle.kill().with_context(|| format!("end `{self}`"))?;
        Err(self.timed_out())
    }

    fn timed_out(&self) -> anyhow::Error {
        let seconds = self.deadline.unwrap_or_default().as_secs();
        self.failure(&format!("no answer within {seconds} s"), "")
    }

    /// Fails unless `output` is of a command that exited with 0.
    pub(super) fn check(&self, output: Output) -> Result<Output> {
        if output.status.success() {
            return Ok(output);
        }
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        if self.shown.is_some() {
            text.clear();
        } else if text.trim().is_empty() {
            text = String::from_utf8_lossy(&output.stdout).into_owned();
        }
        Err(self.failed(output.status, &text))
    }

    pub(super) fn text(&self, output: Output) -> Result<String> {
        let text = String::from_utf8(output.stdout)
            .with_context(|| format!("the output of `{self}` is not UTF-8"))?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    pub(super) fn cannot_start(&self, error: std::io::Error) -> anyhow::Error {
        if error.kind() == std::io::ErrorKind::ArgumentListTooLong {
            return Failure::failed(format!(
                "`{}` cannot be started: its arguments or its variables are too long",
                self.words()
            ))
            .hint("a single one may have 128 kB: put large values into a file that the service mounts")
            .into();
        }
        if error.kind() != std::io::ErrorKind::NotFound {
            return anyhow::Error::new(error).context(format!("start `{self}`"));
        }
        Failure::failed(format!("`{}` is not installed", self.program))
            .hint("`cargo xtask setup` installs what this project needs, `cargo xtask doctor` lists what is missing")
            .into()
    }

    /// Fails if a command has succeeded, but its connection was lost after it began: `ssh` knows the exit code before
    /// all of the output has arrived.
    pub(super) fn check_link(&self, status: ExitStatus, began: Instant) -> Result<()> {
        let link = self.link.as_ref().and_then(Weak::upgrade);
        match link.filter(|link| status.success() && !link.is_up_since(began)) {
            Some(_) => {
                Err(CommandFailed { link: self.link.clone(), ..self.error("the connection was lost", "") }
                    .into())
            }
            None => Ok(()),
        }
    }

    /// Error of a command that ended with `status` and wrote `text` to stderr.
    pub(super) fn failed(&self, status: ExitStatus, text: &str) -> anyhow::Error {
        let link = self.link.as_ref().filter(|_| status.code() == Some(link::FAILED));
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        let code = code.and_then(|code| u8::try_from(code).ok());
        CommandFailed { link: link.cloned(), code, ..self.error(&status.to_string(), text) }.into()
    }

    /// Error of a command that failed for a `reason` and wrote `text` to stderr.
    pub(super) fn failure(&self, reason: &str, text: &str) -> anyhow::Error {
        self.error(reason, text).into()
    }

    fn error(&self, reason: &str, text: &str) -> CommandFailed {
        let lines: Vec<&str> = text.trim().lines().collect();
        let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        let link = self.link.as_ref().and_then(Weak::upgrade);
        let place = link.map_or(String::new(), |link| format!(" on `{}`", link.robot()));
        let message = format!("`{}`{place} failed: {reason}", self.words());
        let stderr = (!tail.is_empty()).then(|| anyhow::anyhow!(tail));
        CommandFailed { message, stderr, code: None, link: None }
    }

    /// The command in error messages: the program and its subcommand, without options and arguments, which
    /// would hide the cause. Verbose mode shows the whole command.
    fn words(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => words_of(&self.argv()).join(" "),
        }
    }
}

/// The program of an argv, and the words of its subcommand. A script of a shell is called by its `$0`.
pub(crate) fn words_of<'a>(argv: &[&'a str]) -> Vec<&'a str> {
    if let ["sh", "-c", _, name, ..] = argv {
        return vec![name];
    }
    let is_word = |word: &&&str| {
        !word.starts_with('-') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let program = argv.first().map(|program| program.rsplit('/').next().unwrap_or(program));
    let rest = argv.iter().skip(1).take(2).take_while(is_word);
    program.into_iter().chain(rest.copied()).collect()
}

/// Shows lines while they arrive and returns the last of them.
fn show_lines(shown: &Shown, reader: impl Read) -> Vec<u8> {
    let mut all = Tail::default();
    let mut filter = (shown.filter)();
    let mut reader = BufReader::new(reader);
    while let Ok(Some((line, _))) = piece(&mut reader, LINE) {
        let text = String::from_utf8_lossy(&line);
        // Progress bars overwrite a line with carriage returns: show the last state.
        let last = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if !last.is_empty() {
            filter(last).iter().for_each(|line| ui::output(&shown.scope, line));
        }
        all.add(&line);
        all.add(b"\n");
    }
    all.into_bytes()
}
