//! Who deploys: `cargo xtask deploy`, and the two ways of doing it by hand.

use super::by_hand::{OneStage, Way};
use super::copy::{Copy, PROJECT, ROBOT};
use super::robot::TestRobot;
use crate::error::Result;
use crate::image::Builder;

/// A way of deploying.
pub trait Contender {
    /// Its name in results.
    fn id(&self) -> &'static str;
    /// Its name in plots.
    fn title(&self) -> &'static str;
    /// What it does, for a person who doubts the figures.
    fn description(&self) -> &'static str;
    /// The images it leaves on this machine.
    fn images(&self) -> Vec<String>;
    /// Builds what it deploys, so that dependencies are there when the clock starts.
    fn build(&self) -> Result<()>;
    /// What a robot needs once, before the first deploy.
    fn set_up(&self, robot: &TestRobot<'_>) -> Result<()>;
    /// From the sources as they are to containers that run them.
    fn deploy(&self, robot: &TestRobot<'_>) -> Result<()>;
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

    pub(super) fn enter<'a>(self, copy: &'a Copy, builder: Builder) -> Result<Box<dyn Contender + 'a>> {
        Ok(match self {
            Self::Xtask => Box::new(Xtask { copy }),
            Self::Push => Box::new(OneStage::new(copy, builder, Way::Push)?),
            Self::Load => Box::new(OneStage::new(copy, builder, Way::Load)?),
        })
    }
}

/// This program, started as a person would, process start and all; `cargo` itself is measured apart.
struct Xtask<'a> {
    copy: &'a Copy,
}

impl Contender for Xtask<'_> {
    fn id(&self) -> &'static str {
        "xtask"
    }

    fn title(&self) -> &'static str {
        "cargo xtask deploy"
    }

    fn description(&self) -> &'static str {
        "xtask deploy --robot main; per package one stage and one layer, an image per service"
    }

    fn images(&self) -> Vec<String> {
        self.copy.workspace().images.keys().map(|image| format!("{PROJECT}:{image}")).collect()
    }

    fn build(&self) -> Result<()> {
        self.copy.xtask(&["build-images"]).run()
    }

    fn set_up(&self, _robot: &TestRobot<'_>) -> Result<()> {
        Ok(())
    }

    fn deploy(&self, _robot: &TestRobot<'_>) -> Result<()> {
        self.copy.xtask(&["deploy", "--robot", ROBOT]).run()
    }
}
