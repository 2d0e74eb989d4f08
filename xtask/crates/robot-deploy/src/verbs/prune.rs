//! `cargo xtask prune`: room on robots, or on this machine.

use super::{RobotsArg, fleet, reach, workspace};
use crate::config::{Robot, Workspace};
use crate::error::{Exit, Failure, Result};
use crate::release::lock::{Lock, OnLocked};
use crate::release::{history, prune};
use crate::robot::Session;
use crate::ui::{self, Progress};
use crate::{delivery, image, process};

/// Remove what no release needs: images, and layers in registries of robots
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Every deploy removes the releases that are not kept any more, with their images. This collects the \
                        registry's garbage as well; nothing but this project's things is touched.\n\n\
                        On this machine, what the images as they are now do not need goes: those that were built \
                        before, and layers and deltas that were kept for the next deploy."
)]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// On this machine instead of on robots
    #[arg(long, conflicts_with_all = ["robot", "all"])]
    local: bool,
}

/// Prunes, and says how much room that made.
///
/// # Errors
/// Fails when a robot cannot be reached or somebody deploys to it; the others are served all the same.
pub fn run(args: &Args) -> Result<()> {
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
                "somebody pushes into its registry or brings layers there: it was left alone, prune again later",
            );
        }
        let freed = ui::bytes(pruned.freed);
        history::record(&session, project, "prune", &format!("{freed} freed"))?;
        if !process::mode().dry_run {
            progress.done(&format!("{freed} freed"));
        }
        Ok(())
    };
    fleet::each(&robots, serve).1
}

/// Prunes this machine.
fn here(workspace: &Workspace) -> Result<()> {
    let images = image::prune(workspace)?;
    if process::mode().dry_run {
        return Ok(());
    }
    let Some(freed) = delivery::prune(workspace, &image::named(workspace)?)? else {
        return Err(Failure::new(Exit::Busy, "a deploy of this workspace is at work")
            .hint("prune again when it has ended")
            .into());
    };
    let freed = ui::bytes(freed);
    ui::done("prune", &format!("{images} of images and {freed} of layers and deltas freed"));
    ui::step("prune", "Docker's build cache is shared with other projects: `docker buildx prune` empties it");
    Ok(())
}
