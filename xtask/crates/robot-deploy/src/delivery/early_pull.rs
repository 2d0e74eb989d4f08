//! Early pull: the robot's engine unpacks layers that have arrived while others are still being sent.
//!
//! Unpacking layers takes a robot about as long as a fast link takes to send them, and an engine pulls whole
//! images only. So the engine pulls prefix images, which consist of lowest layers that have arrived; they are
//! removed once the real images are there. A failure costs time and nothing else: the pull that follows works
//! without an early pull.

use std::io::{PipeWriter, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;

use super::Route;
use super::delta::LayerEvent;
use crate::error::Result;
use crate::process::Child;
use crate::robot::{Session, registry};
use crate::robot_side::Script;
use crate::timeline::{self, Lane, Phase};
use crate::{parallel, process, ui};

/// Time between two checks whether the pull is still wanted.
const POLL: Duration = Duration::from_millis(100);

/// Guard of the prefix images on the robot. The robot removes them when this guard is dropped, and also when
/// this process is killed.
#[derive(Debug, Default)]
#[must_use = "prefix images are removed when it is dropped"]
pub(super) struct Pulled {
    /// None until a prefix image is expected.
    puller: Option<Puller>,
}

/// The script on the robot: it reads references of images, pulls them and answers.
#[derive(Debug)]
struct Puller {
    references: Option<PipeWriter>,
    answers: Receiver<String>,
    child: Child,
    /// True if it has answered every reference.
    is_idle: bool,
}

impl Puller {
    fn start(session: &Session) -> Result<Self> {
        let (child, references, answers) = session.command(Script::EarlyPull.argv(&[])).converse()?;
        let answers = process::lines(&child, answers, process::LINE);
        Ok(Self { references: Some(references), answers, child, is_idle: true })
    }

    /// Waits until the robot has pulled an image.
    ///
    /// # Errors
    /// Fails also once `is_wanted` is false.
    fn pull(&mut self, reference: &str, is_wanted: &AtomicBool) -> Result<()> {
        if let Some(references) = &mut self.references {
            writeln!(references, "{reference}").context("start an early pull")?;
        }
        self.is_idle = false;
        loop {
            match process::receive(&self.answers, Some(POLL))? {
                Ok(answer) => {
                    self.is_idle = true;
                    anyhow::ensure!(answer == "pulled", "the early pull failed");
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) if is_wanted.load(Ordering::SeqCst) => {}
                Err(_) => anyhow::bail!("the early pull was ended"),
            }
        }
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        drop(self.references.take());
        // A busy script ends after its pull, without being waited for. Images that it cannot remove do no
        // harm.
        if self.is_idle {
            self.child.wait().ok();
        }
    }
}

/// Runs `work`, and pulls the prefix images of the events that `work` sends.
pub(super) fn while_sending(
    route: &Route<'_>,
    work: impl FnOnce(&Sender<LayerEvent>) -> Result<()>,
) -> Result<Pulled> {
    let (sender, events) = channel();
    let is_wanted = &AtomicBool::new(true);
    let pull = move || {
        let mut pulled = Pulled::default();
        if let Err(error) = pulled.follow(route, &events, is_wanted)
            && crate::mode::verbose()
        {
            ui::warn(route.session.robot(), &format!("{error:#}"));
        }
        pulled
    };
    let send = move || {
        let result = work(&sender);
        is_wanted.store(result.is_ok(), Ordering::SeqCst);
        result
    };
    let (pulled, result) = parallel::both(pull, send);
    result.map(|()| pulled)
}

impl Pulled {
    /// Pulls the latest prefix image again and again, until the other end of `events` is dropped.
    fn follow(
        &mut self,
        route: &Route<'_>,
        events: &Receiver<LayerEvent>,
        is_wanted: &AtomicBool,
    ) -> Result<()> {
        let project = &route.workspace.project.name;
        while let Ok(first) = events.recv() {
            let puller = match &mut self.puller {
                Some(puller) => puller,
                // Started at the first event, so that it is ready when a prefix image arrives.
                None => self.puller.insert(Puller::start(route.session)?),
            };
            if let LayerEvent::PrefixArrived(digest) = events.try_iter().last().unwrap_or(first) {
                let reference = format!("{}@{digest}", registry::repository(project));
                let lane = Lane::robot(route.session.robot());
                let _span = timeline::span(lane, Phase::Pull, "early pull");
                puller.pull(&reference, is_wanted)?;
            }
        }
        Ok(())
    }
}
