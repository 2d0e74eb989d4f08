//! A runtime directory as a login session has it, in which runs keep their connections.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::lab::MAIN;
use super::run::{Finished, Running};
use super::shell::{output, succeeds};
use super::workspace::Workspace;

/// Connections end with it.
pub struct Runtime<'a> {
    workspace: &'a Workspace,
    dir: PathBuf,
}

impl<'a> Runtime<'a> {
    pub fn of(workspace: &'a Workspace) -> Self {
        let dir = workspace.tmp().with_file_name("run");
        fs::create_dir_all(&dir).unwrap();
        let runtime = Self { workspace, dir };
        runtime.set_mode(0o700);
        runtime
    }

    pub fn set_mode(&self, mode: u32) {
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn start(&self, args: &[&str]) -> Running {
        self.workspace.start_with(&[("XDG_RUNTIME_DIR", self.dir.to_str().unwrap())], args)
    }

    pub fn xtask(&self, args: &[&str]) -> Finished {
        self.start(args).wait_for_all()
    }

    /// Processes of the connections that are kept in the directory.
    pub fn kept(&self) -> Vec<u32> {
        let title = format!("^ssh: {}/.* \\[.*mux\\]", self.dir.display());
        let pids = output(&["sh", "-c", "pgrep -f \"$1\" || true", "pgrep", &title]);
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Sockets of the directory's connections that later runs could use.
    pub fn sockets(&self) -> usize {
        fs::read_dir(&self.dir).unwrap().count()
    }

    /// Logins on the robot that have not ended.
    pub fn logins() -> Vec<String> {
        let pids = MAIN.sh("pgrep -f '^sshd-session: robot \\[priv\\]' || true");
        pids.lines().map(str::to_owned).collect()
    }
}

impl Drop for Runtime<'_> {
    fn drop(&mut self) {
        for pid in self.kept() {
            succeeds(&["kill", &pid.to_string()]);
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}
