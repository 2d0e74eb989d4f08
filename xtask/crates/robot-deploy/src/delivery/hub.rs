//! Delivery by the registry of `[hub]`: the robot pulls the images itself, over its own network.

use super::{Cost, Delivered, Delivery, pull};
use crate::config::Hub;
use crate::error::Result;
use crate::hub::{self, login::Login};
use crate::robot::{Session, Survey};
use crate::robot_side::Script;

/// Source and destination of images.
#[derive(Clone, Copy)]
pub(crate) struct Route<'a> {
    /// The project's name, which is the repository in the names for people.
    pub project: &'a str,
    pub hub: &'a Hub,
    /// The login that the robot gets for the pull.
    pub login: Option<&'a Login>,
    pub session: &'a Session,
    /// State of the robot before the delivery.
    pub survey: &'a Survey,
}

/// Has the robot pull the images that its engine lacks.
///
/// # Errors
/// After an error, images and containers that the robot had are unchanged.
pub(crate) fn deliver(route: &Route<'_>, images: Vec<Delivered>) -> Result<Delivery> {
    let there = images.iter().filter(|image| route.survey.has_image(&image.reference)).count();
    let lacking = pull::lacking(route.survey, &route.hub.repository, route.project, &images);
    if !lacking.is_empty() {
        pull_all(route, &lacking)?;
    }
    Ok(Delivery { images, images_there: there, cost: Cost::default() })
}

fn pull_all(route: &Route<'_>, images: &[Delivered]) -> Result<()> {
    let Route { project, hub, login, session, .. } = *route;
    let mut argv = Script::PullWithLogin.argv(&[]);
    argv.extend(pull::arguments(images, &hub.repository, project));
    let mut command = session.command(argv);
    if let Some(login) = login {
        // On stdin, because every user of the robot can see command lines.
        command = command.stdin_from("config.json", login.config());
    }
    let robot = format!("`{}`", session.robot());
    let action = format!("pull from {}", hub.repository);
    let output = command.run_for_output().map_err(|error| hub::explain(hub, &robot, &action, error))?;
    pull::check(session.robot(), &hub.repository, images, &output)
}
