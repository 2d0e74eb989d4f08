//! `cargo xtask exec`, `shell` and `run`: commands in a service's container, or in a copy of it, with the
//! environment of the service's node.

use super::{RobotArg, workspace};
use crate::complete;
use crate::error::Result;
use crate::reach::reach;
use crate::release::{history, services};
use crate::robot::Session;

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask exec --robot main navigation -- ros-run bringup wait_for_topic /main/odom nav_msgs/msg/Odometry")]
pub struct Args {
    #[command(flatten)]
    shell: Shell,

    /// The command; arguments are passed on unchanged
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask shell --robot main navigation")]
pub struct Shell {
    #[command(flatten)]
    robot: RobotArg,

    /// The service
    #[arg(value_name = "SERVICE", add = complete::services())]
    service: String,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask run --robot main navigation -- ros-run navigation navigation_node --ros-args -r __ns:=/test")]
pub struct Once {
    #[command(flatten)]
    shell: Shell,

    /// The command, instead of the service's own; arguments are passed on unchanged
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command with the terminal attached.
pub(crate) fn run(args: &Args) -> Result<()> {
    inside("exec", &args.shell, &args.command, services::exec)
}

/// Runs the command in a new container.
pub(crate) fn once(args: &Once) -> Result<()> {
    inside("run", &args.shell, &args.command, services::run)
}

pub(crate) fn shell(args: &Shell) -> Result<()> {
    inside("shell", args, &[], services::exec)
}

fn inside(
    verb: &str,
    args: &Shell,
    command: &[String],
    work: impl FnOnce(&Session, &str, &str, &[String]) -> Result<()>,
) -> Result<()> {
    let workspace = workspace()?;
    let project = &workspace.project.name;
    let robot = args.robot.resolve(&workspace)?;
    let session = Session::open(reach(&workspace, robot)?)?;
    services::check(&session, project, std::slice::from_ref(&args.service))?;
    history::try_record(&session, project, verb, &[std::slice::from_ref(&args.service), command].concat());
    work(&session, project, &args.service, command)
}
