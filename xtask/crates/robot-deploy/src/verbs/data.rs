//! `cargo xtask data`: what services have written on robots.

use super::{RobotsArg, workspace};
use crate::config::Robot;
use crate::error::{Failure, Result};
use crate::fleet;
use crate::reach::reach;
use crate::release::lock::{Lock, OnLocked};
use crate::release::{data, history};
use crate::robot::Session;
use crate::ui::{self, Progress};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask data --all
  cargo xtask data --robot main --reset docker/maps    give it up: the next deploy copies it from here again

The last column is what `cargo xtask pull-data` copies to this machine.")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Remove a path, with the containers that use it, after asking
    #[arg(long, value_name = "PATH")]
    reset: Option<String>,

    /// Do not ask
    #[arg(long, requires = "reset")]
    yes: bool,
}

/// Lists the robots' data, or removes a path of it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let project = workspace.project.name.as_str();
    let robots = args.robots.resolve(&workspace)?;
    let serve = |robot: &Robot| {
        let session = Session::open(reach(&workspace, robot)?)?;
        let all = data::list(&session, project)?;
        let Some(path) = &args.reset else { return Ok(all) };
        data::check(&robot.name, &all, path)?;
        let question = format!("Remove `{path}` from `{}`, and stop the services that use it?", robot.name);
        if !args.yes && !ui::confirm(&question) {
            return Err(Failure::config(format!("`{path}` stays on `{}`", robot.name))
                .hint("`--yes` removes it without asking")
                .into());
        }
        let (_lock, _) = Lock::take(&session, project, OnLocked::Refuse, None, &Progress::new(&robot.name))?;
        data::reset(&session, project, path)?;
        history::record(&session, project, "data", &format!("removed {path}"))?;
        let deploy = format!("`cargo xtask deploy --robot {}` copies it again", robot.name);
        ui::done(&robot.name, &format!("removed {path}: {deploy}"));
        Ok(Vec::new())
    };
    let (found, served) = fleet::each(&robots, serve);
    if args.reset.is_none() {
        let row = |(robot, data): (&str, &data::Data)| {
            [robot.to_owned(), ui::bytes(data.bytes), data.path.clone(), data.place(project)]
        };
        let rows: Vec<_> =
            found.iter().flat_map(|(robot, all)| all.iter().map(|data| row((robot, data)))).collect();
        if rows.is_empty() {
            ui::step("data", "no service writes into a directory of the repository");
        } else {
            ui::finding(&ui::table(["ROBOT", "SIZE", "PATH", "ON THE ROBOT"], &rows))?;
        }
    }
    served
}
