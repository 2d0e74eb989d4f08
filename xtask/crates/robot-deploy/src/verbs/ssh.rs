//! `cargo xtask ssh`: a shell or a command on a robot, the way every other verb reaches it.

use super::{RobotArg, reach, workspace};
use crate::error::Result;
use crate::process;
use crate::release::history;

/// Open a shell on a robot, or run a command there
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask ssh --robot main
  cargo xtask ssh --robot main -- docker ps --all

Neither your SSH agent nor a port is forwarded, whatever `~/.ssh/config` says: for that use `ssh` itself.")]
pub struct Args {
    #[command(flatten)]
    robot: RobotArg,

    /// The command; each argument arrives as it is here
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs `ssh` with the terminal in its hands.
///
/// # Errors
/// Fails as `ssh` does, or as the command there.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robot = args.robot.resolve(&workspace)?;
    let endpoint = reach(&workspace, robot)?;
    let mut ssh = endpoint.ssh();
    if args.command.is_empty() {
        // The first value of an option counts: this one is for a person.
        ssh = ssh.arg("-tt");
    }
    ssh = ssh.arg("--").arg(&endpoint.destination);
    if process::mode().dry_run {
        // What people want to know is how to get there: the diary is left out.
        let command = (!args.command.is_empty()).then(|| shell_words::join(&args.command));
        return ssh.args(command).interactive();
    }
    let argv = history::recorded(&workspace.project.name, "ssh", &args.command);
    ssh.arg(shell_words::join(argv)).interactive()
}
