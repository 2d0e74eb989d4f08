//! Temporary checkout of the current revision, which contains only files from git.

use camino::Utf8PathBuf;
use tempfile::TempDir;

use crate::config::Workspace;
use crate::error::Result;
use crate::hub::tags::git;
use crate::{process, ui};

/// Git worktree that is removed when this guard is dropped, also after Ctrl-C.
#[derive(Debug)]
pub(crate) struct Checkout {
    /// Directory of the original workspace.
    root: Utf8PathBuf,
    /// Directory of the worktree.
    tree: Utf8PathBuf,
    /// Directory of `robots.toml` in the worktree.
    inside: Utf8PathBuf,
    _dir: TempDir,
}

impl Checkout {
    /// Checks out the current revision of `workspace`, with submodules and the repositories within it.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let root = workspace.root.clone();
        let state = workspace.state_dir();
        process::outcome_needed()?;
        fs_err::create_dir_all(&state)?;
        // On the workspace's disk: the disk for temporary files may be small.
        let dir = tempfile::Builder::new().prefix("publish-").tempdir_in(&state)?;
        let tree =
            state.join(dir.path().file_name().unwrap_or_default().to_string_lossy().as_ref()).join("tree");
        let prefix = git(&root, &["rev-parse", "--show-prefix"]).read()?;
        let checkout = Self { inside: tree.join(prefix), root, tree, _dir: dir };
        git(&checkout.root, &["worktree", "add", "--quiet", "--detach", checkout.tree.as_str(), "HEAD"])
            .run()?;
        if checkout.root.join(".gitmodules").exists() {
            git(&checkout.tree, &["submodule", "--quiet", "update", "--init", "--recursive"])
                .show("git")
                .run()?;
        }
        for nested in workspace.nested_repositories() {
            let inside = checkout.inside.join(workspace.relative(&nested));
            git(&checkout.tree, &["clone", "--quiet", "--shared", nested.as_str(), inside.as_str()]).run()?;
            let revision = git(&nested, &["rev-parse", "HEAD"]).read()?;
            git(&inside, &["checkout", "--quiet", "--detach", &revision]).run()?;
        }
        Ok(checkout)
    }

    /// Loads the workspace in the checkout.
    pub(crate) fn workspace(&self) -> Result<Workspace> {
        Workspace::load(&self.inside)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if !self.tree.exists() {
            return;
        }
        git(&self.root, &["worktree", "remove", "--force", self.tree.as_str()]).clean_up();
        if self.tree.exists() {
            ui::warn(
                "clean-up",
                &format!("cannot remove `{}`: delete it and run `git worktree prune`", self.tree),
            );
        }
    }
}
