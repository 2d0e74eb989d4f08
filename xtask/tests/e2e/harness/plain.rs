//! An image without ROS, of which the tests say what is in it: built in no time, whatever the tests put there.

use super::{Finished, Workspace};

/// What the robots run instead of their services.
const COMPOSE: &str = "\
services:
  plain:
    image: PROJECT:plain
    command: sleep infinity
    init: true
    network_mode: none
";

/// The image that `robots.toml` then has, too.
const IMAGE: &str = "
[bases.plain]
debian = \"trixie\"
dockerfile = \"docker/plain/Dockerfile\"

[images.plain]
base = \"plain\"
packages = []
";

/// See the module. The workspace's next reset takes it away.
pub struct Plain<'a> {
    workspace: &'a Workspace,
}

impl<'a> Plain<'a> {
    /// Made by a Dockerfile with a stage `runtime` on `base`, whose context is `ros_ws/src`.
    pub fn new(workspace: &'a Workspace, dockerfile: &str) -> Self {
        Self::with_settings(workspace, dockerfile, "")
    }

    /// The same; its service has these lines in the Compose file as well.
    pub fn with_settings(workspace: &'a Workspace, dockerfile: &str, settings: &str) -> Self {
        let compose = "docker/plain/compose.yaml";
        workspace.write("docker/plain/Dockerfile", dockerfile);
        workspace.write(compose, COMPOSE.replace("PROJECT", super::PROJECT) + settings);
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
