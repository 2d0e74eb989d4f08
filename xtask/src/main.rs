//! `cargo xtask`: parses, dispatches, renders the error, sets the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use xtask::{cli::Cli, error, ui};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(ui::panic));
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads our output has seen enough, as `head` has.
        Err(failure) if error::is_closed_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            ui::error(None, &failure);
            ExitCode::from(error::exit_of(&failure) as u8)
        }
    }
}
