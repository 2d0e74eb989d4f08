//! Everything that the deploy methods share: the copy of the workspace, the builder and the base image.

use anyhow::Context as _;
use camino::Utf8Path;

use super::copy::{ROBOTS, WorkspaceCopy};
use robot_deploy::config::Workspace;
use robot_deploy::error::Result;
use robot_deploy::image::{Builder, base, secrets};

/// Shared setup of all deploy methods.
#[derive(Debug)]
pub struct Fixture {
    /// The workspace that is edited and deployed.
    pub copy: WorkspaceCopy,
    pub builder: Builder,
    /// Named build context of the base image.
    pub base: String,
}

impl Fixture {
    /// Copies the workspace into `dir` and builds the base image if it is missing.
    pub fn new(workspace: &Workspace, xtask: &Utf8Path, dir: &Utf8Path, builder: Builder) -> Result<Self> {
        let copy = WorkspaceCopy::make(workspace, xtask, dir)?;
        let source = &copy.workspace().bases.values().next().context("no base")?.source;
        let base = base::ensure(copy.workspace(), builder, source, &copy.robot(ROBOTS[0])?.platform)?;
        Ok(Self { copy, builder, base })
    }

    /// Options that pass this machine's certificates to `docker build`.
    pub fn secrets(&self) -> impl Iterator<Item = String> {
        secrets::of_this_machine().into_iter().flat_map(|secret| ["--secret".to_owned(), secret])
    }
}
