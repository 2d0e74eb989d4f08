//! Who deploys: `cargo xtask deploy`, and the two ways of doing it by hand.

use super::by_hand::{ByHand, Way};
use super::copy::{PROJECT, Workshop};
use super::robot::TestRobot;
use super::subject::Subject;
use crate::error::Result;

/// A way of deploying.
pub trait Contender {
    /// Its name in plots.
    fn title(&self) -> &'static str;
    /// What it does, for a person who doubts the figures.
    fn description(&self) -> &'static str;
    /// The images of a subject that it leaves on this machine, those that a robot runs.
    fn images(&self, subject: Subject) -> Vec<String>;
    /// Builds what it deploys, so that dependencies are there when the clock starts.
    fn build(&self, subject: Subject) -> Result<()>;
    /// What a robot needs once, before the first deploy.
    fn set_up(&self, robot: &TestRobot<'_>) -> Result<()>;
    /// From the sources as they are to containers that run them.
    fn deploy(&self, subject: Subject, robots: &[TestRobot<'_>]) -> Result<()>;
    /// What it tells of robots, if it does.
    fn status(&self, robots: &[TestRobot<'_>]) -> Result<String>;
}

/// A contender on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// `cargo xtask deploy`
    Xtask,
    /// `docker build`, `docker push` through `ssh -L`, `docker pull`, `docker compose up`
    Push,
    /// `docker build`, `docker save` into `ssh docker load`, `docker compose up`
    Load,
}

impl Choice {
    /// All of them, the one they are compared with first.
    pub const ALL: [Self; 3] = [Self::Xtask, Self::Push, Self::Load];

    /// Its name on the command line and in results.
    pub fn id(self) -> &'static str {
        match self {
            Self::Xtask => "xtask",
            Self::Push => "push",
            Self::Load => "load",
        }
    }

    pub(super) fn enter<'a>(self, workshop: &'a Workshop) -> Result<Box<dyn Contender + 'a>> {
        Ok(match self {
            Self::Xtask => Box::new(Xtask { workshop }),
            Self::Push => Box::new(ByHand::new(workshop, Way::Push)?),
            Self::Load => Box::new(ByHand::new(workshop, Way::Load)?),
        })
    }
}

/// This program, started as a person would, process start and all; `cargo` itself is measured apart.
struct Xtask<'a> {
    workshop: &'a Workshop,
}

impl Contender for Xtask<'_> {
    fn title(&self) -> &'static str {
        "cargo xtask deploy"
    }

    fn description(&self) -> &'static str {
        "xtask deploy --robot NAME; of the workspace per package one stage and one layer, an image per service"
    }

    fn images(&self, subject: Subject) -> Vec<String> {
        self.workshop.copy.images(subject).map(|image| format!("{PROJECT}:{image}")).collect()
    }

    fn build(&self, subject: Subject) -> Result<()> {
        let images: Vec<&str> = self.workshop.copy.images(subject).collect();
        self.workshop.copy.xtask(&[&["build-images"], images.as_slice()].concat()).run()
    }

    fn set_up(&self, _robot: &TestRobot<'_>) -> Result<()> {
        Ok(())
    }

    fn deploy(&self, _subject: Subject, robots: &[TestRobot<'_>]) -> Result<()> {
        self.workshop.copy.xtask(&["deploy", "--robot", &names(robots)]).run()
    }

    fn status(&self, robots: &[TestRobot<'_>]) -> Result<String> {
        self.workshop.copy.xtask(&["status", "--robot", &names(robots)]).read()
    }
}

fn names(robots: &[TestRobot<'_>]) -> String {
    robots.iter().map(TestRobot::name).collect::<Vec<_>>().join(",")
}
