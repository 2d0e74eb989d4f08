//! A teammate who is not root and may use Docker, with a clone that no other user can read.

use std::os::unix::fs::MetadataExt as _;

use super::run::Run;
use super::shell::output;
use super::{Finished, Workspace};

/// A user id that no machine has; it needs no entry in /etc/passwd.
const UID: u32 = 4711;

/// Runs a copy of the program, because the original may be in a directory that only root can read.
const COPY: &str = "shift && exec \"$0\" \"$@\"";

pub struct Teammate {
    pub workspace: Workspace,
    pub uid: u32,
}

impl Teammate {
    /// Clones the workspace. The teammate is the user who runs the tests, unless that is root.
    pub fn of(workspace: &Workspace) -> Self {
        let workspace = workspace.clone_privately();
        let me = std::fs::metadata("/proc/self").unwrap().uid();
        let uid = if me == 0 { UID } else { me };
        let program = workspace.path("../xtask");
        output(&["cp", env!("CARGO_BIN_EXE_xtask"), program]);
        if me == 0 {
            output(&["chown", "--recursive", &format!("{UID}:{UID}"), workspace.path("..")]);
        }
        Self { workspace, uid }
    }

    /// Runs `cargo xtask ARGS…` as the teammate.
    pub fn xtask(&self, args: &[&str]) -> Finished {
        let (tmp, dir) = (self.workspace.tmp(), self.workspace.path(""));
        let copy = ["sh", "-c", COPY, self.workspace.path("../xtask")];
        let (user, group) = (UID.to_string(), docker_group());
        let become_them =
            ["setpriv", "--reuid", &user, "--regid", &user, "--groups", &group, "--no-new-privs"];
        let around = if self.uid == UID { [&become_them[..], &copy].concat() } else { copy.to_vec() };
        let home = [("HOME", self.workspace.path("../home"))];
        Run { around: &around, args, dir: dir.as_ref(), tmp: &tmp, env: &home }.start().wait()
    }

    /// All files in a directory of the workspace that belong to another user.
    pub fn files_of_others(&self, dir: &str) -> String {
        output(&["find", self.workspace.path(dir), "!", "-uid", &self.uid.to_string()])
    }
}

/// Group that may use the engine.
fn docker_group() -> String {
    std::fs::metadata("/var/run/docker.sock").unwrap().gid().to_string()
}
