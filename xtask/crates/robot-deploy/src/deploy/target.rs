//! A robot during a deploy: connect, lock, and finally activate the delivered release.

use super::Activate;
use crate::config::{Robot, Workspace};
use crate::delivery::Delivery;
use crate::error::{Exit, Failure, Result, exit_of};
use crate::process;
use crate::release::activate::{self, Activation};
use crate::release::compose::ComposeProject;
use crate::release::lock::Lock;
use crate::release::metadata::{Metadata, SourceRevision};
use crate::release::{busy, data, seen, state};
use crate::robot::{Endpoint, Session, Survey, others};
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// A robot that is connected.
pub(crate) struct Target<'a> {
    pub session: Session,
    /// State of the robot before the delivery. Once the robot is locked, no other deploy can change that
    /// state.
    pub survey: Survey,
    robot: &'a Robot,
    workspace: &'a Workspace,
    /// Repository that the robot pulls from, as its engine calls it.
    repository: String,
    options: Activate,
    lock: Option<Lock>,
    /// The robot's line on the terminal.
    pub progress: Progress,
}

impl<'a> Target<'a> {
    /// Connects to a robot and reads its state. `repository` is where the robot pulls its images from.
    pub(crate) fn connect(
        workspace: &'a Workspace,
        robot: &'a Robot,
        way: fn(&Workspace, &Robot) -> Result<Endpoint>,
        repository: &str,
        options: Activate,
    ) -> Result<Self> {
        let _span = timeline::span(Lane::robot(&robot.name), Phase::Connect, "connect");
        let progress = Progress::new(&robot.name);
        progress.waiting("connecting");
        let session = Session::open(way(workspace, robot)?)?;
        let survey = Survey::of(&session, &workspace.project.name, repository)?;
        survey.check_platform(&robot.name, &robot.platform)?;
        if let Some(pending) = &survey.pending {
            ui::warn(&robot.name, &pending.to_string());
        }
        let repository = repository.to_owned();
        Ok(Self { session, survey, robot, workspace, repository, options, lock: None, progress })
    }

    pub(crate) fn robot(&self) -> &'a Robot {
        self.robot
    }

    /// Locks the robot until this target is dropped. Updates [`Target::survey`] if another deploy changed the
    /// robot.
    ///
    /// # Errors
    /// Fails with [`Exit::Busy`](crate::error::Exit::Busy) when another deploy holds the lock and `--wait` is
    /// not given.
    pub(crate) fn lock(&mut self) -> Result<()> {
        let project = &self.workspace.project.name;
        let (on_locked, reported) = (self.options.on_busy.on_locked(), self.survey.pending.as_ref());
        let (lock, stamp) = Lock::take(&self.session, project, on_locked, reported, &self.progress)?;
        self.lock = Some(lock);
        self.refresh(&stamp)
    }

    /// Makes sure that this process still holds the lock: the connection, and with it the lock, may have been
    /// lost.
    fn keep_lock(&mut self) -> Result<()> {
        let Some(lock) = &mut self.lock else { return self.lock() };
        match lock.keep(&self.session, &self.workspace.project.name, &self.progress)? {
            Some(stamp) => self.refresh(&stamp),
            None => Ok(()),
        }
    }

    /// Reads the robot's state again if another deploy has changed it.
    fn refresh(&mut self, stamp: &str) -> Result<()> {
        if stamp != self.survey.stamp {
            self.survey = Survey::of(&self.session, &self.workspace.project.name, &self.repository)?;
        }
        Ok(())
    }

    /// Returns whether there is nothing to start: the robot already runs `release`, or `--no-start` is given.
    pub(crate) fn runs(&self, release: &ComposeProject) -> bool {
        self.options.no_start || state::is_current(release, &self.survey)
    }

    /// Activates a release unless the robot already runs it or `--no-start` is given. Returns the robot's new
    /// state, and whether something has changed.
    pub(crate) fn activate(
        &mut self,
        release: &ComposeProject,
        source: &SourceRevision,
        via: &str,
        delivery: &mut Delivery,
    ) -> Result<(Option<Survey>, bool)> {
        let received_images = delivery.images_there < delivery.images.len();
        if self.options.no_start {
            return Ok((None, received_images));
        }
        if self.runs(release) {
            return Ok((Some(self.survey.clone()), received_images));
        }
        data::tell(self.workspace, release, &self.survey);
        self.survey.tell_others(&release.names, &others::needs(&release.definitions));
        let metadata = Metadata::now(source, via, delivery.references());
        for file in activate::missing(release, &self.survey) {
            self.progress.doing(&format!("sending {} ({})", file.path, ui::bytes(file.bytes)), None);
            let root = &self.workspace.root;
            delivery.cost.sent += activate::place(&self.session, &self.workspace.project.name, root, file)?;
        }
        let archive = activate::archive(release, &metadata)?;
        let survey = self.start(|activation| {
            delivery.cost.sent += archive.len() as u64;
            activation.release(&release.id, &archive)
        })?;
        state::check_images(release, &survey)?;
        Ok((Some(survey), true))
    }

    /// Activates a release that is stored on the robot. Returns the robot's new state.
    pub(crate) fn return_to(&mut self, number: u32) -> Result<Survey> {
        self.start(|activation| activation.return_to(&number.to_string()))
    }

    /// Puts files into running containers, see [`Activation::edit`]. `nonce` differs between the edits of a run.
    pub(crate) fn edit(&mut self, nonce: usize, containers: &[String], archive: &[u8]) -> Result<()> {
        let edited = self.attempt(|activation| {
            let token = &format!("{}-{nonce}", activation.token);
            Activation { token, ..*activation }.edit(containers, archive)
        });
        self.progress.finish();
        edited.map(drop)
    }

    /// Starts an activation, and again if the connection drops before the robot has answered. Returns the robot's
    /// new state.
    fn start(&mut self, start: impl FnMut(&Activation<'_>) -> Result<String>) -> Result<Survey> {
        let number = self.attempt(start)?;
        self.after(&number)
    }

    /// Locks the robot if need be, and starts what changes it; again if the connection drops before the robot has
    /// answered. Returns the number of the release.
    fn attempt(&mut self, mut start: impl FnMut(&Activation<'_>) -> Result<String>) -> Result<String> {
        // True after a try whose result is not known.
        let mut is_open = false;
        let number = process::patiently(|| {
            self.keep_lock()?;
            if !is_open {
                self.check_busy()?;
            }
            self.progress.doing("starting", None);
            let _span = timeline::span(Lane::robot(&self.robot.name), Phase::Start, "start");
            let number = start(&self.activation());
            is_open = matches!(&number, Err(error) if exit_of(error) == Exit::Failed);
            number
        });
        number.map_err(|error| match exit_of(&error) {
            Exit::Unreachable if is_open => {
                let robot = &self.robot.name;
                Failure::unreachable(format!(
                    "the connection to `{robot}` was lost while the release was sent; the robot may activate it by itself"
                ))
                .hint(self.activation().status_hint())
                .caused_by(error)
            }
            _ => error,
        })
    }

    /// Fails when the robot is busy, or waits if `--wait` is given.
    fn check_busy(&self) -> Result<()> {
        let project = &self.workspace.project.name;
        match self.robot.busy.as_ref().filter(|_| !self.options.on_busy.force) {
            Some(busy) => {
                busy::check(&self.session, project, busy, self.options.on_busy.on_locked(), &self.progress)
            }
            None => Ok(()),
        }
    }

    fn activation(&self) -> Activation<'_> {
        Activation {
            session: &self.session,
            project: &self.workspace.project.name,
            token: self.lock.as_ref().map_or("", Lock::token),
            releases: self.workspace.releases,
            rollback: !self.options.no_rollback,
            progress: &self.progress,
        }
    }

    /// Reads the robot's state after an activation.
    fn after(&self, number: &str) -> Result<Survey> {
        seen::add(self.workspace, &self.robot.name, number);
        Survey::of_containers(&self.session, &self.workspace.project.name).map_err(|error| {
            let gone = exit_of(&error) == Exit::Unreachable;
            let message =
                format!("`{}` runs release {number}, but cannot be reached any more", self.robot.name);
            if gone { Failure::unreachable(message).caused_by(error) } else { error }
        })
    }
}
