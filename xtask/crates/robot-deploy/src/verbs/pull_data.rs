//! `cargo xtask pull-data`: copies bags, logs and other files of robots and their services to this machine.

use camino::Utf8PathBuf;
use clap::ValueHint;

use super::{RobotsArg, workspace};
use crate::config::Robot;
use crate::error::{Failure, Result};
use crate::fleet;
use crate::reach::reach;
use crate::release::fetch::{Place, fetch};
use crate::release::services;
use crate::robot::Session;
use crate::ui;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask pull-data --robot main bags/final
  cargo xtask pull-data --all /var/log/robot --to logs      to logs/main, logs/secondary
  cargo xtask pull-data --robot main navigation:/tmp/ros/log  from a service's container

After a lost connection, run it again: the copy resumes where it stopped.")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// A file or directory on the robot, relative to the SSH user's home, or in a service's container; write
    /// `./a:b` for a file `a:b` on the robot
    #[arg(value_name = "[SERVICE:]PATH")]
    path: String,

    /// Local directory, in which each robot gets a subdirectory
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, default_value = "data")]
    to: Utf8PathBuf,
}

/// Copies the files. Needs only tools that every robot and container has.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.robots.resolve(&workspace)?;
    let (service, path) = split(&args.path);
    if path.is_empty() || args.path.contains(['\n', '\r', '\0']) {
        return Err(Failure::config("the path is empty or contains a line break or NUL")
            .hint("name a file or directory on the robot")
            .into());
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
        ui::done(&robot.name, &format!("copied {} to {place}", args.path));
        Ok(())
    };
    fleet::each(&robots, copy).1
}

/// Splits `SERVICE:PATH` at the first colon, unless a slash comes before it, like scp(1).
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
