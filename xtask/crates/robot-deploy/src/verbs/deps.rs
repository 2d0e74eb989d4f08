//! `cargo xtask deps`: the dependencies of the packages outside of the workspace.

use std::collections::BTreeSet;

use super::{builder, workspace};
use crate::config::{Platform, Workspace};
use crate::error::Result;
use crate::image::{self, ImageSpec};
use crate::{host, ui};

#[derive(clap::Args, Debug)]
#[command(after_help = "Example, after adding <exec_depend>python3-serial</exec_depend> to a package.xml:
  cargo xtask deps

A key of your own, or of a package that rosdep does not know, can have a rule in docker/rosdep.yaml:
  my_sensor: {\"*\": {pip: {packages: [my-sensor]}}}

Commit docker/rosdep.lock: builds then need no network for it, and install the same versions on all machines.")]
pub struct Args {
    /// Ask rosdep again about everything that the bases lack, and take the versions that the package sources have now
    #[arg(long)]
    update: bool,

    /// Install missing tools on this machine without asking
    #[arg(long, short)]
    yes: bool,
}

/// Prints the dependencies, and writes the lock file.
///
/// # Errors
/// Fails with exit code 2 if neither a base nor rosdep has a dependency of builds or images.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let specs = specs(&workspace);
    let builder = builder(args.yes, &host::needs(specs.iter().map(|spec| &spec.platform)))?;
    let dependencies = image::dependencies(&workspace, builder, &specs, args.update)?;
    let row = |it: &image::Dependency| {
        let it = it.clone();
        [it.base, it.key, it.state.to_owned(), it.purposes, it.packages, it.by]
    };
    let rows: Vec<_> = dependencies.iter().map(row).collect();
    Ok(ui::finding(&ui::table(["BASE", "KEY", "STATE", "FOR", "PACKAGE", "BY"], &rows))?)
}

/// All images, for the platforms of all robots.
fn specs(workspace: &Workspace) -> BTreeSet<ImageSpec> {
    let platforms: BTreeSet<Platform> = match workspace.robots.is_empty() {
        true => [Platform::of_this_machine()].into(),
        false => workspace.robots.values().map(|robot| robot.platform.clone()).collect(),
    };
    platforms.iter().flat_map(|platform| image::all_for(workspace, platform)).collect()
}
