//! `cargo xtask ssh`: a shell or a command on a robot, with the same SSH options as all other verbs.

use super::{RobotArg, workspace};
use crate::error::Result;
use crate::reach::reach;
use crate::release::history;
use crate::robot::Session;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask ssh --robot main
  cargo xtask ssh --robot main -- docker ps --all

SSH agent and ports are not forwarded, whatever `~/.ssh/config` says. Use plain `ssh` for that.")]
pub struct Args {
    #[command(flatten)]
    robot: RobotArg,

    /// The command; arguments are passed on unchanged
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs `ssh` with the terminal attached.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robot = args.robot.resolve(&workspace)?;
    let session = Session::open(reach(&workspace, robot)?)?;
    let argv = history::recorded(&workspace.project.name, "ssh", &args.command);
    // A shell needs a terminal.
    session.attach(args.command.is_empty(), &argv)
}
