//! Showing an edit without an image: `cargo xtask watch`, and what people do by hand instead.

use std::cell::RefCell;
use std::sync::mpsc::Receiver;

use anyhow::Context as _;

use super::case::Case;
use super::fixture::Fixture;
use super::method::Method;
use super::methods::names;
use super::robot::TestRobot;
use super::workload::Workload;
use robot_deploy::error::{Failure, Result};
use robot_deploy::process::{self, Child, Cmd};

/// `cargo xtask watch`, which runs all the time: it deploys once, and then waits for saves.
pub(crate) struct Watch<'a> {
    pub fixture: &'a Fixture,
    pub running: RefCell<Option<Running>>,
}

/// A process that watches, and its output.
pub(crate) struct Running {
    robots: String,
    lines: Receiver<String>,
    _child: Child,
}

impl Running {
    fn start(fixture: &Fixture, robots: &str) -> Result<Self> {
        let watch = fixture.copy.xtask(&["watch", "--robot", robots]);
        let watch = Cmd::new("sh")
            .args(["-c", "exec \"$@\" 2>&1", "sh"])
            .args(watch.argv())
            .dir(&fixture.copy.workspace().root);
        let (child, _, output) = watch.converse()?;
        Ok(Self {
            robots: robots.to_owned(),
            lines: process::lines(&child, output, process::LINE),
            _child: child,
        })
    }

    /// Waits until what was saved last runs.
    fn wait(&self) -> Result<()> {
        loop {
            let line = process::next_line(&self.lines)?.context("`watch` has ended")?;
            if line.contains("the deploy failed") || line.contains("error:") {
                return Err(Failure::failed(line).into());
            }
            if line.contains("waiting for a save") || line.contains(" live in ") {
                return Ok(());
            }
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
        if running.as_ref().is_none_or(|running| running.robots != robots) {
            // The one before must not see any save.
            drop(running.take());
            *running = Some(Running::start(self.fixture, &robots)?);
        }
        running.as_ref().context("`watch` does not run")?.wait()
    }

    fn replaces_containers(&self, case: Case) -> bool {
        case == Case::Cpp
    }
}

/// `tar` into `ssh docker cp`, and `docker restart`; after a first `cargo xtask deploy`, which is not measured.
pub(crate) struct Copy<'a> {
    pub fixture: &'a Fixture,
    /// Directory of the edited file in its container; empty before the first deploy.
    pub dir: RefCell<String>,
}

impl Method for Copy<'_> {
    fn title(&self) -> &'static str {
        "tar | ssh docker cp"
    }

    fn description(&self) -> &'static str {
        "tar | ssh (docker cp, docker restart) of the edited file, into a container that a deploy has started"
    }

    fn fixture(&self) -> &Fixture {
        self.fixture
    }

    fn deploy(&self, _workload: Workload, robots: &[TestRobot<'_>]) -> Result<()> {
        let edit = Case::Python.edit(0).context("a line of Python is an edit")?;
        let find =
            format!("id=$(docker ps --quiet --filter label=com.docker.compose.service={})", edit.service);
        let mut dir = self.dir.borrow_mut();
        if dir.is_empty() {
            self.fixture.copy.xtask(&["deploy", "--robot", &names(robots)]).run()?;
            let script = format!("{find}; docker exec \"$id\" sh -c 'dirname {}'", edit.installed);
            *dir = robots[0].endpoint().command(["sh", "-c", &script]).read()?;
            return Ok(());
        }
        let script = format!("{find}; docker cp - \"$id:{dir}\" && docker restart \"$id\"");
        let file = self.fixture.copy.workspace().root.join(edit.file);
        let (parent, name) = (file.parent().context("a file")?, file.file_name().context("a file")?);
        for robot in robots {
            let pack = Cmd::new("tar").args(["-cf", "-", "-C", parent.as_str(), "--", name]);
            robot.endpoint().command(["sh", "-c", &script]).feed(&pack)?;
        }
        Ok(())
    }

    fn replaces_containers(&self, _case: Case) -> bool {
        false
    }
}
