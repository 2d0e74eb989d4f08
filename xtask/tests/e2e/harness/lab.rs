//! One workspace and one pair of robots for all tests.

use std::cell::OnceCell;
use std::fs::File;

use super::shell::succeeds;
use super::{Emulation, Engine, Finished, Hub, Robot, Workspace};

/// The name of the tests' own project: its images, robots and caches are called by it.
pub const PROJECT: &str = "e2e";

/// The robot whose engine has the containerd store.
pub const MAIN: Robot = Robot { name: "main" };

/// The robot whose engine has the classic store.
pub const SECONDARY: Robot = Robot { name: "secondary" };

/// See the module. Everything is gone when it is dropped.
pub struct Lab {
    pub workspace: Workspace,
    pub emulation: Emulation,
    hub: OnceCell<Hub>,
    /// Names of robots, images and caches are shared: one run of the tests at a time.
    _lock: File,
}

impl Lab {
    /// Waits for its turn, clears what a killed run may have left, copies the workspace.
    pub fn open() -> Self {
        let lock = File::create(std::env::temp_dir().join("xtask-e2e.lock")).unwrap();
        lock.lock().unwrap();
        clear();
        ctrlc::set_handler(|| {
            clear();
            #[expect(clippy::disallowed_methods, reason = "the guards' work has just been done")]
            std::process::exit(130)
        })
        .unwrap();
        Self {
            workspace: Workspace::copy(PROJECT),
            emulation: Emulation::default(),
            hub: OnceCell::new(),
            _lock: lock,
        }
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
        self.workspace.reset();
        self.workspace.forget_temporary_files();
        for robot in [MAIN, SECONDARY] {
            succeeds(&["docker", "unpause", &robot.container()]);
            succeeds(&["docker", "exec", &robot.container(), "shape-link", "off"]);
            succeeds(&["docker", "exec", &robot.container(), "robotctl", "docker", "start"]);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        clear();
    }
}

/// Removes robots, images and the registry of the project, whoever left them.
fn clear() {
    Hub::remove();
    Emulation::clear();
    for thing in Engine::simulation(PROJECT) {
        let (kind, name) = thing.split_once(' ').unwrap();
        let force: &[&str] = if kind == "container" { &["--force", "--volumes"] } else { &[] };
        succeeds(&[&["docker", kind, "rm"], force, &[name]].concat());
    }
    Engine::remove_images(PROJECT);
}
