//! A workspace and a pair of robots that one test has for itself: several labs work side by side.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

use super::run::end_all_runs;
use super::shell::{output, succeeds};
use super::{Engine, Finished, Hub, PROJECT, Project, Robot, Workspace, emulation};

/// The robot whose engine has the containerd store.
pub const MAIN: Robot = Robot { name: "main" };

/// The robot whose engine has the classic store.
pub const SECONDARY: Robot = Robot { name: "secondary" };

/// The projects of the labs: that of the example workspace, then those of plain ones.
const PROJECTS: [&str; 9] = ["e2e", "e2e-1", "e2e-2", "e2e-3", "e2e-4", "e2e-5", "e2e-6", "e2e-7", "e2e-8"];

/// How many plain labs there can be.
pub const PLAIN_LABS: usize = PROJECTS.len() - 1;

/// What a test works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// The example workspace, with ROS. There is one lab of it: its packages are built once.
    Ros,
    /// The same robots, images and services with nothing of ROS in them: built, sent and healthy in a moment.
    Plain,
}

impl World {
    /// How many labs there can be of it.
    pub fn labs(self) -> usize {
        match self {
            Self::Ros => 1,
            Self::Plain => PLAIN_LABS,
        }
    }

    fn project(self, number: usize) -> &'static str {
        match self {
            Self::Ros => PROJECTS[0],
            Self::Plain => PROJECTS[1 + number],
        }
    }
}

/// See the module.
pub struct Lab {
    pub workspace: Workspace,
    project: &'static str,
    hub: OnceCell<Hub>,
}

impl Lab {
    /// Opens a lab, with what an earlier run has kept of it.
    pub fn open(world: World, number: usize) -> Self {
        let project = world.project(number);
        Project::enter(project);
        let dir = dir().join(project);
        let workspace = match world {
            World::Ros => Workspace::ros(dir),
            World::Plain => Workspace::plain(dir),
        };
        Self { workspace, project, hub: OnceCell::new() }
    }

    /// Has this thread work in it.
    pub fn enter(&self) {
        Project::enter(self.project);
    }

    /// Deploys the unedited workspace to `main`, unless that is what runs there.
    pub fn deployed(&self) -> &Workspace {
        self.workspace.reset();
        self.deploy(MAIN);
        &self.workspace
    }

    /// Deploys the workspace as it is; has to succeed.
    #[track_caller]
    pub fn deploy(&self, robot: Robot) -> Finished {
        self.workspace.xtask(&["deploy", "--robot", robot.name, "--yes"]).expect_exit(0)
    }

    /// The team's registry, which tests share as they share the robots; those have to be up.
    pub fn hub(&self) -> &Hub {
        self.hub.get_or_init(|| Hub::start(&self.workspace))
    }

    /// Takes away what a failed test may have left in the way of the next ones.
    pub fn recover(&self) {
        end_all_runs(&self.workspace.tmp());
        self.workspace.reset();
        self.workspace.forget_temporary_files();
        for robot in [MAIN, SECONDARY] {
            succeeds(&["docker", "unpause", &robot.container()]);
            succeeds(&["docker", "exec", &robot.container(), "shape-link", "off"]);
            succeeds(&["docker", "exec", &robot.container(), "iptables", "--flush", "INPUT"]);
            succeeds(&["docker", "exec", &robot.container(), "iptables", "--flush", "OUTPUT"]);
            succeeds(&["docker", "exec", &robot.container(), "robotctl", "docker", "start"]);
        }
    }

    /// Closes it for good.
    pub fn close(self) {
        self.enter();
        clear_project();
        self.workspace.close();
    }
}

/// Where the labs' files are: a short path, since sockets are in it.
pub fn dir() -> PathBuf {
    let user = output(&["id", "--user"]);
    PathBuf::from(format!("/tmp/xtask-e2e.{user}"))
}

/// Removes everything of all labs, whoever left it.
pub fn clear() {
    end_all_runs(&dir());
    emulation::clear();
    for project in PROJECTS {
        Project::enter(project);
        clear_project();
    }
    drop(fs::remove_dir_all(dir()));
}

/// Removes robots, images and the registry of this thread's lab.
fn clear_project() {
    Hub::remove();
    for thing in Engine::simulation(&PROJECT) {
        let (kind, name) = thing.split_once(' ').unwrap();
        let force: &[&str] = if kind == "container" { &["--force", "--volumes"] } else { &[] };
        succeeds(&[&["docker", kind, "rm"], force, &[name]].concat());
    }
    Engine::remove_images(&PROJECT);
}
