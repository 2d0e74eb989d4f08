//! Pulls ahead: while layers are still on their way, the robot's engine unpacks those that have arrived.
//!
//! Unpacking takes a robot as long as a fast link takes for the same layers, and an engine pulls whole images only. So
//! it is given an image of the lowest layers, those that have arrived, which goes as soon as the real ones are there.
//! Whatever comes in the way of that costs time and nothing else: the pull that follows is right on its own.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context as _;

use super::Route;
use super::courier::Arrivals;
use crate::error::Result;
use crate::image::partial::Partial;
use crate::process::Child;
use crate::robot::{Session, registry};
use crate::timeline::{self, Lane, Phase};
use crate::{process, ui};

/// The robot's part.
const SCRIPT: &str = include_str!("scripts/ahead.sh");

/// What is heard of images that arrive.
enum News {
    /// There will be one.
    Soon,
    /// There is one, with this digest.
    Arrived(String),
}

impl Arrivals for Sender<News> {
    fn soon(&self) {
        // Who pulls has given up: nothing is lost. So with the others.
        drop(self.send(News::Soon));
    }

    fn arrived(&self, image: &Partial) {
        drop(self.send(News::Arrived(image.digest())));
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
    answers: BufReader<PipeReader>,
    child: Child,
}

impl Robot {
    fn start(session: &Session) -> Result<Self> {
        let (child, words, answers) = session.command(["sh", "-c", SCRIPT, "ahead"]).converse()?;
        Ok(Self { words: Some(words), answers, child })
    }

    /// Waits until the robot has pulled an image; tells whether it could.
    fn pull(&mut self, reference: &str) -> Result<bool> {
        if let Some(words) = &mut self.words {
            writeln!(words, "{reference}").context("have a robot pull ahead")?;
        }
        let mut answer = String::new();
        let _bytes = self.answers.read_line(&mut answer).context("have a robot pull ahead")?;
        Ok(answer == "pulled\n")
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        drop(self.words.take());
        // What it could not remove is in nobody's way.
        drop(self.child.wait());
    }
}

/// Does `work`, which tells what arrives, and has that pulled meanwhile.
pub fn while_sending<T>(route: &Route<'_>, work: impl FnOnce(&dyn Arrivals) -> T) -> (T, Pulled) {
    let (tell, news) = channel();
    std::thread::scope(|scope| {
        let pulling = scope.spawn(move || {
            let mut pulled = Pulled::default();
            if let Err(error) = pulled.follow(route, &news)
                && process::mode().verbose
            {
                ui::warn(route.session.robot(), &format!("{error:#}"));
            }
            pulled
        });
        let result = work(&tell);
        drop(tell);
        (result, pulling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

impl Pulled {
    /// Has the robot pull what has arrived last, again and again.
    fn follow(&mut self, route: &Route<'_>, news: &Receiver<News>) -> Result<()> {
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
                anyhow::ensure!(robot.pull(&reference)?, "it cannot pull what has arrived");
            }
        }
        Ok(())
    }
}
