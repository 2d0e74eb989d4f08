//! Changes of this machine and of robots: made by [`Live`], printed by [`Planning`].
//!
//! Queries do not come here: a dry run asks them for real, so that it never states what it does not know.

use std::process::Output;

use camino::Utf8Path;

use super::{Cmd, display};
use crate::error::{Planned, Result};
use crate::{files, ui};

/// Everything that changes something goes through one of the two implementations.
///
/// [`Planning`] fails with [`Planned`] if the caller needs the outcome of a change.
pub(super) trait Executor: Sync {
    /// Runs a command and returns its output.
    fn run(&self, command: &Cmd) -> Result<Output>;

    /// Runs a command that owns the terminal.
    fn interactive(&self, command: &Cmd) -> Result<()>;

    /// Runs `producer | consumer` and returns the number of bytes in the pipe.
    fn pipe(&self, producer: &Cmd, consumer: &Cmd) -> Result<u64>;

    /// Runs a command whose failure is a warning.
    fn clean_up(&self, command: &Cmd);

    /// Announces a command that the caller shows or starts by itself.
    fn announce(&self, command: &Cmd);

    /// Creates a directory and those above it.
    fn create_dir(&self, path: &Utf8Path) -> Result<()>;

    /// Replaces the content of a file.
    fn write(&self, path: &Utf8Path, text: &str) -> Result<()>;

    /// Fails if the changes before were not made, for steps that need their outcome.
    fn outcome(&self) -> Result<()>;
}

/// Makes changes.
struct Live;

/// Prints changes as a shell script.
struct Planning;

/// Returns the implementation for this run.
pub(super) fn executor() -> &'static dyn Executor {
    if crate::mode::dry_run() { &Planning } else { &Live }
}

impl Executor for Live {
    fn run(&self, command: &Cmd) -> Result<Output> {
        super::announce(command);
        command.output()
    }

    fn interactive(&self, command: &Cmd) -> Result<()> {
        super::announce(command);
        command.attach()
    }

    fn pipe(&self, producer: &Cmd, consumer: &Cmd) -> Result<u64> {
        super::announce(&format_args!("{producer} | {consumer}"));
        consumer.take_from(producer)
    }

    fn clean_up(&self, command: &Cmd) {
        super::announce(command);
        command.try_briefly();
    }

    fn announce(&self, command: &Cmd) {
        ui::command(&command.to_string());
    }

    fn create_dir(&self, path: &Utf8Path) -> Result<()> {
        Ok(fs_err::create_dir_all(path)?)
    }

    fn write(&self, path: &Utf8Path, text: &str) -> Result<()> {
        files::replace(path, text)
    }

    fn outcome(&self) -> Result<()> {
        Ok(())
    }
}

impl Executor for Planning {
    fn run(&self, command: &Cmd) -> Result<Output> {
        self.announce(command);
        Err(Planned::default().into())
    }

    fn interactive(&self, command: &Cmd) -> Result<()> {
        self.announce(command);
        Ok(())
    }

    fn pipe(&self, producer: &Cmd, consumer: &Cmd) -> Result<u64> {
        display::plan(&format!("{producer} | {consumer}"));
        Ok(0)
    }

    fn clean_up(&self, command: &Cmd) {
        self.announce(command);
    }

    fn announce(&self, command: &Cmd) {
        display::plan(&command.to_string());
    }

    fn create_dir(&self, path: &Utf8Path) -> Result<()> {
        display::plan_dir(path);
        Ok(())
    }

    fn write(&self, path: &Utf8Path, text: &str) -> Result<()> {
        display::plan_file(path, text);
        Ok(())
    }

    fn outcome(&self) -> Result<()> {
        Err(Planned::default().into())
    }
}
