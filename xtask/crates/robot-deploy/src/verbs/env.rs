//! `cargo xtask env`: applies the variables of robots.toml to robots, without a build.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{RobotsArg, workspace};
use crate::config::{Robot, Workspace};
use crate::delivery::{Delivered, Delivery};
use crate::deploy::{OnBusy, Target, show_running};
use crate::error::{Failure, Result};
use crate::fleet;
use crate::reach::reach;
use crate::release::compose::ComposeDraft;
use crate::release::difference;
use crate::release::stored::{self, StoredRelease};
use crate::robot::{Survey, registry};
use crate::ui;

#[derive(clap::Args, Debug)]
#[command(after_help = "Example, after a change to `env` or to a file in `env_files`:
  cargo xtask env --robot main

The new release has the images of the current one, even if the workspace has changed since.")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Only print the services that would restart, and change nothing
    #[arg(long)]
    plan: bool,

    #[command(flatten)]
    on_busy: OnBusy,
}

/// Applies the variables, and prints the running services.
///
/// # Errors
/// Fails if the robot has no release yet, if the Compose file uses images that the current release does not
/// have, and like a deploy (exit code 5) if the services are unhealthy with the new values.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.robots.resolve(&workspace)?;
    let (surveys, served) = fleet::each(&robots, |robot| serve(args, &workspace, robot));
    let surveys: Vec<_> = surveys.into_iter().filter_map(|(robot, survey)| Some((robot, survey?))).collect();
    show_running(&surveys)?;
    served
}

/// Applies the variables to one robot; returns the state of its services unless nothing was to be done.
fn serve(args: &Args, workspace: &Workspace, robot: &Robot) -> Result<Option<Survey>> {
    let project = &workspace.project.name;
    let repository = registry::repository(robot.registry_port, project);
    let draft = ComposeDraft::render(workspace, robot)?;
    let mut target = Target::connect(workspace, robot, reach, &repository, args.on_busy.into())?;
    if !args.plan {
        target.lock()?;
    }
    let releases = stored::list(&target.session, project)?;
    let current = releases.iter().find(|stored| stored.is_current);
    let references = references(&robot.name, current, &draft.images())?;
    let release = draft.with_references(&references)?;
    let current_hashes = stored::services(&target.session, project)?;
    let changed: Vec<&str> = changed_services(&current_hashes, &release.hashes).into_iter().collect();
    if changed.is_empty() {
        ui::done(&robot.name, "the services already have these values: nothing to do");
        return Ok(None);
    }
    let before = stored::definitions(&target.session, project)?;
    print_changes(robot, &changed, &before, &release.definitions)?;
    if args.plan {
        return Ok(None);
    }
    let images = references.into_iter().map(|(image, reference)| Delivered { image, reference });
    let images: Vec<Delivered> = images.collect();
    let mut delivery = Delivery { images_there: images.len(), images, ..Delivery::default() };
    // The images keep the sources that the current release records for them.
    let metadata = current.and_then(|stored| stored.record.as_ref()?.deploy.as_ref());
    let source = metadata.map(|metadata| metadata.source.clone()).unwrap_or_default();
    Ok(target.activate(&release, &source, "env", &mut delivery)?.0)
}

/// Prints the services that change, with the lines that differ.
fn print_changes(robot: &Robot, services: &[&str], before: &Value, after: &Value) -> Result<()> {
    let secrets = robot.private_variables()?.into_values().filter(|value| !value.is_empty()).collect();
    ui::step(&robot.name, &format!("changed values for {}", services.join(", ")));
    for service in services {
        for line in difference::lines(&before[service], &after[service], &secrets) {
            ui::step(&robot.name, &format!("{service} {line}"));
        }
    }
    Ok(())
}

/// Returns the references of the current release's images, in the notation of the robot's engine.
fn references(
    robot: &str,
    current: Option<&StoredRelease>,
    images: &BTreeSet<&str>,
) -> Result<BTreeMap<String, String>> {
    let deploy = current.and_then(|stored| stored.record.as_ref()?.deploy.as_ref()).ok_or_else(|| {
        Failure::failed(format!("`{robot}` has no release with recorded images"))
            .hint(format!("`cargo xtask deploy --robot {robot}` creates one"))
    })?;
    let missing: Vec<&str> =
        images.iter().copied().filter(|image| !deploy.images.contains_key(*image)).collect();
    if !missing.is_empty() {
        let message = format!(
            "the Compose file uses {}, which the current release on `{robot}` does not have",
            missing.join(", ")
        );
        let hint = format!("`cargo xtask deploy --robot {robot}` delivers it");
        return Err(Failure::failed(message).hint(hint).into());
    }
    Ok(deploy
        .images
        .iter()
        .filter(|(image, _)| images.contains(image.as_str()))
        .map(|(i, r)| (i.clone(), r.clone()))
        .collect())
}

/// Returns the services whose hashes differ.
fn changed_services<'a>(
    before: &'a BTreeMap<String, String>,
    after: &'a BTreeMap<String, String>,
) -> BTreeSet<&'a str> {
    let names = before.keys().chain(after.keys()).map(String::as_str);
    names.filter(|name| before.get(*name) != after.get(*name)).collect()
}
