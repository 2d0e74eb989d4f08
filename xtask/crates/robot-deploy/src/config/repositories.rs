//! Repositories within the workspace's own: those of packages, and those that have not been brought yet.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::Workspace;

impl Workspace {
    /// Repositories of packages below the workspace's own, as `vcs import` clones them; submodules belong to the workspace's.
    /// Absolute.
    pub fn nested_repositories(&self) -> BTreeSet<Utf8PathBuf> {
        let sources = self.project.sources();
        // The `.git` of a submodule is a file.
        let is_repository = |dir: &&Utf8Path| dir.join(".git").is_dir();
        let nested = self.packages.iter().filter_map(|package| {
            let dir = sources.join(&package.dir);
            let within = dir.ancestors().take_while(|dir| *dir != self.root && dir.starts_with(&self.root));
            within.into_iter().find(is_repository).map(Utf8Path::to_owned)
        });
        nested.collect()
    }
}

/// A file for `vcs import` (<https://github.com/dirk-thomas/vcstool>).
#[derive(Deserialize)]
struct Repos {
    repositories: BTreeMap<String, serde_json::Value>,
}

/// Names a command that brings repositories which the workspace lists and does not have: submodules, and those of `.repos`
/// files.
pub(crate) fn absent(root: &Utf8Path, sources: &Utf8Path) -> Option<String> {
    let modules = std::fs::read_to_string(root.join(".gitmodules")).unwrap_or_default();
    let values =
        modules.lines().filter_map(|line| line.trim().strip_prefix("path")?.trim().strip_prefix('='));
    let is_empty = |path: &Utf8Path| path.read_dir().map_or(true, |mut entries| entries.next().is_none());
    let mut submodules = values.map(str::trim).filter(|path| is_empty(&root.join(path)));
    if let Some(path) = submodules.next() {
        return Some(format!(
            "the submodule `{}` is not there: `git submodule update --init`",
            path.escape_debug()
        ));
    }
    let entries = [Some(root), sources.parent(), Some(sources)].into_iter().flatten();
    let files = entries.filter_map(|dir| dir.read_dir_utf8().ok()).flatten().filter_map(Result::ok);
    let mut files = files.map(|entry| entry.into_path()).filter(|path| path.extension() == Some("repos"));
    files.find_map(|file| {
        let listed: Repos = serde_saphyr::from_str(&std::fs::read_to_string(&file).ok()?).ok()?;
        let missing = listed.repositories.into_keys().find(|path| !sources.join(path).exists())?;
        let [shown, into] = [&file, sources].map(|path| path.strip_prefix(root).unwrap_or(path));
        let into = if into.as_str().is_empty() { "." } else { into.as_str() };
        Some(format!("`{}` of `{shown}` is not there: `vcs import {into} < {shown}`", missing.escape_debug()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_been_brought_is_named_with_the_command() -> crate::error::Result<()> {
        let guard = tempfile::tempdir()?;
        let root = Utf8Path::from_path(guard.path()).unwrap();
        let src = root.join("ros_ws/src");
        fs_err::create_dir_all(src.join("lidar"))?;
        assert_eq!(absent(root, &src), None);
        fs_err::write(
            root.join("team.repos"),
            "repositories:\n  lidar: {type: git}\n  arm/driver: {type: git}\n",
        )?;
        let hint = absent(root, &src).unwrap_or_default();
        assert_eq!(hint, "`arm/driver` of `team.repos` is not there: `vcs import ros_ws/src < team.repos`");
        fs_err::write(root.join(".gitmodules"), "[submodule \"lidar\"]\n\tpath = ros_ws/src/lidar\n")?;
        assert!(absent(root, &src).unwrap_or_default().contains("git submodule update --init"));
        fs_err::write(src.join("lidar/x"), "")?;
        assert!(absent(root, &src).unwrap_or_default().contains("vcs import"));
        Ok(())
    }
}
