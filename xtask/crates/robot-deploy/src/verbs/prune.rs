//! `cargo xtask prune`: frees disk space on robots or on this machine.

use super::{RobotsArg, workspace};
use crate::config::{Robot, Workspace};
use crate::error::{Exit, Failure, Result};
use crate::fleet;
use crate::reach::reach;
use crate::release::lock::{Lock, OnLocked};
use crate::release::{history, prune};
use crate::robot::Session;
use crate::ui::{self, Progress};
use crate::{delivery, image};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Every deploy already removes old releases and their images. `prune` also collects the garbage of the \
                        registry. It touches only this project's images and layers.\n\n\
                        On this machine, `--local` removes what the current images do not need: images of earlier \
                        builds, and layers and deltas that were cached for the next deploy."
)]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Prune this machine instead of robots
    #[arg(long, conflicts_with_all = ["robot", "all"])]
    local: bool,
}

/// Prunes and prints the number of bytes freed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    if args.local {
        return here(&workspace);
    }
    let project = workspace.project.name.as_str();
    let robots = args.robots.resolve(&workspace)?;
    let serve = |robot: &Robot| {
        let progress = Progress::new(&robot.name);
        progress.waiting("connecting");
        let session = Session::open(reach(&workspace, robot)?)?;
        let (_lock, _) = Lock::take(&session, project, OnLocked::Refuse, None, &progress)?;
        progress.doing("removing what no release needs", None);
        let pruned = prune::prune(&session, project, workspace.releases.keep)?;
        if pruned.registry_is_busy {
            ui::warn(
                &robot.name,
                "its registry is in use by another push or transfer and was not pruned: run `prune` again later",
            );
        }
        let freed = ui::bytes(pruned.freed);
        history::record(&session, project, "prune", &format!("{freed} freed"))?;
        progress.done(&format!("{freed} freed"));
        Ok(())
    };
    fleet::each(&robots, serve).1
}

fn here(workspace: &Workspace) -> Result<()> {
    let images = image::prune(workspace)?;
    let Some(freed) = delivery::prune(workspace, &image::named(workspace)?)? else {
        return Err(Failure::new(Exit::Busy, "a deploy of this workspace is running")
            .hint("run `cargo xtask prune --local` again when it has ended")
            .into());
    };
    let (images, freed) = (ui::bytes(images), ui::bytes(freed));
    ui::done("prune", &format!("{images} of images and {freed} of layers and deltas freed"));
    ui::step("prune", "Docker's build cache is shared with other projects: `docker buildx prune` empties it");
    Ok(())
}
