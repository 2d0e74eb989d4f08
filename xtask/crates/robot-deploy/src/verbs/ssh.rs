//! `cargo xtask ssh`: a shell or a command on a robot, with the same SSH options as all other verbs.

use super::{RobotArg, workspace};
use crate::error::Result;
use crate::reach::reach;
use crate::release::history;

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
    let endpoint = reach(&workspace, robot)?;
    let mut ssh = endpoint.ssh();
    if args.command.is_empty() {
        // A shell needs a terminal. Overrides `RequestTTY=no` of the common options.
        ssh = ssh.arg("-tt");
    }
    ssh = ssh.arg("--").arg(&endpoint.destination);
    let argv = history::recorded(&workspace.project.name, "ssh", &args.command);
    ssh.arg(shell_words::join(argv)).interactive()
}
