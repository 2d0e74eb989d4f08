//! The command line: one subcommand, one module in [`commands`](crate::commands).

use clap::{Parser, Subcommand};

use crate::commands::{self, services::Verb};
use crate::error::Result;
use crate::process::{self, Mode};

const EXAMPLES: &str = "Examples:
  cargo xtask deploy --robot main        build, deliver, start
  cargo xtask deploy --robot main -n     show what that would run
  cargo xtask doctor                     what is wrong, and how to mend it

Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 a robot does not
answer, or is not the machine it was; 4 a robot is being deployed to by somebody
else, or busy; 5 a release was not well, the one before runs again; 130 interrupted";

/// Build ROS 2 packages into images and bring them onto robots over the local network.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print each command that would run, ready to paste, and touch nothing
    #[arg(long, short = 'n', global = true)]
    dry_run: bool,

    /// Print each command as it runs, and how long it took
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Deploy(commands::deploy::Args),
    Watch(commands::watch::Args),
    BuildImages(commands::build_images::Args),
    Publish(commands::publish::Args),
    LoadBundle(commands::load_bundle::Args),
    Status(commands::status::Args),
    Releases(commands::releases::Args),
    Rollback(commands::rollback::Args),
    Prune(commands::prune::Args),
    /// Show who did what on robots, and when
    History(commands::releases::Args),
    Setup(commands::setup::Args),
    Doctor(commands::doctor::Args),
    SetupRobot(commands::setup_robot::Args),
    Sim(commands::sim::Args),
    Tunnel(commands::tunnel::Args),
    Ssh(commands::ssh::Args),
    Logs(commands::logs::Args),
    /// Start services that do not run
    Start(commands::services::Args),
    /// Stop services; they stay stopped until they are started or deployed
    Stop(commands::services::Args),
    /// Restart services
    Restart(commands::services::Args),
    Exec(commands::exec::Args),
    Shell(commands::exec::Shell),
    Run(commands::exec::Once),
    Env(commands::env::Args),
    PullData(commands::pull_data::Args),
    DevShell(commands::dev_shell::Args),
    Test(commands::test::Args),
    Bench(commands::bench::Args),
    Completions(commands::completions::Args),
}

impl Cli {
    /// Runs the chosen verb.
    ///
    /// # Errors
    /// Whatever the verb fails with; [`exit_of`](crate::error::exit_of) tells the exit code.
    pub fn run(self) -> Result<()> {
        process::configure(Mode { dry_run: self.dry_run, verbose: self.verbose });
        process::install_signal_handler()?;
        match self.command {
            Command::Deploy(args) => commands::deploy::run(&args),
            Command::Watch(args) => commands::watch::run(&args),
            Command::BuildImages(args) => commands::build_images::run(&args),
            Command::Publish(args) => commands::publish::run(&args),
            Command::LoadBundle(args) => commands::load_bundle::run(&args),
            Command::Status(args) => commands::status::run(&args),
            Command::Releases(args) => commands::releases::run(&args),
            Command::Rollback(args) => commands::rollback::run(&args),
            Command::Prune(args) => commands::prune::run(&args),
            Command::History(args) => commands::releases::history(&args),
            Command::Setup(args) => commands::setup::run(&args),
            Command::Doctor(args) => commands::doctor::run(&args),
            Command::SetupRobot(args) => commands::setup_robot::run(&args),
            Command::Sim(args) => commands::sim::run(&args),
            Command::Tunnel(args) => commands::tunnel::run(&args),
            Command::Ssh(args) => commands::ssh::run(&args),
            Command::Logs(args) => commands::logs::run(&args),
            Command::Start(args) => commands::services::run(Verb::Start, &args),
            Command::Stop(args) => commands::services::run(Verb::Stop, &args),
            Command::Restart(args) => commands::services::run(Verb::Restart, &args),
            Command::Exec(args) => commands::exec::run(&args),
            Command::Shell(args) => commands::exec::shell(&args),
            Command::Run(args) => commands::exec::once(&args),
            Command::Env(args) => commands::env::run(&args),
            Command::PullData(args) => commands::pull_data::run(&args),
            Command::DevShell(args) => commands::dev_shell::run(&args),
            Command::Test(args) => commands::test::run(&args),
            Command::Bench(args) => commands::bench::run(&args),
            Command::Completions(args) => commands::completions::run(&args),
        }
    }
}
