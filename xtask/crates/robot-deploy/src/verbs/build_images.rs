//! `cargo xtask build-images`: builds images without a robot.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use clap::ValueHint;

use super::{builder, timings, workspace};
use crate::complete;
use crate::config::{Platform, Workspace};
use crate::deploy::unused;
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
    let specs = image_specs(args, &workspace)?;
    if args.print_dockerfile {
        return print(&workspace, &specs);
    }
    unused::tell_packages(&workspace);
    let result = build(args, &workspace, &specs);
    timings::finish(args.timings.as_ref(), "build-images", &workspace, BTreeMap::new(), result)
}

fn build(args: &Args, workspace: &Workspace, specs: &BTreeSet<ImageSpec>) -> Result<()> {
    let builder = builder(args.yes, &host::needs(specs.iter().map(|spec| &spec.platform)))?;
    let built =
        image::build(workspace, builder, specs, Options { no_cache: args.no_cache, ..Options::default() })?;
    let row = |built: &image::Built| {
        [built.reference.clone(), built.spec.platform.to_string(), image::short(built.id.digest()).to_owned()]
    };
    let rows: Vec<_> = built.iter().map(row).collect();
    Ok(ui::finding(&ui::table(["IMAGE", "PLATFORM", "DIGEST"], &rows))?)
}

fn image_specs(args: &Args, workspace: &Workspace) -> Result<BTreeSet<ImageSpec>> {
    let platforms = match (&args.robot, args.platform.as_slice()) {
        (Some(robot), _) => vec![workspace.robot(robot)?.platform.clone()],
        (None, []) => vec![Platform::of_this_machine()],
        (None, platforms) => platforms.iter().map(|text| platform(text)).collect::<Result<_>>()?,
    };
    let names: Vec<&String> = if args.images.is_empty() {
        workspace.images.keys().collect()
    } else {
        args.images
            .iter()
            .map(|name| workspace.image(name).map(|image| &image.name))
            .collect::<Result<_>>()?
    };
    let pairs = platforms.iter().flat_map(|platform| names.iter().map(move |name| (platform, name)));
    Ok(pairs.map(|(platform, name)| ImageSpec::of_packages(*name, platform.clone())).collect())
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
