//! Pulls ahead: while layers are still on their way, the robot's engine unpacks those that have arrived.
//!
//! Unpacking takes a robot as long as a fast link takes for the same layers, and an engine pulls whole images only. So
//! it is given an image of the lowest layers, those that have arrived, which goes as soon as the real ones are there.
//! Whatever comes in the way of that costs time and nothing else: the pull that follows is right on its own.

use std::io::{PipeWriter, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;

use super::Route;
use super::delta::LayerObserver;
use crate::error::Result;
use crate::image::partial::Partial;
use crate::process::Child;
use crate::robot::{Session, registry};
use crate::timeline::{self, Lane, Phase};
use crate::{process, ui};

/// The robot's part.
const SCRIPT: &str = concat!(
    include_str!("../robot/scripts/credential.sh"),
    include_str!("scripts/login.sh"),
    include_str!("scripts/early-pull.sh")
);

/// How long a robot may say nothing before somebody looks whether it is still waited for.
const QUIET: Duration = Duration::from_millis(100);

/// What is heard of images that arrive.
enum News {
    /// There will be one.
    Soon,
    /// There is one, with this digest.
    Arrived(String),
}

impl LayerObserver for Sender<News> {
    fn soon(&self) {
        // Who pulls has given up: nothing is lost. So with the others.
        drop(self.send(News::Soon));
    }

    fn arrived(&self, image: &Partial) {
        drop(self.send(News::Arrived(image.digest().into())));
    }
}

/// What the robot has pulled ahead. It removes that when this guard goes, and also when this process is killed.
#[derive(Debug, Default)]
#[must_use = "what was pulled ahead is removed when it is dropped"]
pub struct Pulled {
    /// None while there is nothing to pull.
    robot: Option<Robot>,
}

/// The robot's end: it pulls what it is told, and answers.
#[derive(Debug)]
struct Robot {
    words: Option<PipeWriter>,
    answers: Receiver<String>,
    child: Child,
    /// Whether it has answered to all that it was told.
    is_idle: bool,
}

impl Robot {
    fn start(session: &Session) -> Result<Self> {
        let (child, words, answers) = session.command(["sh", "-c", SCRIPT, "ahead"]).converse()?;
        let answers = process::lines(&child, answers, process::LINE);
        Ok(Self { words: Some(words), answers, child, is_idle: true })
    }

    /// Waits until the robot has pulled an image.
    ///
    /// # Errors
    /// Fails where it cannot, and where that is not wanted any more.
    fn pull(&mut self, reference: &str, is_wanted: &AtomicBool) -> Result<()> {
        if let Some(words) = &mut self.words {
            writeln!(words, "{reference}").context("have a robot pull ahead")?;
        }
        self.is_idle = false;
        loop {
            match self.answers.recv_timeout(QUIET) {
                Ok(answer) => {
                    self.is_idle = true;
                    anyhow::ensure!(answer == "pulled", "it cannot pull what has arrived");
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) if is_wanted.load(Ordering::SeqCst) => {
                    process::check_interrupted()?;
                }
                Err(_) => anyhow::bail!("what has arrived is not wanted any more"),
            }
        }
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        drop(self.words.take());
        // One that is busy, or hangs, ends when it has done what it does. What it could not remove is in nobody's way.
        if self.is_idle {
            drop(self.child.wait());
        }
    }
}

/// Does `work`, which tells what arrives, and has that pulled meanwhile.
///
/// # Errors
/// As `work`.
pub fn while_sending(
    route: &Route<'_>,
    work: impl FnOnce(&dyn LayerObserver) -> Result<()>,
) -> Result<Pulled> {
    let (tell, news) = channel();
    let is_wanted = &AtomicBool::new(true);
    std::thread::scope(|scope| {
        let pulling = scope.spawn(move || {
            let mut pulled = Pulled::default();
            if let Err(error) = pulled.follow(route, &news, is_wanted)
                && process::mode().verbose
            {
                ui::warn(route.session.robot(), &format!("{error:#}"));
            }
            pulled
        });
        let result = work(&tell);
        drop(tell);
        is_wanted.store(result.is_ok(), Ordering::SeqCst);
        let pulled = pulling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.map(|()| pulled)
    })
}

impl Pulled {
    /// Has the robot pull what has arrived last, again and again.
    fn follow(&mut self, route: &Route<'_>, news: &Receiver<News>, is_wanted: &AtomicBool) -> Result<()> {
        let project = &route.workspace.project.name;
        while let Ok(first) = news.recv() {
            let robot = match &mut self.robot {
                Some(robot) => robot,
                // Soon enough to be there when it is wanted.
                None => self.robot.insert(Robot::start(route.session)?),
            };
            if let News::Arrived(digest) = news.try_iter().last().unwrap_or(first) {
                let reference = format!("{}@{digest}", registry::repository(project));
                let lane = Lane::robot(route.session.robot());
                let _span = timeline::span(lane, Phase::Pull, "pull what has arrived");
                robot.pull(&reference, is_wanted)?;
            }
        }
        Ok(())
    }
}
