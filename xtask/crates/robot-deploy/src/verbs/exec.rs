//! `cargo xtask exec`, `shell` and `run`: inside a service's container, or in one like it, with the environment that
//! its node has.

use super::{RobotArg, reach, workspace};
use crate::error::Result;
use crate::release::{history, services};
use crate::robot::{Endpoint, Session};

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
    robot: RobotArg,

    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
}

/// Run a command once in a container of its own, made like a service's: same image, settings and devices
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask run --robot main navigation -- ros-run navigation navigation_node --ros-args -r __ns:=/test")]
pub struct Once {
    #[command(flatten)]
    shell: Shell,

    /// The command, instead of the service's own; each argument arrives as it is here
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command, with the terminal in its hands.
///
/// # Errors
/// Fails when the robot cannot be reached or has no such service, or as the command does.
pub fn run(args: &Args) -> Result<()> {
    inside("exec", &args.shell, &args.command, services::exec)
}

/// Runs the command in a container of its own.
///
/// # Errors
/// As [`run`].
pub fn once(args: &Once) -> Result<()> {
    inside("run", &args.shell, &args.command, services::run)
}

/// Opens the shell.
///
/// # Errors
/// As [`run`].
pub fn shell(args: &Shell) -> Result<()> {
    inside("shell", args, &[], services::exec)
}

fn inside(
    verb: &str,
    args: &Shell,
    command: &[String],
    work: impl FnOnce(&Endpoint, &str, &str, &[String]) -> Result<()>,
) -> Result<()> {
    let workspace = workspace()?;
    let project = &workspace.project.name;
    let robot = args.robot.resolve(&workspace)?;
    let session = Session::open(reach(&workspace, robot)?)?;
    services::check(&session, project, std::slice::from_ref(&args.service))?;
    history::try_record(&session, project, verb, &[std::slice::from_ref(&args.service), command].concat());
    work(session.endpoint(), project, &args.service, command)
}
