//! Images from the registry of `[hub]`: the robot pulls them itself, over its own network.

use super::{Cost, Delivered, Delivery, pull};
use crate::config::Hub;
use crate::error::Result;
use crate::hub::{self, login::Login};
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
    let lacking = pull::lacking(route.survey, route.project, &images);
    if !lacking.is_empty() {
        pull_all(route, &lacking)?;
    }
    Ok(Delivery { images, images_there: there, cost: Cost::default() })
}

fn pull_all(route: &Route<'_>, images: &[Delivered]) -> Result<()> {
    let Route { project, hub, login, session, .. } = *route;
    let mut argv = ["sh", "-c", pull::SCRIPT_WITH_LOGIN, "pull"].map(str::to_owned).to_vec();
    argv.extend(pull::arguments(images, &hub.repository, project));
    let mut command = session.command(argv);
    if let Some(login) = login {
        // On stdin: command lines can be seen by everybody on the robot.
        command = command.stdin_from("config.json", login.config());
    }
    let whose = format!("`{}`", session.robot());
    let what = format!("pull from {}", hub.repository);
    let output = command.run_for_output().map_err(|error| hub::explain(hub, &whose, &what, error))?;
    pull::check(session.robot(), images, &output)
}
