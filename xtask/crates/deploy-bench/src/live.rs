//! `cargo xtask watch`, which runs all the time: it deploys once, and then waits for saves.

use std::cell::RefCell;
use std::sync::mpsc::Receiver;

use anyhow::Context as _;
use camino::Utf8Path;

use super::case::Case;
use super::fixture::Fixture;
use super::method::Method;
use super::methods::names;
use super::robot::TestRobot;
use super::workload::Workload;
use robot_deploy::error::{Failure, Result};
use robot_deploy::process::{self, Child, Cmd};

pub(crate) struct Watch<'a> {
    pub fixture: &'a Fixture,
    /// The process, and the robots that it serves.
    pub running: RefCell<Option<(String, Running)>>,
}

/// A process that watches files, and its output.
pub(crate) struct Running {
    lines: Receiver<String>,
    _child: Child,
}

impl Running {
    /// Starts the command, in its own directory.
    pub(crate) fn start(command: &Cmd, dir: &Utf8Path) -> Result<Self> {
        let watch = Cmd::new("sh").args(["-c", "exec \"$@\" 2>&1", "sh"]).args(command.argv()).dir(dir);
        let (child, _, output) = watch.converse()?;
        Ok(Self { lines: process::lines(&child, output, process::LINE), _child: child })
    }

    /// Waits for a line with one of the texts, which say that what was saved last runs.
    pub(crate) fn wait_for(&self, texts: &[&str]) -> Result<()> {
        let mut last = String::new();
        loop {
            let line = process::next_line(&self.lines)?;
            let line =
                line.with_context(|| format!("the command that watches has ended; its last line: {last}"))?;
            if line.contains("the deploy failed") || line.contains("error:") {
                return Err(Failure::failed(line).into());
            }
            if texts.iter().any(|text| line.contains(text)) {
                return Ok(());
            }
            last = line;
        }
    }
}

impl Method for Watch<'_> {
    fn title(&self) -> &'static str {
        "cargo xtask watch"
    }

    fn description(&self) -> &'static str {
        "xtask watch --robot NAME: a save is put into the running containers, or deployed if that takes a build"
    }

    fn fixture(&self) -> &Fixture {
        self.fixture
    }

    fn deploy(&self, _workload: Workload, robots: &[TestRobot<'_>]) -> Result<()> {
        let (robots, mut running) = (names(robots), self.running.borrow_mut());
        if running.as_ref().is_none_or(|(served, _)| *served != robots) {
            // The one before must not see any save.
            drop(running.take());
            let copy = &self.fixture.copy;
            let watch = Running::start(&copy.xtask(&["watch", "--robot", &robots]), &copy.workspace().root)?;
            *running = Some((robots, watch));
        }
        let (_, running) = running.as_ref().context("`watch` does not run")?;
        running.wait_for(&["waiting for a save", " live in "])
    }

    fn replaces_containers(&self, case: Case) -> bool {
        case == Case::Cpp
    }
}
