//! Images from the registry of `[hub]`: the robot pulls them itself, over its own network.

use super::{Cost, Delivered, Delivery};
use crate::config::Hub;
use crate::error::{Failure, Result};
use crate::hub::{self, login::Login};
use crate::process;
use crate::robot::{Session, Survey};

/// Where images come from and go to.
#[derive(Clone, Copy)]
pub struct Route<'a> {
    /// The project: the repository of images on the robot, as people call them there.
    pub project: &'a str,
    /// The registry.
    pub hub: &'a Hub,
    /// The login that the robot gets for the pull.
    pub login: Option<&'a Login>,
    /// The robot.
    pub session: &'a Session,
    /// What was on the robot before.
    pub survey: &'a Survey,
}

/// Lets the robot pull images; those that its engine has already it does not pull.
///
/// # Errors
/// Fails when the robot cannot reach the registry, or that refuses; what the robot had and ran is untouched then.
pub fn deliver(route: &Route<'_>, images: Vec<Delivered>) -> Result<Delivery> {
    let there = images.iter().filter(|image| route.survey.has_image(&image.reference)).count();
    if !images.iter().all(|image| is_named(route, image)) {
        pull(route, &images)?;
    }
    Ok(Delivery { images, images_there: there, cost: Cost::default() })
}

/// Whether an image is there under all its names: `REPO:navigation` keeps it from being pruned,
/// `eurobot:navigation` is for people.
fn is_named(route: &Route<'_>, image: &Delivered) -> bool {
    let id =
        |name: &str| route.survey.images.iter().find(|known| known.is_called(name)).map(|known| &known.id);
    let by_digest = id(&image.reference);
    by_digest.is_some()
        && route.survey.has_tag(&image.reference, &image.image)
        && id(&format!("{}:{}", route.project, image.image)) == by_digest
}

fn pull(route: &Route<'_>, images: &[Delivered]) -> Result<()> {
    let Route { project, hub, login, session, .. } = *route;
    let script = include_str!("scripts/pull_from_hub.sh");
    let mut argv = ["sh", "-c", script, "pull"].map(str::to_owned).to_vec();
    for Delivered { image, reference } in images {
        argv.push(reference.clone());
        argv.push(format!("{}:{image}", hub.repository));
        argv.push(format!("{project}:{image}"));
    }
    let pull = session.command(argv);
    let pull = match login {
        // On stdin: command lines can be seen by everybody on the robot.
        Some(login) => pull.stdin_from("config.json", login.config()),
        None => pull,
    };
    let whose = format!("`{}`", session.robot());
    let what = format!("pull from {}", hub.repository);
    let output = pull.run_for_output().map_err(|error| hub::explain(hub, &whose, &what, error))?;
    if process::mode().dry_run {
        return Ok(());
    }
    for Delivered { image, reference } in images {
        if !output.split_whitespace().any(|word| word == reference) {
            return Err(Failure::failed(format!("{whose} did not keep `{image}` as {reference}")).into());
        }
    }
    Ok(())
}
