//! `cargo xtask completions`: completion scripts for the usual shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Result;
use crate::ui;

/// Print a completion script for a shell
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell to complete for
    shell: Shell,
}

/// Prints the script on stdout.
///
/// # Errors
/// Fails when stdout is closed.
pub fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "xtask", &mut script);
    Ok(ui::result(String::from_utf8_lossy(&script).trim_end())?)
}
