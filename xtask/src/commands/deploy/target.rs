//! A robot that is delivered to: reaching it first, starting what has come last.

use crate::config::Robot;
use crate::delivery::Delivery;
use crate::error::Result;
use crate::release::compose::Project;
use crate::release::start;
use crate::robot::{Endpoint, Session, Survey};
use crate::timeline::{self, Lane, Phase};
use crate::ui::Progress;

/// Connects to a robot and looks at what is there. `repository` is the one that its images are pulled from.
///
/// # Errors
/// Fails when the robot cannot be reached, has no usable Docker, or is not of its platform.
pub fn connect(
    robot: &Robot,
    way: impl FnOnce() -> Result<Endpoint>,
    project: &str,
    repository: &str,
) -> Result<(Session, Survey)> {
    let _span = timeline::span(Lane::robot(&robot.name), Phase::Connect, "connect");
    let session = Session::open(way()?)?;
    let survey = Survey::of(&session, project, repository)?;
    survey.check_platform(&robot.name, &robot.platform)?;
    Ok((session, survey))
}

/// A robot that has been delivered to.
pub struct Target<'a> {
    /// The robot.
    pub session: &'a Session,
    /// The project.
    pub project: &'a str,
    /// Where its images were pulled from, as its engine calls them.
    pub repository: &'a str,
    /// Its line on the terminal.
    pub progress: &'a Progress,
}

impl Target<'_> {
    /// Starts a release unless it runs, or nothing is to be started: what runs then, and whether that is new.
    ///
    /// # Errors
    /// Fails when the containers cannot be brought up.
    pub fn activate(
        &self,
        survey: Survey,
        release: &Project,
        start: bool,
        delivery: &mut Delivery,
    ) -> Result<(Option<Survey>, bool)> {
        let came = delivery.images_there < delivery.images.len();
        if !start {
            return Ok((None, came));
        }
        if start::is_current(release, &survey) {
            return Ok((Some(survey), came));
        }
        self.progress.doing("starting", None);
        delivery.cost.sent += release.archive.len() as u64;
        let _span = timeline::span(Lane::robot(self.session.robot()), Phase::Start, "start");
        Ok((Some(start::start(self.session, self.project, self.repository, release)?), true))
    }
}
