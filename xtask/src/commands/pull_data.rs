//! `cargo xtask pull-data`: bags, logs and whatever else robots have written, onto this machine.

use camino::Utf8PathBuf;

use super::{Which, fleet, reach, workspace};
use crate::config::Robot;
use crate::error::{Failure, Result};
use crate::process;
use crate::robot::Session;
use crate::ui;

/// Copy files from robots, each into a directory of its own; what has arrived is not sent again
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask pull-data --robot main bags/final
  cargo xtask pull-data --all /var/log/robot --to logs  into logs/main, logs/secondary

Run again after a broken connection, it goes on where it stopped.")]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// A file or a directory on the robot, from the SSH user's home
    #[arg(value_name = "PATH")]
    path: String,

    /// The directory that gets one for each robot
    #[arg(long, value_name = "DIRECTORY", default_value = "data")]
    to: Utf8PathBuf,
}

/// Copies, by the SFTP that every SSH server has.
///
/// # Errors
/// Fails when a robot cannot be reached or has no such file; the others are served all the same.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.which.robots(&workspace)?;
    if args.path.is_empty() || args.path.contains(['\n', '\r', '\0']) {
        return Err(Failure::config("that is no path").hint("a file or a directory on the robot").into());
    }
    let copy = |robot: &Robot| {
        let session = Session::open(reach(&workspace, robot)?)?;
        let place = args.to.join(&robot.name);
        if !process::mode().dry_run {
            fs_err::create_dir_all(&place)?;
        }
        session.fetch(&args.path, &place)?;
        ui::done(&robot.name, &format!("{} is in {place}", args.path));
        Ok(())
    };
    fleet::each(&robots, copy).1
}
