//! `cargo xtask rollback`: back to a release that the robot has stored. Nothing is built, nothing is sent.

use super::deploy::{Activate, OnBusy, Target, show_running};
use super::{RobotsArg, fleet, reach, workspace};
use crate::config::Robot;
use crate::error::{Failure, Result};
use crate::process;
use crate::release::stored::{self, StoredRelease};
use crate::robot::{Survey, registry};
use crate::ui::{self, Progress};

/// Go back to the release before the one that runs, or to another that robots have kept
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask rollback --robot main
  cargo xtask rollback --robot main --to 17  `cargo xtask releases` shows what there is")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// The release to go to
    #[arg(long, value_name = "RELEASE")]
    to: Option<u32>,

    #[command(flatten)]
    on_busy: OnBusy,
}

/// Goes back, and prints what runs then.
///
/// # Errors
/// Fails when there is nothing to go back to, when a robot is busy, and when that release does not work any more; then
/// what runs runs on.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.robots.resolve(&workspace)?;
    let repository = registry::repository(&workspace.project.name);
    let options = Activate::from(args.on_busy);
    let serve = |robot: &Robot| -> Result<Survey> {
        let progress = Progress::new(&robot.name);
        let way = || reach(&workspace, robot);
        let mut target = Target::connect(&workspace, robot, way, &repository, &progress, options)?;
        target.lock()?;
        let releases = stored::list(&target.session, &workspace.project.name)?;
        let number = if process::mode().dry_run { 0 } else { choose(&robot.name, &releases, args.to)? };
        ui::step(&robot.name, &format!("going to release {number}"));
        target.return_to(number)
    };
    let (surveys, served) = fleet::each(&robots, serve);
    show_running(&surveys)?;
    served
}

/// The requested release; without a request, the latest healthy one before the current one.
fn choose(robot: &str, releases: &[StoredRelease], requested: Option<u32>) -> Result<u32> {
    let current = releases.iter().find(|stored| stored.is_current).map(|stored| stored.release);
    let all = releases.iter().map(|stored| stored.release.to_string()).collect::<Vec<_>>().join(", ");
    let hint = if releases.is_empty() {
        "nothing has been deployed to it".to_owned()
    } else {
        format!("it has {all}")
    };
    match requested {
        Some(requested) if current == Some(requested) => {
            Err(Failure::failed(format!("`{robot}` runs release {requested}")).hint(hint).into())
        }
        Some(requested) if releases.iter().any(|stored| stored.release == requested) => Ok(requested),
        Some(requested) => {
            Err(Failure::failed(format!("`{robot}` has no release {requested}")).hint(hint).into())
        }
        None => {
            let was_well = |stored: &&StoredRelease| {
                stored.record.as_ref().is_some_and(|record| record.outcome == "healthy")
            };
            let is_before = |stored: &&StoredRelease| current.is_none_or(|current| stored.release < current);
            let found = releases.iter().filter(was_well).find(is_before).map(|stored| stored.release);
            found.ok_or_else(|| {
                Failure::failed(format!("`{robot}` has kept no release before the one that runs"))
                    .hint(hint)
                    .hint("`cargo xtask deploy --via hub --tag TAG` brings back what was published")
                    .into()
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::stored::Record;

    fn stored(release: u32, outcome: &str, is_current: bool) -> StoredRelease {
        let record =
            Record { outcome: outcome.to_owned(), reason: String::new(), since: String::new(), deploy: None };
        StoredRelease { release, is_current, is_previous: false, record: Some(record) }
    }

    #[test]
    fn back_is_the_latest_before_the_current_that_was_well() {
        let releases = [
            stored(9, "restored", false),
            stored(8, "healthy", true),
            stored(7, "unhealthy", false),
            stored(5, "healthy", false),
        ];
        assert_eq!(choose("main", &releases, None).unwrap(), 5);
        assert_eq!(choose("main", &releases, Some(7)).unwrap(), 7);
        for (requested, message) in [(Some(8), "runs release 8"), (Some(6), "no release 6")] {
            assert!(choose("main", &releases, requested).unwrap_err().to_string().contains(message));
        }
        let error = choose("main", &releases[..2], None).unwrap_err();
        assert!(error.to_string().contains("no release before"), "{error}");
    }
}
