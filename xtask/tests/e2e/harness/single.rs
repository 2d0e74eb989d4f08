//! One image, of which a test says what is in it, for the one service that robots then run.

use super::{Finished, PROJECT, Workspace};

/// Compose file of the robots, instead of that of their services.
const COMPOSE: &str = "\
services:
  single:
    image: PROJECT:single
    command: sleep 1000000
    init: true
    network_mode: none
";

/// The image that `robots.toml` then has, too.
const IMAGE: &str = "
[bases.single]
debian = \"trixie\"
dockerfile = \"docker/single/Dockerfile\"

[images.single]
base = \"single\"
packages = []
";

/// See the module. The workspace's next reset takes it away.
pub struct Single<'a> {
    workspace: &'a Workspace,
}

impl<'a> Single<'a> {
    /// Made by a Dockerfile with a stage `runtime` on `shell`, which has busybox; its context is `ros_ws/src`.
    pub fn new(workspace: &'a Workspace, dockerfile: &str) -> Self {
        Self::with_settings(workspace, dockerfile, "")
    }

    /// The same; its service has these lines in the Compose file as well.
    pub fn with_settings(workspace: &'a Workspace, dockerfile: &str, settings: &str) -> Self {
        let compose = "docker/single/compose.yaml";
        let plain = workspace.read("docker/plain.Dockerfile");
        let (shell, _) = plain.split_once("\nFROM base AS build-tools").unwrap();
        workspace.write("docker/single/Dockerfile", format!("{shell}\n{dockerfile}"));
        workspace.write(compose, COMPOSE.replace("PROJECT", &PROJECT) + settings);
        let robots = workspace.read("robots.toml").replace("docker/compose.yaml", compose);
        workspace.write("robots.toml", robots + IMAGE);
        Self { workspace }
    }

    /// Deploys it to these robots, and has them run nothing else; `-v` is for what is only said then.
    #[track_caller]
    pub fn deploy(&self, robots: &str) -> Finished {
        self.workspace.xtask(&["deploy", "--robot", robots, "--yes", "-v"]).expect_exit(0)
    }
}
