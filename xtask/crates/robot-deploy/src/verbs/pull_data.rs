//! `cargo xtask pull-data`: bags, logs and whatever else robots and their services have written, onto this machine.

use camino::Utf8PathBuf;

use super::{RobotsArg, fleet, reach, workspace};
use crate::config::Robot;
use crate::error::{Failure, Result};
use crate::release::fetch::{Place, fetch};
use crate::release::services;
use crate::robot::Session;
use crate::ui;

/// Copy files from robots, each into a directory of its own; what has arrived is not sent again
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask pull-data --robot main bags/final
  cargo xtask pull-data --all /var/log/robot --to logs      into logs/main, logs/secondary
  cargo xtask pull-data --robot main navigation:/tmp/ros/log  out of a service's container

Run again after a broken connection, it goes on where it stopped.")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// A file or a directory on the robot, from the SSH user's home, or in the container of a service; one on the
    /// robot whose name looks like a service's begins with `./`
    #[arg(value_name = "[SERVICE:]PATH")]
    path: String,

    /// The directory that gets one for each robot
    #[arg(long, value_name = "DIRECTORY", default_value = "data")]
    to: Utf8PathBuf,
}

/// Copies, with what every robot and container has.
///
/// # Errors
/// Fails when a robot cannot be reached or has no such file; the others are served all the same.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.robots.resolve(&workspace)?;
    let (service, path) = split(&args.path);
    if path.is_empty() || args.path.contains(['\n', '\r', '\0']) {
        return Err(Failure::config("that is no path").hint("a file or a directory on the robot").into());
    }
    let project = &workspace.project.name;
    let copy = |robot: &Robot| {
        let session = Session::open(reach(&workspace, robot)?)?;
        let place = args.to.join(&robot.name);
        let from = match service {
            Some(service) => {
                services::check(&session, project, &[service.to_owned()])?;
                Place::of_service(&session, project, service)?
            }
            None => Place::Robot,
        };
        fetch(&session, &from, path, &place)?;
        ui::done(&robot.name, &format!("{} is in {place}", args.path));
        Ok(())
    };
    fleet::each(&robots, copy).1
}

/// A service, and a path in it: what is before the first colon, unless a slash comes earlier, as for scp(1).
fn split(words: &str) -> (Option<&str>, &str) {
    match words.split_once(':') {
        Some((service, path)) if !service.is_empty() && !service.contains('/') => (Some(service), path),
        _ => (None, words),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_service_is_before_the_first_colon() {
        assert_eq!(split("navigation:/tmp/ros/log"), (Some("navigation"), "/tmp/ros/log"));
        assert_eq!(split("navigation:"), (Some("navigation"), ""));
        for path in ["bags", "./bag:1", "/var/log/a:b", ":x", ""] {
            assert_eq!(split(path), (None, path));
        }
    }
}
