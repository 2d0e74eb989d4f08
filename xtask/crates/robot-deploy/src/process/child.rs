//! Children in the background.

use std::io::PipeWriter;
use std::os::unix::process::CommandExt as _;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context as _;
use duct::unix::HandleExt as _;

use super::Cmd;
use super::capture::Capture;
use super::interrupt::{self, Registered};
use crate::error::Result;
use crate::ui;

/// A running child, ended when this guard is dropped.
#[derive(Debug)]
pub struct Child {
    handle: Arc<duct::Handle>,
    command: Cmd,
    held: Option<PipeWriter>,
    stderr: Capture,
    /// End of `stderr`, once the child has ended.
    stderr_tail: OnceLock<Vec<u8>>,
    /// Reason why its output made us kill it.
    killed_for: Arc<OnceLock<String>>,
    began: Instant,
    /// Set when a signal ends the child before the guard does.
    ended_by_signals: Option<Registered>,
}

/// Starts the child in its own process group. The terminal sends Ctrl-C to the foreground group only, so the
/// child survives until the guards that need it have cleaned up.
pub(super) fn apart(expression: duct::Expression) -> duct::Expression {
    expression.before_spawn(|command| {
        command.process_group(0);
        Ok(())
    })
}

impl Child {
    pub(super) fn start(command: &Cmd, expression: duct::Expression) -> Result<Self> {
        let began = Instant::now();
        let (handle, stderr) = command.start(expression)?;
        Ok(Self {
            handle,
            command: command.clone(),
            held: None,
            stderr,
            stderr_tail: OnceLock::new(),
            killed_for: Arc::default(),
            began,
            ended_by_signals: None,
        })
    }

    pub(super) fn start_apart(command: &Cmd, expression: duct::Expression) -> Result<Self> {
        Self::start(command, apart(expression))
    }

    /// Lets a signal end the child, so that a caller that reads its output does not block.
    pub(super) fn ended_by_signals(mut self) -> Self {
        self.ended_by_signals = Some(interrupt::register(&self.handle));
        self
    }

    /// Keeps the write end of the child's stdin open until the guard is dropped.
    pub(super) fn holding(mut self, held: PipeWriter) -> Self {
        self.held = Some(held);
        self
    }

    /// Returns whether it still runs.
    pub fn is_running(&self) -> bool {
        matches!(self.handle.try_wait(), Ok(None))
    }

    /// Asks it to end, as a signal of a person would, and waits until it has.
    pub(crate) fn interrupt(&self) {
        // It may have ended by itself.
        drop(self.handle.send_signal(interrupt::SIGTERM));
        drop(self.handle.wait());
    }

    /// Returns a function that kills the child from another thread, for a reason that its error will state.
    pub(super) fn killer(&self) -> impl FnOnce(String) + Send + use<> {
        let (handle, killed_for) = (self.handle.clone(), self.killed_for.clone());
        move |reason| {
            killed_for.get_or_init(|| reason);
            drop(handle.kill());
        }
    }

    /// Waits for the child to exit with 0; otherwise the error shows the end of its stderr.
    pub fn wait(&self) -> Result<()> {
        let status = self.status()?;
        if status.success() && self.killed_for.get().is_none() {
            self.command.check_link(status, self.began)
        } else {
            Err(self.post_mortem(status))
        }
    }

    /// Waits for its end and returns the exit code; `None` when a signal ended it.
    pub fn exit_code(&self) -> Result<Option<i32>> {
        Ok(self.status()?.code())
    }

    /// Waits for its end and returns an error with its exit status and the end of its stderr.
    pub fn reason(&self) -> anyhow::Error {
        self.status().map_or_else(|error| error, |status| self.post_mortem(status))
    }

    fn status(&self) -> Result<ExitStatus> {
        let output = self.handle.wait().with_context(|| format!("wait for `{}`", self.command))?;
        Ok(output.status)
    }

    fn post_mortem(&self, status: ExitStatus) -> anyhow::Error {
        if let Some(reason) = self.killed_for.get() {
            return self.command.failure(reason, "");
        }
        let stderr = self.stderr_tail.get_or_init(|| self.stderr.end(None).unwrap_or_default());
        self.command.failed(status, &String::from_utf8_lossy(stderr))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.held = None;
        if let Err(error) = self.handle.kill().and_then(|()| self.handle.wait().map(drop)) {
            ui::warn("clean-up", &format!("cannot end `{}`: {error}", self.command));
        }
    }
}
