//! The deploy methods that are compared: `cargo xtask deploy` and `watch`, and the ways of people without it.

use std::cell::RefCell;

use super::by_hand::{ByHand, ImageTransport};
use super::fixture::Fixture;
use super::live::Watch;
use super::method::{Method, MethodId};
use super::robot::TestRobot;
use super::sync::{Sync, Tool};
use super::workload::Workload;
use robot_deploy::error::Result;

pub(crate) fn create(id: MethodId, fixture: &Fixture) -> Result<Box<dyn Method + '_>> {
    Ok(match id {
        MethodId::Xtask => Box::new(Xtask { fixture }),
        MethodId::Watch => Box::new(Watch { fixture, running: RefCell::default() }),
        MethodId::Push => Box::new(ByHand::new(fixture, ImageTransport::Push)?),
        MethodId::Load => Box::new(ByHand::new(fixture, ImageTransport::Load)?),
        MethodId::Rsync => sync(fixture, Tool::Rsync)?,
        MethodId::Compose => sync(fixture, Tool::ComposeWatch)?,
    })
}

fn sync(fixture: &Fixture, tool: Tool) -> Result<Box<dyn Method + '_>> {
    Ok(Box::new(Sync::new(ByHand::new(fixture, ImageTransport::Load)?, tool)))
}

/// This program, process start included. The overhead of `cargo` is measured separately.
struct Xtask<'a> {
    fixture: &'a Fixture,
}

impl Method for Xtask<'_> {
    fn title(&self) -> &'static str {
        "cargo xtask deploy"
    }

    fn description(&self) -> &'static str {
        "xtask deploy --robot NAME; the workspace as one image per service, one stage and layer per package"
    }

    fn fixture(&self) -> &Fixture {
        self.fixture
    }

    fn deploy(&self, _workload: Workload, robots: &[TestRobot<'_>]) -> Result<()> {
        self.fixture.copy.xtask(&["deploy", "--robot", &names(robots)]).run()
    }

    fn status(&self, robots: &[TestRobot<'_>]) -> Result<String> {
        self.fixture.copy.xtask(&["status", "--robot", &names(robots)]).read()
    }
}

/// Value of `--robot`.
pub(crate) fn names(robots: &[TestRobot<'_>]) -> String {
    robots.iter().map(TestRobot::name).collect::<Vec<_>>().join(",")
}
