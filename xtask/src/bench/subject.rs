//! What is deployed: sources, the robots that run them, and the Dockerfile that is used by hand.

use super::copy::{ROBOTS, Workshop};
use crate::process::Cmd;

/// One of the things that are built and deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The example workspace.
    Workspace,
    /// Somebody else's image with all dependencies in one layer.
    Layer,
    /// Somebody else's image with the program and all it needs in one layer.
    Monolith,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Workspace, Self::Layer, Self::Monolith];

    /// Those that are somebody else's: one Dockerfile, used as it is by everybody.
    pub const FOREIGN: [Self; 2] = [Self::Layer, Self::Monolith];

    /// The robots that run it, the one that most cases are about first.
    pub fn robots(self) -> &'static [&'static str] {
        match self {
            Self::Workspace => &ROBOTS,
            Self::Layer => &["layer"],
            Self::Monolith => &["monolith"],
        }
    }

    /// The name of a foreign image in `robots.toml`, and of its directory in `docker/bench/`.
    pub fn name(self) -> &'static str {
        self.robots()[0]
    }

    /// The directory of a foreign image, from the root of the repository.
    pub fn dir(self) -> Option<String> {
        Self::FOREIGN.contains(&self).then(|| format!("docker/bench/{}", self.name()))
    }

    /// The image that is built by hand, here and on the robot.
    pub fn image_by_hand(self) -> &'static str {
        match self {
            Self::Workspace => "bench-one-stage:latest",
            Self::Layer => "bench-layer:latest",
            Self::Monolith => "bench-monolith:latest",
        }
    }

    /// `docker build`, with the base and the certificates that all contenders have. Without the attestation
    /// that some engines add: its time stamp would replace all containers at every deploy.
    pub fn build_by_hand(self, workshop: &Workshop) -> Cmd {
        let context = |name: &str, value: &str| ["--build-context".to_owned(), format!("{name}={value}")];
        let build = Cmd::new("docker")
            .args(["build", "--progress=plain", "--provenance=false"])
            .args(workshop.secrets())
            .args(context("base", &workshop.base))
            .dir(&workshop.copy.workspace().root);
        match self.dir() {
            None => build.args(["--file", "docker/bench/one-stage.Dockerfile", "."]),
            Some(dir) => {
                build.args(context("docker", &dir)).args(["--file", &format!("{dir}/Dockerfile"), &dir])
            }
        }
    }
}
