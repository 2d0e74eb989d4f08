//! Provenance of an image: OCI labels that depend only on its inputs.
//!
//! The revision is the last one that changed an input of the image, not the newest: an image with unchanged
//! inputs keeps its labels and therefore its digest.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use crate::config::{Image, Workspace};
use crate::error::Result;
use crate::process::Cmd;

/// Label with the project's name.
pub(super) const PROJECT: &str = "dev.cargo-xtask.project";

/// Revision of an image's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Provenance {
    /// Last revision that changed an input; `None` outside a git repository.
    pub revision: Option<String>,
    /// Time of that revision in seconds since 1970, used as the image's creation time.
    pub time: u64,
    /// True if inputs differ from that revision.
    pub dirty: bool,
    /// Revisions of the repositories within the workspace's that have inputs, by their paths.
    nested: BTreeMap<Utf8PathBuf, String>,
}

impl Provenance {
    /// Asks git about the inputs of an image of packages.
    pub(super) fn of_image(workspace: &Workspace, image: &Image) -> Result<Self> {
        Self::of(workspace, &inputs(workspace, image))
    }

    /// Asks git about files and directories.
    pub(super) fn of(workspace: &Workspace, inputs: &[Utf8PathBuf]) -> Result<Self> {
        let git = |args: &[&str]| {
            Cmd::new("git")
                .args(args.iter().copied())
                .arg("--")
                .args(inputs.iter().map(|path| path.as_str()))
                .dir(&workspace.root)
        };
        // Without a repository, or in one without a commit, there is no revision.
        let Ok(last) = git(&["log", "-1", "--format=%H %ct"]).read() else {
            return Ok(Self { revision: None, time: 0, dirty: true, nested: BTreeMap::new() });
        };
        let mut dirty = !git(&["status", "--porcelain", "--untracked-files=normal"]).read()?.is_empty();
        let mut nested = BTreeMap::new();
        let repositories = workspace.nested_repositories();
        for dir in repositories.iter().filter(|dir| inputs.iter().any(|input| input.starts_with(dir))) {
            let git = |args: &[&str]| Cmd::new("git").args(args.iter().copied()).dir(dir);
            dirty |= !git(&["status", "--porcelain", "--untracked-files=normal"]).read()?.is_empty();
            nested.insert(workspace.relative(dir).to_owned(), git(&["rev-parse", "HEAD"]).read()?);
        }
        let (revision, time) = last.split_once(' ').unwrap_or_default();
        Ok(Self {
            revision: (!revision.is_empty()).then(|| revision.to_owned()),
            time: time.parse().unwrap_or_default(),
            dirty,
            nested,
        })
    }

    /// Labels, named like the annotations of the OCI image specification where it defines one.
    pub(super) fn labels(&self, workspace: &Workspace, image: &str) -> BTreeMap<String, String> {
        let state = if self.dirty { "dirty" } else { "clean" };
        let nested: Vec<String> =
            self.nested.iter().map(|(path, revision)| format!("{path}={revision}")).collect();
        let nested = (!nested.is_empty()).then(|| ("dev.cargo-xtask.repositories".into(), nested.join(" ")));
        let labels = BTreeMap::from([
            ("org.opencontainers.image.title".into(), image.to_owned()),
            (
                "org.opencontainers.image.revision".into(),
                self.revision.clone().unwrap_or_else(|| "unknown".into()),
            ),
            (PROJECT.into(), workspace.project.name.clone()),
            ("dev.cargo-xtask.worktree".into(), state.into()),
        ]);
        labels.into_iter().chain(nested).collect()
    }
}

/// Input files and directories of an image: its packages with their build dependencies, and the hand-written
/// Dockerfile with the directory of the same name beside it.
fn inputs(workspace: &Workspace, image: &Image) -> Vec<Utf8PathBuf> {
    let src = workspace.project.sources();
    let graph = workspace.packages_on(&image.base);
    let colcon = super::dockerfile::COLCON_FILES.map(|name| workspace.project.ros_workspace.join(name));
    let mut inputs: Vec<Utf8PathBuf> = colcon.into_iter().filter(|path| path.is_file()).collect();
    for package in graph.run_closure(&image.packages) {
        for package in [vec![package], graph.build_closure(&package.name)].concat() {
            inputs.push(src.join(&package.dir));
            inputs.extend(workspace.settings.get(&package.name).into_iter().flat_map(|it| it.also.clone()));
        }
    }
    if let Some(base) = workspace.bases.get(&image.base) {
        inputs.push(base.dockerfile.clone());
        inputs.extend(Some(super::dependencies::lock_file(base)).filter(|file| file.is_file()));
        inputs.extend(Some(base.dockerfile.with_extension("")).filter(|dir| dir.is_dir()));
    }
    inputs.sort();
    inputs.dedup();
    inputs
}
