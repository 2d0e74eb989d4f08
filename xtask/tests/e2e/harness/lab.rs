//! A workspace and a pair of robots for one test at a time: several labs work in parallel.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use super::run::end_all_runs;
use super::shell::{output, succeeds};
use super::{AGENT_DIR, Engine, Finished, Hub, ODOMETRY, PROJECT, Project, Robot, Workspace, emulation};

/// The robot whose engine has the containerd store.
pub const MAIN: Robot = Robot { name: "main" };

/// The robot whose engine has the classic store.
pub const SECONDARY: Robot = Robot { name: "secondary" };

/// Projects of the labs: first the example workspace, then the plain ones.
const PROJECTS: [&str; 9] = ["e2e", "e2e-1", "e2e-2", "e2e-3", "e2e-4", "e2e-5", "e2e-6", "e2e-7", "e2e-8"];

/// A kind of workspace for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// The example workspace, with ROS. It has only one lab, so that its packages are built once.
    Ros,
    /// The same robots, images and services without ROS: built, sent and healthy within a moment.
    Plain,
}

impl World {
    /// Maximum number of labs.
    pub fn labs(self) -> usize {
        match self {
            Self::Ros => 1,
            Self::Plain => PROJECTS.len() - 1,
        }
    }

    fn project(self, number: usize) -> &'static str {
        match self {
            Self::Ros => PROJECTS[0],
            Self::Plain => PROJECTS[1 + number],
        }
    }
}

pub struct Lab {
    pub workspace: Workspace,
    project: &'static str,
    hub: RefCell<Option<Arc<Hub>>>,
}

impl Lab {
    /// Opens a lab, with the files that an earlier run has kept.
    pub fn open(world: World, number: usize) -> Self {
        let project = world.project(number);
        Project::enter(project);
        let dir = dir().join(project);
        let workspace = match world {
            World::Ros => Workspace::ros(dir),
            World::Plain => Workspace::plain(dir),
        };
        Self { workspace, project, hub: RefCell::default() }
    }

    /// Makes this thread work in the lab.
    pub fn enter(&self) {
        Project::enter(self.project);
    }

    /// Makes `main` run the workspace, if it does not yet. Undoes all edits of earlier tests except that of
    /// [`ODOMETRY`]: most tests have deployed one, and undoing it would only take time. Removes unfinished
    /// transfers.
    pub fn deployed(&self) -> &Workspace {
        let edited = self.workspace.read(ODOMETRY);
        self.workspace.reset();
        self.workspace.write(ODOMETRY, edited);
        self.deploy(MAIN);
        MAIN.sh(&format!("rm -f {AGENT_DIR}/*.spool"));
        &self.workspace
    }

    /// Deploys the workspace, which must succeed.
    #[track_caller]
    pub fn deploy(&self, robot: Robot) -> Finished {
        self.workspace.xtask(&["deploy", "--robot", robot.name, "--yes"]).expect_exit(0)
    }

    /// The team's registry, shared by tests like the robots, which have to be up. It is created again if the
    /// robots' network was.
    pub fn hub(&self) -> Arc<Hub> {
        let mut hub = self.hub.borrow_mut();
        match &*hub {
            Some(hub) if hub.answers() => Arc::clone(hub),
            _ => Arc::clone(hub.insert(Arc::new(Hub::start()))),
        }
    }

    /// Removes what a failed test may have left: the robots are created again.
    pub fn recover(&self) {
        end_all_runs(&self.workspace.tmp());
        self.workspace.reset();
        self.workspace.forget_temporary_files();
        remove_robots();
    }

    /// Removes the lab.
    pub fn close(self) {
        self.enter();
        clear_project();
        self.workspace.close();
    }
}

/// Directory of the labs' files: a short path, because it contains sockets.
pub fn dir() -> &'static Path {
    static DIR: LazyLock<PathBuf> =
        LazyLock::new(|| PathBuf::from(format!("/tmp/xtask-e2e.{}", output(&["id", "--user"]))));
    &DIR
}

/// Removes everything of all labs, including those of earlier runs.
pub fn clear() {
    end_all_runs(dir());
    emulation::clear();
    for project in PROJECTS {
        Project::enter(project);
        clear_project();
    }
    unmount_below(dir());
    drop(fs::remove_dir_all(dir()));
}

/// Unmounts what a killed bootstrap of a base has left: /proc, /sys and /dev of this machine must not be removed along
/// with the directory that shows them.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut places: Vec<&str> = places.filter(|place| Path::new(place).starts_with(dir)).collect();
    places.sort_unstable();
    for place in places.into_iter().rev() {
        output(&["umount", place]);
    }
}

/// Removes robots, images and the registry of this thread's lab.
fn clear_project() {
    Hub::remove();
    remove_robots();
    Engine::remove_images(&PROJECT);
}

/// Removes the robots of this thread's lab, with their disks and their network.
fn remove_robots() {
    for thing in Engine::simulation(&PROJECT) {
        let (kind, name) = thing.split_once(' ').unwrap();
        let force: &[&str] = if kind == "container" { &["--force", "--volumes"] } else { &[] };
        succeeds(&[&["docker", kind, "rm"], force, &[name]].concat());
    }
}
