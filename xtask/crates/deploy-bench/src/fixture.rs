//! Everything that the deploy methods share: the copy of the workspace, the builder and the base image.

use anyhow::Context as _;
use camino::Utf8Path;

use super::copy::WorkspaceCopy;
use super::workload::{ROBOTS, Workload};
use robot_deploy::config::Workspace;
use robot_deploy::error::Result;
use robot_deploy::image::{Builder, base, secrets};
use robot_deploy::process::Cmd;

/// Shared setup of all deploy methods.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// The workspace that is edited and deployed.
    pub copy: WorkspaceCopy,
    pub builder: Builder,
    /// Named build context of the base image.
    pub base: String,
}

impl Fixture {
    /// Copies the workspace into `dir` and builds the base image if it is missing.
    pub(crate) fn new(
        workspace: &Workspace,
        xtask: &Utf8Path,
        dir: &Utf8Path,
        builder: Builder,
    ) -> Result<Self> {
        let copy = WorkspaceCopy::make(workspace, xtask, dir)?;
        let base = copy.workspace().bases.values().next().context("no base")?;
        let base = base::ensure(copy.workspace(), builder, base, &copy.robot(ROBOTS[0])?.platform)?;
        Ok(Self { copy, builder, base })
    }

    /// `docker build` of a workload, with the same base and certificates as every other method. Provenance is
    /// off: the timestamp in the attestation that some engines add would recreate all containers at every deploy.
    pub(crate) fn build_by_hand(&self, workload: Workload) -> Cmd {
        let context = |name: &str, value: &str| ["--build-context".to_owned(), format!("{name}={value}")];
        let secrets =
            secrets::of_this_machine().into_iter().flat_map(|secret| ["--secret".to_owned(), secret]);
        let build = Cmd::new("docker")
            .args(["build", "--progress=plain", "--provenance=false"])
            .args(secrets)
            .args(context("base", &self.base))
            .dir(&self.copy.workspace().root);
        match workload.dir() {
            None => build.args(["--file", "docker/bench/one-stage.Dockerfile", "."]),
            Some(dir) => {
                build.args(context("docker", &dir)).args(["--file", &format!("{dir}/Dockerfile"), &dir])
            }
        }
    }
}
