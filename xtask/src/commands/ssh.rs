//! `cargo xtask ssh`: a shell or a command on a robot, the way every other verb reaches it.

use super::{reach, workspace};
use crate::error::Result;

/// Open a shell on a robot, or run a command there
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The robot
    #[arg(long, short)]
    robot: String,

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
    let robot = workspace.robot(&args.robot)?;
    let endpoint = reach(&workspace, robot)?;
    let mut ssh = endpoint.ssh();
    if args.command.is_empty() {
        // The first value of an option counts: this one is for a person.
        ssh = ssh.arg("-tt").arg("--").arg(&endpoint.destination);
    } else {
        ssh = ssh.arg("--").arg(&endpoint.destination).arg(shell_words::join(&args.command));
    }
    ssh.interactive()
}
