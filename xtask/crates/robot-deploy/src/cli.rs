//! The command line of a team's `xtask`: options and verbs to flatten into its own.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::error::{self, Result};
use crate::process::{self, Mode};
use crate::ui;
use crate::verbs::{self, services};

/// Examples and exit codes, to be shown after the help of the command.
pub const HELP: &str = "Examples:
  cargo xtask deploy --robot main        build, deliver, start
  cargo xtask deploy --robot main -n     show what that would run
  cargo xtask doctor                     what is wrong, and how to mend it

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 a robot does not
answer, or is not the machine it was; 4 a robot is being deployed to by somebody
else, or busy; 5 a release was not well, the one before runs again; 130 interrupted";

/// Options of all verbs.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Print each command that would run, ready to paste, and touch nothing
    #[arg(long, short = 'n', global = true)]
    pub dry_run: bool,

    /// Print each command as it runs, and how long it took
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// Verbs of robot-deploy. A team's own `xtask` flattens them into its enum of verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Deploy(verbs::deploy::Args),
    Watch(verbs::watch::Args),
    BuildImages(verbs::build_images::Args),
    Publish(verbs::publish::Args),
    LoadBundle(verbs::load_bundle::Args),
    Status(verbs::status::Args),
    Releases(verbs::releases::Args),
    Rollback(verbs::rollback::Args),
    Prune(verbs::prune::Args),
    /// Show who did what on robots, and when
    History(verbs::releases::Args),
    Setup(verbs::setup::Args),
    Doctor(verbs::doctor::Args),
    SetupRobot(verbs::setup_robot::Args),
    Sim(verbs::sim::Args),
    Tunnel(verbs::tunnel::Args),
    Ssh(verbs::ssh::Args),
    Logs(verbs::logs::Args),
    /// Start services that do not run
    Start(verbs::services::Args),
    /// Stop services; they stay stopped until they are started or deployed
    Stop(verbs::services::Args),
    /// Restart services
    Restart(verbs::services::Args),
    Exec(verbs::exec::Args),
    Shell(verbs::exec::Shell),
    Run(verbs::exec::Once),
    Env(verbs::env::Args),
    PullData(verbs::pull_data::Args),
    DevShell(verbs::dev_shell::Args),
    Completions(verbs::completions::Args),
}

impl Verb {
    /// Runs the verb. `command` is the whole command line that the verb is a part of, for shell completions.
    ///
    /// # Errors
    /// [`exit_of`](crate::error::exit_of) tells the exit code of an error.
    pub fn run(self, command: clap::Command) -> Result<()> {
        match self {
            Self::Deploy(args) => verbs::deploy::run(&args),
            Self::Watch(args) => verbs::watch::run(&args),
            Self::BuildImages(args) => verbs::build_images::run(&args),
            Self::Publish(args) => verbs::publish::run(&args),
            Self::LoadBundle(args) => verbs::load_bundle::run(&args),
            Self::Status(args) => verbs::status::run(&args),
            Self::Releases(args) => verbs::releases::run(&args),
            Self::Rollback(args) => verbs::rollback::run(&args),
            Self::Prune(args) => verbs::prune::run(&args),
            Self::History(args) => verbs::releases::history(&args),
            Self::Setup(args) => verbs::setup::run(&args),
            Self::Doctor(args) => verbs::doctor::run(&args),
            Self::SetupRobot(args) => verbs::setup_robot::run(&args),
            Self::Sim(args) => verbs::sim::run(&args),
            Self::Tunnel(args) => verbs::tunnel::run(&args),
            Self::Ssh(args) => verbs::ssh::run(&args),
            Self::Logs(args) => verbs::logs::run(&args),
            Self::Start(args) => verbs::services::run(services::Verb::Start, &args),
            Self::Stop(args) => verbs::services::run(services::Verb::Stop, &args),
            Self::Restart(args) => verbs::services::run(services::Verb::Restart, &args),
            Self::Exec(args) => verbs::exec::run(&args),
            Self::Shell(args) => verbs::exec::shell(&args),
            Self::Run(args) => verbs::exec::once(&args),
            Self::Env(args) => verbs::env::run(&args),
            Self::PullData(args) => verbs::pull_data::run(&args),
            Self::DevShell(args) => verbs::dev_shell::run(&args),
            Self::Completions(args) => verbs::completions::run(&args, command),
        }
    }
}

/// Runs a verb under these options: prints its error and returns its exit code. Call it at the end of `main`.
pub fn main(options: Options, run: impl FnOnce() -> Result<()>) -> ExitCode {
    std::panic::set_hook(Box::new(ui::panic));
    let Options { dry_run, verbose } = options;
    process::configure(Mode { dry_run, verbose });
    match process::install_signal_handler().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        // A closed stdout (`… | head`) is not a failure.
        Err(failure) if error::is_closed_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            ui::error(None, &failure);
            ExitCode::from(error::exit_of(&failure) as u8)
        }
    }
}
