//! `cargo xtask rollback`: activates a release that is stored on the robot. Builds nothing and sends no
//! images.

use super::{RobotsArg, workspace};
use crate::complete;
use crate::config::Robot;
use crate::deploy::{OnBusy, Target, show_running};
use crate::error::{Failure, Result};
use crate::fleet;
use crate::reach::reach;
use crate::release::stored::{self, StoredRelease};
use crate::robot::{Survey, registry};
use crate::ui;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask rollback --robot main
  cargo xtask rollback --robot main --to 17  `cargo xtask releases` lists the releases")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Number of the release to activate; by default the previous healthy one
    #[arg(long, value_name = "RELEASE", add = complete::releases())]
    to: Option<u32>,

    #[command(flatten)]
    on_busy: OnBusy,
}

/// Rolls back and prints what runs then.
///
/// # Errors
/// Fails when there is no such release, when a robot is busy, and when the release is unhealthy now; the
/// robot then runs the current release again.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.robots.resolve(&workspace)?;
    let serve = |robot: &Robot| -> Result<Survey> {
        let repository = registry::repository(robot.registry_port, &workspace.project.name);
        let mut target = Target::connect(&workspace, robot, reach, &repository, args.on_busy.into())?;
        target.lock()?;
        let releases = stored::list(&target.session, &workspace.project.name)?;
        let number = choose(&robot.name, &releases, args.to)?;
        ui::step(&robot.name, &format!("activating release {number}"));
        target.return_to(number)
    };
    let (surveys, served) = fleet::each(&robots, serve);
    show_running(&surveys)?;
    served
}

/// Returns the requested release, or by default the latest healthy one before the current release.
fn choose(robot: &str, releases: &[StoredRelease], requested: Option<u32>) -> Result<u32> {
    let current = releases.iter().find(|stored| stored.is_current).map(|stored| stored.release);
    let all = releases.iter().map(|stored| stored.release.to_string()).collect::<Vec<_>>().join(", ");
    let hint = if releases.is_empty() {
        "nothing has been deployed to it yet".to_owned()
    } else {
        format!("it has releases {all}")
    };
    match requested {
        Some(requested) if current == Some(requested) => {
            Err(Failure::failed(format!("`{robot}` already runs release {requested}")).hint(hint).into())
        }
        Some(requested) if releases.iter().any(|stored| stored.release == requested) => Ok(requested),
        Some(requested) => {
            Err(Failure::failed(format!("`{robot}` has no release {requested}")).hint(hint).into())
        }
        None => {
            let is_healthy = |stored: &&StoredRelease| {
                stored.record.as_ref().is_some_and(|record| record.outcome == "healthy")
            };
            let is_before = |stored: &&StoredRelease| current.is_none_or(|current| stored.release < current);
            let previous = releases.iter().filter(is_healthy).find(is_before).map(|stored| stored.release);
            previous.ok_or_else(|| {
                Failure::failed(format!("`{robot}` has no healthy release before the current one"))
                    .hint(hint)
                    .hint("`cargo xtask deploy --via hub --tag TAG` deploys a published version")
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
        StoredRelease { release, is_current, is_previous: false, live_edits: None, record: Some(record) }
    }

    #[test]
    fn rollback_goes_to_the_latest_healthy_release_before_the_current_one() {
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
        assert!(error.to_string().contains("no healthy release before"), "{error}");
    }
}
