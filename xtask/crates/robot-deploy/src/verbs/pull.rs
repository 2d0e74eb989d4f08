//! `cargo xtask pull`: pins the images of others that Compose files name.

use std::collections::BTreeSet;

use super::{builder, workspace};
use crate::config::Robot;
use crate::deploy::{drafts, image_specs};
use crate::error::Result;
use crate::host::Need;
use crate::image::{Origin, pins};
use crate::ui;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Deploys take the pinned images, also where their registry has newer ones by now, and need no network for \
                        them. `docker login` is for registries with a login."
)]
pub struct Args {
    /// Install missing tools on this machine without asking
    #[arg(long, short)]
    yes: bool,
}

/// Pulls the images, and writes the lock file.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let _builder = builder(args.yes, &Need::ALWAYS)?;
    let robots: Vec<&Robot> = workspace.robots.values().collect();
    let specs = image_specs(&drafts(&workspace, &robots)?, &robots)?;
    let foreign = specs.into_iter().filter_map(|spec| match spec.origin {
        Origin::Foreign { reference } => Some((reference, spec.platform)),
        Origin::Packages | Origin::Dockerfile { .. } => None,
    });
    let foreign: BTreeSet<_> = foreign.collect();
    if foreign.is_empty() {
        ui::step("image", "no Compose file names an image of others");
    }
    pins::update(&workspace, &foreign)
}
