//! An SSH agent with one key, stopped on drop. Only `ssh` of the tests uses it, not the developer's keys.

use std::process::{Child, Stdio};

use super::shell::{command, output};
use super::{Finished, Workspace, eventually};

pub struct Agent {
    process: Child,
    socket: String,
}

impl Agent {
    pub fn with_key(workspace: &Workspace, key: &str) -> Self {
        let socket = workspace.path(&format!("../agent-{}", number())).to_owned();
        // An agent of an earlier run may have left its socket, which would look like this one's.
        std::fs::remove_file(&socket).ok();
        let process = command(&["ssh-agent", "-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { process, socket };
        eventually("the agent", || std::path::Path::new(&agent.socket).exists().then_some(()));
        output(&["env", &format!("SSH_AUTH_SOCK={}", agent.socket), "ssh-add", "-q", workspace.path(key)]);
        agent
    }

    /// Runs `cargo xtask ARGS...` with this agent.
    pub fn run(&self, workspace: &Workspace, args: &[&str]) -> Finished {
        workspace.start_with(&[self.variable()], args).wait()
    }

    /// Environment variable by which programs find the agent.
    pub fn variable(&self) -> (&str, &str) {
        ("SSH_AUTH_SOCK", &self.socket)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A number that no other agent of this run has.
fn number() -> u32 {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
