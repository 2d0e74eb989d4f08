//! A robot that is delivered to: reaching it first, having it to oneself, going over to what has come last.

use super::Activate;
use crate::config::{Robot, Workspace};
use crate::delivery::Delivery;
use crate::error::{Failure, Result, explained};
use crate::process;
use crate::release::activate::{self, Activation};
use crate::release::compose::ComposeProject;
use crate::release::lock::Lock;
use crate::release::metadata::{Metadata, Source};
use crate::release::{busy, state};
use crate::robot::{Endpoint, Session, Survey};
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// A robot that has been reached.
pub struct Target<'a> {
    /// The robot.
    pub session: Session,
    /// What is there: before it is delivered to, and nobody else can change it once it is locked.
    pub survey: Survey,
    robot: &'a Robot,
    workspace: &'a Workspace,
    /// Where its images are pulled from, as its engine calls them.
    repository: &'a str,
    progress: &'a Progress,
    options: Activate,
    lock: Option<Lock>,
}

impl<'a> Target<'a> {
    /// Connects to a robot and looks at what is there. `repository` is the one that its images are pulled from.
    ///
    /// # Errors
    /// Fails when the robot cannot be reached, has no usable Docker, or is not of its platform.
    pub fn connect(
        workspace: &'a Workspace,
        robot: &'a Robot,
        way: impl FnOnce() -> Result<Endpoint>,
        repository: &'a str,
        progress: &'a Progress,
        options: Activate,
    ) -> Result<Self> {
        let _span = timeline::span(Lane::robot(&robot.name), Phase::Connect, "connect");
        progress.waiting("connecting");
        let session = Session::open(way()?)?;
        let survey = Survey::of(&session, &workspace.project.name, repository)?;
        survey.check_platform(&robot.name, &robot.platform)?;
        if let Some(news) = &survey.pending {
            ui::warn(&robot.name, &news.to_string());
        }
        Ok(Self { session, survey, robot, workspace, repository, progress, options, lock: None })
    }

    /// Has the robot to oneself until this target goes; whatever changed there before is looked at.
    ///
    /// # Errors
    /// Fails where another deploys to it and is not to be waited for.
    pub fn lock(&mut self) -> Result<()> {
        let project = &self.workspace.project.name;
        let (on_locked, reported) = (self.options.on_busy.on_locked(), self.survey.pending.as_ref());
        let (lock, stamp) = Lock::take(&self.session, project, on_locked, reported, self.progress)?;
        self.lock = Some(lock);
        self.look_again(&stamp)
    }

    /// Sees to it that the robot is still this run's, whose connection may have been lost, before it is disturbed.
    fn keep_lock(&mut self) -> Result<()> {
        let Some(lock) = &mut self.lock else { return self.lock() };
        match lock.keep(&self.session, &self.workspace.project.name, self.progress)? {
            Some(stamp) => self.look_again(&stamp),
            None => Ok(()),
        }
    }

    /// Looks at what another has done since the last look.
    fn look_again(&mut self, stamp: &str) -> Result<()> {
        if stamp != self.survey.stamp {
            self.survey = Survey::of(&self.session, &self.workspace.project.name, self.repository)?;
        }
        Ok(())
    }

    /// Whether the robot runs a release as it has to, so that there is nothing to start.
    pub fn runs(&self, release: &ComposeProject) -> bool {
        self.options.no_start || state::is_current(release, &self.survey)
    }

    /// Has the robot go over to a release unless it runs that, or nothing is to be started: what runs then, and
    /// whether that is new.
    ///
    /// # Errors
    /// Fails when the robot is busy, and when the release is not well there.
    pub fn activate(
        &mut self,
        release: &ComposeProject,
        source: &Source,
        via: &str,
        delivery: &mut Delivery,
    ) -> Result<(Option<Survey>, bool)> {
        let came = delivery.images_there < delivery.images.len();
        if self.options.no_start {
            return Ok((None, came));
        }
        if self.runs(release) {
            return Ok((Some(self.survey.clone()), came));
        }
        self.keep_lock()?;
        self.may_be_disturbed()?;
        self.progress.doing("starting", None);
        let _span = timeline::span(Lane::robot(&self.robot.name), Phase::Start, "start");
        let metadata = Metadata::now(source, via, delivery.references());
        let archive = activate::archive(release, &metadata)?;
        delivery.cost.sent += archive.len() as u64;
        let number = self.activation().release(&release.id, &archive)?;
        let survey = self.after(&number)?;
        if !process::mode().dry_run {
            state::check_images(release, &survey)?;
        }
        Ok((Some(survey), true))
    }

    /// Has the robot go over to a release that it has kept: what runs then.
    ///
    /// # Errors
    /// As [`Target::activate`].
    pub fn return_to(&mut self, number: u32) -> Result<Survey> {
        self.keep_lock()?;
        self.may_be_disturbed()?;
        self.progress.doing("starting", None);
        let number = self.activation().return_to(&number.to_string())?;
        self.after(&number)
    }

    /// Fails where the robot is busy.
    fn may_be_disturbed(&self) -> Result<()> {
        let project = &self.workspace.project.name;
        match self.robot.busy.as_ref().filter(|_| !self.options.on_busy.force) {
            Some(busy) => {
                busy::check(&self.session, project, busy, self.options.on_busy.on_locked(), self.progress)
            }
            None => Ok(()),
        }
    }

    /// How the robot is to go over to a release.
    fn activation(&self) -> Activation<'_> {
        Activation {
            session: &self.session,
            project: &self.workspace.project.name,
            releases: self.workspace.releases,
            rollback: !self.options.no_rollback,
            progress: self.progress,
        }
    }

    /// What runs after an activation; where the link was lost by then, over a new connection.
    fn after(&self, number: &str) -> Result<Survey> {
        let look = || Survey::of(&self.session, &self.workspace.project.name, self.repository);
        let again = |_| {
            let _new = self.session.ensure_connected()?;
            look()
        };
        look().or_else(again).map_err(|error| {
            let message =
                format!("`{}` runs release {number}, and cannot be reached any more", self.robot.name);
            explained(error, |error| Failure::unreachable(message).because(error).into())
        })
    }
}
