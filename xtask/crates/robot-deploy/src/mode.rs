//! Global options of this run.

use std::sync::OnceLock;

/// Global options from the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    /// Print the commands that change something instead of running them.
    pub dry_run: bool,
    /// Print every command before it runs, and its duration afterwards.
    pub verbose: bool,
}

static MODE: OnceLock<Mode> = OnceLock::new();

/// Sets the mode, once, before the first command.
pub fn configure(mode: Mode) {
    // Only a test in the same process can call this twice; the first call wins.
    let _ = MODE.set(mode);
}

/// Returns whether commands that change something are printed instead of run.
pub fn dry_run() -> bool {
    MODE.get().is_some_and(|mode| mode.dry_run)
}

/// Returns whether every command is printed before it runs.
pub fn verbose() -> bool {
    MODE.get().is_some_and(|mode| mode.verbose)
}
