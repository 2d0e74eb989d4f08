//! A single image with content chosen by the test, for the only service of the robots.

use super::{Finished, PROJECT, Workspace};

/// Compose file of the robots, in place of the usual one.
const COMPOSE: &str = "\
services:
  single:
    image: PROJECT:single
    command: sleep 1000000
    init: true
    network_mode: none
";

/// The image, as added to `robots.toml`.
const IMAGE: &str = "
[bases.single]
debian = \"trixie\"
dockerfile = \"docker/single/Dockerfile\"

[images.single]
base = \"single\"
packages = []
";

/// The single image in a workspace; the workspace's next reset removes it.
pub struct Single<'a> {
    workspace: &'a Workspace,
}

impl<'a> Single<'a> {
    /// Uses a Dockerfile with a stage `runtime` on `shell`, which has busybox; its context is `ros_ws/src`.
    pub fn new(workspace: &'a Workspace, dockerfile: &str) -> Self {
        Self::with_settings(workspace, dockerfile, "")
    }

    /// Like [`Self::new`], with these additional lines for the service in the Compose file.
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

    /// Deploys the image as the robots' only service; `-v` also prints details that tests check.
    #[track_caller]
    pub fn deploy(&self, robots: &str) -> Finished {
        self.workspace.xtask(&["deploy", "--robot", robots, "--yes", "-v"]).expect_exit(0)
    }
}
