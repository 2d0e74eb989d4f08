//! Running a command to its end, and what is said of one that failed.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Cmd, Shown, interrupt, mode};
use crate::error::{Failure, Result};
use crate::ui;

/// How many lines of a failed command's output an error shows.
const SHOWN_LINES: usize = 20;

impl Cmd {
    pub(super) fn captured(&self) -> duct::Expression {
        self.with_stdin().stdout_capture().stderr_capture()
    }

    pub(super) fn output(&self) -> Result<Output> {
        interrupt::check()?;
        let Some(shown) = self.shown.clone() else {
            return self.wait(self.captured().start());
        };
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let copy = writer.try_clone().context("duplicate a pipe")?;
        // The expression holds the pipe's writing end: it has to be gone before the reader sees the end.
        let started = { self.with_stdin().stdout_file(writer).stderr_file(copy).start() };
        let reading = std::thread::spawn(move || show_lines(&shown, reader));
        let mut output = self.wait(started)?;
        output.stderr = reading.join().unwrap_or_default();
        Ok(output)
    }

    pub(super) fn wait(&self, started: std::io::Result<duct::Handle>) -> Result<Output> {
        let handle = Arc::new(started.map_err(|error| self.cannot_start(error))?);
        let begin = Instant::now();
        let _registered = interrupt::register(&handle);
        let waited = match self.deadline {
            Some(deadline) => handle.wait_timeout(deadline).map(Option::<&Output>::cloned),
            None => handle.wait().map(|output| Some(output.clone())),
        };
        let output = waited.with_context(|| format!("wait for `{self}`"))?;
        if mode().verbose {
            ui::output("", &format!("{} took {:.2} s", self.program, begin.elapsed().as_secs_f32()));
        }
        interrupt::check()?;
        // A terminal's Ctrl-C reaches the child as well, and we may see its end before our own signal.
        match output.as_ref().map(|output| output.status) {
            Some(status) if status.signal() == Some(interrupt::SIGINT) => {
                interrupt::wait(Duration::from_secs(1))?
            }
            Some(status) if !status.success() => interrupt::wait(Duration::from_millis(20))?,
            _ => {}
        }
        if let Some(output) = output {
            return Ok(output);
        }
        handle.kill().with_context(|| format!("end `{self}`"))?;
        let seconds = self.deadline.unwrap_or_default().as_secs();
        Err(self.failure(&format!("no answer within {seconds} s"), ""))
    }

    /// Waits for success.
    pub(super) fn finish(&self) -> Result<Output> {
        self.check(self.output()?)
    }

    /// Fails unless that was success.
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
        Err(self.failure(&output.status.to_string(), &text))
    }

    pub(super) fn text(&self, output: Output) -> Result<String> {
        let text =
            String::from_utf8(output.stdout).with_context(|| format!("`{self}` did not write UTF-8"))?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    pub(super) fn cannot_start(&self, error: std::io::Error) -> anyhow::Error {
        if error.kind() != std::io::ErrorKind::NotFound {
            return anyhow::Error::new(error).context(format!("start `{self}`"));
        }
        Failure::failed(format!("`{}` is not installed", self.program))
            .hint("`cargo xtask setup` installs what this project needs, `cargo xtask doctor` lists what is missing")
            .into()
    }

    pub(super) fn failure(&self, status: &str, text: &str) -> anyhow::Error {
        let lines: Vec<&str> = text.trim().lines().collect();
        let tail = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        let message = format!("`{}` failed: {status}", self.abridged());
        if tail.is_empty() {
            return Failure::failed(message).into();
        }
        Failure::failed(message).because(anyhow::anyhow!(tail)).into()
    }

    /// The command for an error message: whole scripts would bury what went wrong.
    fn abridged(&self) -> String {
        let line = self.to_string();
        let first = line.lines().next().unwrap_or_default();
        if first.chars().count() <= 160 && first.len() == line.len() {
            return line;
        }
        format!("{} …", first.chars().take(160).collect::<String>())
    }
}

/// Shows lines as they come and keeps them all.
fn show_lines(shown: &Shown, reader: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut filter = (shown.filter)();
    for line in BufReader::new(reader).split(b'\n').map_while(std::io::Result::ok) {
        let text = String::from_utf8_lossy(&line);
        // Progress bars overwrite a line with carriage returns: the last state is the one worth showing.
        let last = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if !last.is_empty() {
            filter(last).iter().for_each(|line| ui::output(&shown.scope, line));
        }
        all.extend_from_slice(&line);
        all.push(b'\n');
    }
    all
}
