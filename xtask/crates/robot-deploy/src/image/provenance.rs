//! Where an image comes from, as OCI labels that follow its inputs.
//!
//! The revision is the one that last touched the image's inputs, not the newest: an image whose inputs did
//! not change keeps its labels and with them its digest.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use crate::config::{Image, Workspace};
use crate::error::Result;
use crate::process::Cmd;

/// The label with the project's name.
pub const PROJECT: &str = "dev.cargo-xtask.project";

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The revision that last touched the inputs; none outside a git repository.
    pub revision: Option<String>,
    /// The time of that revision, in seconds since 1970: the image's creation time, so that it follows
    /// from the inputs as well.
    pub time: u64,
    /// Whether inputs differ from that revision.
    pub dirty: bool,
}

impl Provenance {
    /// Asks git about the inputs of `image`.
    ///
    /// # Errors
    /// Fails when git is there but fails.
    pub fn of(workspace: &Workspace, image: &Image) -> Result<Self> {
        let inputs = inputs(workspace, image);
        let git = |args: &[&str]| {
            Cmd::new("git")
                .args(args.iter().copied())
                .arg("--")
                .args(inputs.iter().map(|path| path.as_str()))
                .dir(&workspace.root)
        };
        if !workspace.root.join(".git").exists()
            && !Cmd::new("git")
                .args(["rev-parse", "--git-dir"])
                .dir(&workspace.root)
                .succeeds()
                .unwrap_or(false)
        {
            return Ok(Self { revision: None, time: 0, dirty: true });
        }
        let last = git(&["log", "-1", "--format=%H %ct"]).read()?;
        let dirty = !git(&["status", "--porcelain", "--untracked-files=normal"]).read()?.is_empty();
        let (revision, time) = last.split_once(' ').unwrap_or_default();
        Ok(Self {
            revision: (!revision.is_empty()).then(|| revision.to_owned()),
            time: time.parse().unwrap_or_default(),
            dirty,
        })
    }

    /// The labels; the names are those of the OCI image specification's annotations where it has one.
    pub fn labels(&self, workspace: &Workspace, image: &Image) -> BTreeMap<String, String> {
        let state = if self.dirty { "dirty" } else { "clean" };
        BTreeMap::from([
            ("org.opencontainers.image.title".into(), image.name.clone()),
            (
                "org.opencontainers.image.revision".into(),
                self.revision.clone().unwrap_or_else(|| "unknown".into()),
            ),
            (PROJECT.into(), workspace.project.name.clone()),
            ("dev.cargo-xtask.worktree".into(), state.into()),
        ])
    }
}

/// The files and directories that an image is made of: its packages, what they are built from, and the
/// hand-written Dockerfile with the directory of the same name beside it.
fn inputs(workspace: &Workspace, image: &Image) -> Vec<Utf8PathBuf> {
    let src = workspace.project.ros_workspace.join("src");
    let graph = &workspace.packages;
    let mut inputs = Vec::new();
    for package in graph.run_closure(&image.packages) {
        inputs.push(src.join(&package.dir));
        inputs.extend(graph.build_closure(&package.name).iter().map(|other| src.join(&other.dir)));
    }
    if let Some(base) = workspace.bases.get(&image.base) {
        inputs.push(base.dockerfile.clone());
        inputs.extend(Some(base.dockerfile.with_extension("")).filter(|dir| dir.is_dir()));
    }
    inputs.sort();
    inputs.dedup();
    inputs
}
