//! Children that work beside us.

use std::io::PipeWriter;
use std::os::unix::process::CommandExt as _;
use std::sync::Arc;

use anyhow::Context as _;

use super::Cmd;
use super::interrupt::{self, Registered};
use crate::error::Result;
use crate::ui;

/// A running child, ended when this guard is dropped.
#[derive(Debug)]
pub struct Child {
    handle: Arc<duct::Handle>,
    command: Cmd,
    held: Option<PipeWriter>,
    /// Present where a signal ends the child before its guard does.
    ended_by_signals: Option<Registered>,
}

/// The terminal's Ctrl-C goes to the foreground process group only: a child in a group of its own lives
/// on until its guard has done the cleaning up that needs it.
pub(super) fn apart(expression: duct::Expression) -> duct::Expression {
    expression.before_spawn(|command| {
        command.process_group(0);
        Ok(())
    })
}

impl Child {
    pub(super) fn start(command: &Cmd, expression: duct::Expression) -> Result<Self> {
        let handle = expression.start().map_err(|error| command.cannot_start(error))?;
        Ok(Self { handle: Arc::new(handle), command: command.clone(), held: None, ended_by_signals: None })
    }

    pub(super) fn start_apart(command: &Cmd, expression: duct::Expression) -> Result<Self> {
        Self::start(command, apart(expression))
    }

    /// Lets a signal end the child, so that who talks with it is not kept waiting.
    pub(super) fn ended_by_signals(mut self) -> Self {
        self.ended_by_signals = Some(interrupt::register(&self.handle));
        self
    }

    /// Keeps the writing end of the child's stdin open for as long as the child shall live.
    pub(super) fn holding(mut self, held: PipeWriter) -> Self {
        self.held = Some(held);
        self
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        matches!(self.handle.try_wait(), Ok(None))
    }

    /// Waits for the child's successful end.
    ///
    /// # Errors
    /// Fails when the child fails; the error shows its last words.
    pub fn wait(&self) -> Result<()> {
        let output = self.handle.wait().with_context(|| format!("wait for `{}`", self.command))?;
        if output.status.success() { Ok(()) } else { Err(self.post_mortem(output)) }
    }

    /// Waits for its end and gives its exit code; none where a signal ended it.
    ///
    /// # Errors
    /// Fails when it cannot be waited for.
    pub fn exit_code(&self) -> Result<Option<i32>> {
        let output = self.handle.wait().with_context(|| format!("wait for `{}`", self.command))?;
        Ok(output.status.code())
    }

    /// Why it ended: its exit status and last words. Waits for its end.
    pub fn reason(&self) -> anyhow::Error {
        match self.handle.wait() {
            Ok(output) => self.post_mortem(output),
            Err(error) => error.into(),
        }
    }

    fn post_mortem(&self, output: &std::process::Output) -> anyhow::Error {
        self.command.failure(&output.status.to_string(), &String::from_utf8_lossy(&output.stderr))
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
