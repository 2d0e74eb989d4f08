//! `cargo xtask exec` and `shell`: inside a service's container, with the environment that its node has.

use super::{One, reach, workspace};
use crate::error::Result;
use crate::release::services;
use crate::robot::Session;

/// Run a command in a service's container, with the environment of ROS
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask exec --robot main navigation -- ros-run bringup wait_for_topic /main/odom nav_msgs/msg/Odometry")]
pub struct Args {
    #[command(flatten)]
    shell: Shell,

    /// The command; each argument arrives as it is here
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Open a shell in a service's container, with the environment of ROS
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask shell --robot main navigation")]
pub struct Shell {
    #[command(flatten)]
    one: One,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
}

/// Runs the command, with the terminal in its hands.
///
/// # Errors
/// Fails when the robot cannot be reached or has no such service, or as the command does.
pub fn run(args: &Args) -> Result<()> {
    inside(&args.shell, &args.command)
}

/// Opens the shell.
///
/// # Errors
/// As [`run`].
pub fn shell(args: &Shell) -> Result<()> {
    inside(args, &[])
}

fn inside(args: &Shell, command: &[String]) -> Result<()> {
    let workspace = workspace()?;
    let project = &workspace.project.name;
    let robot = args.one.robot(&workspace)?;
    let session = Session::open(reach(&workspace, robot)?)?;
    services::check(&session, project, std::slice::from_ref(&args.service))?;
    services::exec(session.endpoint(), project, &args.service, command)
}
