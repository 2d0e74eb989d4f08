//! Options of all verbs, and what they mean for this run.

use std::sync::OnceLock;

/// Options of all verbs.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Options {
    /// Ask machines and robots for real, print the changes as commands and in words, and make none of them
    #[arg(long, short = 'n', global = true)]
    pub dry_run: bool,

    /// Print each command as it runs, and the time that it took
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

static MODE: OnceLock<Options> = OnceLock::new();

/// Sets the mode, once, before the first command.
pub(crate) fn configure(options: Options) {
    // Only a test in the same process can call this twice; the first call wins.
    let _ = MODE.set(options);
}

/// Returns whether commands that change something are printed instead of run.
pub fn dry_run() -> bool {
    MODE.get().is_some_and(|mode| mode.dry_run)
}

/// Returns whether every command is printed before it runs.
pub fn verbose() -> bool {
    MODE.get().is_some_and(|mode| mode.verbose)
}
