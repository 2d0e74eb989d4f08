//! `cargo xtask load-bundle`: delivers the images of a bundle to robots and activates the bundle's release
//! there.

use std::time::Instant;

use camino::Utf8PathBuf;
use clap::ValueHint;

use super::{RobotsArg, workspace};
use crate::bundle::{Bundle, Signers};
use crate::config::{Robot, Workspace};
use crate::delivery::DigestCache;
use crate::delivery::archive::{self, ArchiveImage};
use crate::deploy::{Activate, DeployResult, Target, report};
use crate::error::{FollowedBy as _, Result};
use crate::fleet;
use crate::reach::reach;
use crate::release::compose::ComposeProject;
use crate::release::metadata::SourceRevision;
use crate::robot::registry;
use crate::ui;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask load-bundle /media/stick/eurobot-v1.2.bundle --robot main
  cargo xtask load-bundle eurobot.bundle --all  all robots that it was made for

Builds nothing and needs no Docker on this machine. If there is a file robots.signers, the bundle has to be signed by a
key in that file.")]
pub struct Args {
    /// The bundle file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Utf8PathBuf,

    #[command(flatten)]
    robots: RobotsArg,

    #[command(flatten)]
    activate: Activate,
}

/// Loads the bundle.
///
/// # Errors
/// Fails before any robot is touched when the bundle is damaged, lacks a required signature, or was not made
/// for the robots. Also fails when a robot fails, which does not stop the others.
pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let workspace = workspace()?;
    let project = workspace.project.name.as_str();
    let (bundle, robots) = open(args, &workspace)?;
    let source = SourceRevision::parse(bundle.contents().revision.as_deref().unwrap_or_default());
    let digest_cache = DigestCache::load(&workspace.state_dir());
    let serve = |robot: &Robot| {
        let repository = &registry::repository(robot.registry_port, project);
        let mut target = Target::connect(&workspace, robot, reach, repository, args.activate)?;
        target.lock()?;
        let images = bundle.images_of(robot)?;
        // Read before anything is sent, so that the bundle's medium may be removed once the images are sent.
        let release = bundle.release_of(robot)?;
        let route = archive::ArchiveRoute {
            project,
            session: &target.session,
            survey: &target.survey,
            digest_cache: &digest_cache,
            progress: &target.progress,
        };
        let delivery = archive::deliver(&route, &images, images.items());
        let mut delivery = delivery.followed_by("starting the release of the bundle")?;
        let name = |item: &ArchiveImage| (item.image.clone(), item.reference(project));
        let bundled = images.items().iter().map(name).collect();
        let release = ComposeProject::renamed(release, project, &bundled, &delivery.references())?;
        let (running, changed) = target.activate(&release, &source, "bundle", &mut delivery)?;
        Ok(DeployResult { delivery, running, changed, took: began.elapsed() })
    };
    let (results, served) = fleet::each(&robots, serve);
    report(&results)?;
    served
}

/// Opens and verifies the bundle; returns it with the robots that it is for.
fn open<'a>(args: &Args, workspace: &'a Workspace) -> Result<(Bundle, Vec<&'a Robot>)> {
    let bundle = match Signers::of(workspace) {
        Some(signers) => Bundle::open_signed(&args.file, &signers, &workspace.state_dir())?,
        None => Bundle::open(&args.file)?,
    };
    bundle.contents().check_project(&workspace.project.name)?;
    let robots = args.robots.resolve_among(workspace, bundle.contents().robots())?;
    for robot in &robots {
        bundle.images_of(robot)?;
    }
    ui::step("bundle", &format!("{}: verifying checksums", bundle.contents().title()));
    bundle.verify()?;
    Ok((bundle, robots))
}
