//! `cargo xtask build-images`: builds images without a robot.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use clap::ValueHint;

use super::{builder, timings, workspace};
use crate::complete;
use crate::config::{Platform, Robot, Workspace};
use crate::deploy::{drafts, unused};
use crate::error::{Failure, Result};
use crate::image::{self, ImageSpec, Options};
use crate::{host, ui};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Images to build; by default all
    #[arg(value_name = "IMAGE", add = complete::images())]
    images: Vec<String>,

    /// Build for the platform of this robot
    #[arg(long, short, conflicts_with = "platform", add = complete::robots())]
    robot: Option<String>,

    /// Build for platforms, separated by commas: linux/amd64, linux/arm64
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,

    /// Print the final Dockerfiles, with hand-written and generated stages, and build nothing
    #[arg(long)]
    print_dockerfile: bool,

    /// Build every stage again, without BuildKit's cache
    #[arg(long)]
    no_cache: bool,

    /// Write an HTML report of the time spent; without FILE to target/xtask/timings.html
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1, require_equals = true)]
    timings: Option<Option<Utf8PathBuf>>,

    /// Install missing tools on this machine without asking
    #[arg(long, short)]
    yes: bool,
}

/// Builds the images and prints them.
pub(crate) fn run(args: &Args) -> Result<()> {
    timings::begin(args.timings.as_ref());
    let workspace = workspace()?;
    let platforms = platforms(args, &workspace)?;
    if args.print_dockerfile {
        let images = platforms.iter().flat_map(|platform| image::all_for(&workspace, platform));
        return print(&workspace, &selected(args, &workspace, images)?);
    }
    check_names(args, &workspace)?;
    unused::tell_packages(&workspace);
    let result = build(args, &workspace, &platforms);
    timings::finish(args.timings.as_ref(), "build-images", &workspace, BTreeMap::new(), result)
}

/// Refuses names that neither robots.toml nor a Compose file has, before anything is asked.
fn check_names(args: &Args, workspace: &Workspace) -> Result<()> {
    let files = workspace.robots.values().flat_map(|robot| &robot.compose);
    let texts: Vec<String> = files.filter_map(|file| fs_err::read_to_string(file).ok()).collect();
    let is_known = |name: &&String| {
        let line = format!("{name}:");
        workspace.image_names().any(|known| known == *name)
            || texts.iter().flat_map(|text| text.lines()).any(|other| other.trim() == line)
    };
    let unknown = args.images.iter().find(|name| !is_known(name));
    unknown.map_or(Ok(()), |name| workspace.image(name).map(drop))
}

fn build(args: &Args, workspace: &Workspace, platforms: &[Platform]) -> Result<()> {
    let builder = builder(args.yes, &host::needs(platforms.iter()))?;
    let mut images: BTreeSet<ImageSpec> =
        platforms.iter().flat_map(|platform| image::all_for(workspace, platform)).collect();
    let are_all_of_packages = args.images.iter().all(|name| workspace.images.contains_key(name));
    if args.images.is_empty() || !are_all_of_packages {
        let robots: Vec<&Robot> = workspace.robots.values().collect();
        let drafts = drafts(workspace, &robots)?;
        images.extend(
            platforms.iter().flat_map(|platform| drafts.values().flat_map(|draft| draft.specs(platform))),
        );
    }
    let specs = selected(args, workspace, images)?;
    let built =
        image::build(workspace, builder, &specs, Options { no_cache: args.no_cache, ..Options::default() })?;
    let row = |built: &image::Built| {
        [built.reference.clone(), built.spec.platform.to_string(), image::short(built.id.digest()).to_owned()]
    };
    let rows: Vec<_> = built.iter().map(row).collect();
    Ok(ui::finding(&ui::table(["IMAGE", "PLATFORM", "DIGEST"], &rows))?)
}

fn platforms(args: &Args, workspace: &Workspace) -> Result<Vec<Platform>> {
    match (&args.robot, args.platform.as_slice()) {
        (Some(robot), _) => Ok(vec![workspace.robot(robot)?.platform.clone()]),
        (None, []) => Ok(vec![Platform::of_this_machine()]),
        (None, platforms) => platforms.iter().map(|text| platform(text)).collect(),
    }
}

/// The images that are asked for.
fn selected(
    args: &Args,
    workspace: &Workspace,
    images: impl IntoIterator<Item = ImageSpec>,
) -> Result<BTreeSet<ImageSpec>> {
    let images: BTreeSet<ImageSpec> = images.into_iter().collect();
    if let Some(unknown) = args.images.iter().find(|name| images.iter().all(|spec| !spec.is_called(name))) {
        workspace.image(unknown)?;
    }
    let is_selected =
        |spec: &ImageSpec| args.images.is_empty() || args.images.iter().any(|name| spec.is_called(name));
    let selected = images.iter().filter(|spec| is_selected(spec)).cloned().collect();
    Ok(image::with_those_below(workspace, &selected, &images))
}

fn platform(text: &str) -> Result<Platform> {
    Platform::parse(text).map_err(|(problem, help)| Failure::config(problem).hint(help).into())
}

fn print(workspace: &Workspace, specs: &BTreeSet<ImageSpec>) -> Result<()> {
    let bases: BTreeSet<&str> =
        specs.iter().filter_map(|spec| Some(workspace.images.get(&spec.image)?.base.as_str())).collect();
    if workspace.packages.is_conditional() {
        ui::warn("build-images", "conditions of package.xml that depend on the base are taken to hold here");
    }
    for base in bases {
        ui::result(image::render_dockerfile(workspace, &workspace.bases[base])?.trim_end())?;
    }
    Ok(())
}
