//! Children that work beside us.

use std::io::PipeWriter;
use std::os::unix::process::CommandExt as _;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;

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
    /// Its stderr, being read.
    words: Capture,
    last_words: OnceLock<Vec<u8>>,
    /// The reason for which it was ended, if it was for what it said.
    ended_for: Arc<OnceLock<String>>,
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
        let (handle, words) = command.start(expression)?;
        Ok(Self {
            handle,
            command: command.clone(),
            held: None,
            words,
            last_words: OnceLock::new(),
            ended_for: Arc::default(),
            ended_by_signals: None,
        })
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

    /// Returns a function that ends it for what it says, with a reason, from another thread.
    pub(super) fn end_for(&self) -> impl FnOnce(String) + Send + use<> {
        let (handle, ended_for) = (self.handle.clone(), self.ended_for.clone());
        move |reason| {
            let _first = ended_for.set(reason);
            drop(handle.kill());
        }
    }

    /// Waits for the child's successful end.
    ///
    /// # Errors
    /// Fails when the child fails; the error shows its last words.
    pub fn wait(&self) -> Result<()> {
        let status = self.status()?;
        if status.success() && self.ended_for.get().is_none() {
            Ok(())
        } else {
            Err(self.post_mortem(status))
        }
    }

    /// Waits for its end and gives its exit code; none where a signal ended it.
    ///
    /// # Errors
    /// Fails when it cannot be waited for.
    pub fn exit_code(&self) -> Result<Option<i32>> {
        Ok(self.status()?.code())
    }

    /// Why it ended: its exit status and last words. Waits for its end.
    pub fn reason(&self) -> anyhow::Error {
        self.status().map_or_else(|error| error, |status| self.post_mortem(status))
    }

    fn status(&self) -> Result<ExitStatus> {
        let output = self.handle.wait().with_context(|| format!("wait for `{}`", self.command))?;
        Ok(output.status)
    }

    fn post_mortem(&self, status: ExitStatus) -> anyhow::Error {
        if let Some(ended_for) = self.ended_for.get() {
            return self.command.failure(ended_for, "");
        }
        let words = self.last_words.get_or_init(|| self.words.end(None).unwrap_or_default());
        self.command.failure(&status.to_string(), &String::from_utf8_lossy(words))
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
