//! The sources of packages, as the last build read them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::config::Workspace;
use crate::digest::Digest;
use crate::watcher::TOOL_DIRECTORIES;

/// Largest file that can be edited live, in bytes.
const LARGEST: u64 = 1 << 20;

/// Extensions of files that compilers and generators read: a changed one has effects besides its copy.
const COMPILED: [&str; 24] = [
    "action", "c", "cc", "cmake", "cpp", "cu", "cuh", "cxx", "em", "h", "hh", "hpp", "hxx", "idl", "in",
    "inl", "ipp", "msg", "proto", "pxd", "pyx", "rs", "srv", "tpp",
];

/// Files that say how a package is built.
const BUILD_FILES: [&str; 6] =
    ["CMakeLists.txt", "colcon.pkg", "package.xml", "pyproject.toml", "setup.cfg", "setup.py"];

/// A source file that can be edited live if it is installed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub package: String,
    pub digest: Digest,
    is_program: bool,
}

/// A source that was saved, as it was before, and its new content.
#[derive(Debug)]
pub(super) struct Change {
    pub path: Utf8PathBuf,
    pub before: Source,
    pub digest: Digest,
    pub content: Vec<u8>,
}

/// All source files by absolute path. `None` stands for a file that cannot be edited live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    top: Utf8PathBuf,
    files: BTreeMap<Utf8PathBuf, Option<Source>>,
}

impl Sources {
    /// Reads the packages of a workspace.
    pub(crate) fn of(workspace: &Workspace) -> Self {
        let top = workspace.project.sources();
        let packages: BTreeMap<Utf8PathBuf, &str> = workspace
            .packages
            .iter()
            .map(|package| (top.join(&package.dir), package.name.as_str()))
            .collect();
        let mut sources = Self { top, files: BTreeMap::new() };
        for (dir, package) in &packages {
            sources.add(dir, package, &packages);
        }
        sources
    }

    fn add(&mut self, dir: &Utf8Path, package: &str, packages: &BTreeMap<Utf8PathBuf, &str>) {
        for entry in dir.read_dir_utf8().into_iter().flatten().filter_map(Result::ok) {
            let (path, name) = (entry.path(), entry.file_name());
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.files.insert(path.to_owned(), read(path, package).map(|(source, _)| source));
            } else if !TOOL_DIRECTORIES.contains(&name) && !packages.contains_key(path) {
                self.add(path, package, packages);
            }
        }
    }

    /// Returns whether saved files differ from what was read.
    pub(crate) fn are_changed_by(&self, saved: &BTreeSet<Utf8PathBuf>) -> bool {
        self.changes(saved).is_none_or(|changes| !changes.is_empty())
    }

    /// Returns what is new in the saved files; `None` if a build is needed to know what that changes.
    pub(super) fn changes(&self, saved: &BTreeSet<Utf8PathBuf>) -> Option<Vec<Change>> {
        let mut changes = Vec::new();
        for path in saved {
            let Some(before) = self.files.get(path) else {
                // Editors make files that are soon gone again. A directory that is moved away takes its files along.
                let is_gone = path.starts_with(&self.top)
                    && path.symlink_metadata().is_err()
                    && !self.files.keys().any(|file| file.starts_with(path));
                if is_gone { continue } else { return None }
            };
            let before = before.as_ref()?;
            let (now, content) = read(path, &before.package)?;
            if now == *before {
                continue;
            }
            if now.is_program != before.is_program || !self.is_unmistakable(path, before) {
                return None;
            }
            changes.push(Change { path: path.clone(), before: before.clone(), digest: now.digest, content });
        }
        Some(changes)
    }

    /// Returns whether a copy of this file can be told from copies of other files, and is all that a build makes of it.
    fn is_unmistakable(&self, path: &Utf8Path, source: &Source) -> bool {
        let name = path.file_name().unwrap_or_default();
        let is_same = |(other, one): (&Utf8PathBuf, &Source)| {
            other != path
                && one.package == source.package
                && one.digest == source.digest
                && other.file_name() == Some(name)
        };
        let is_compiled = path.extension().is_some_and(|extension| COMPILED.contains(&extension));
        !is_compiled
            && !BUILD_FILES.contains(&name)
            && !self.files.iter().filter_map(|(path, one)| Some((path, one.as_ref()?))).any(is_same)
    }

    /// Notes that containers have a change.
    pub(super) fn update(&mut self, change: &Change) {
        if let Some(Some(source)) = self.files.get_mut(&change.path) {
            source.digest = change.digest.clone();
        }
    }
}

fn read(path: &Utf8Path, package: &str) -> Option<(Source, Vec<u8>)> {
    let about = path.symlink_metadata().ok()?;
    if !about.is_file() || about.len() > LARGEST {
        return None;
    }
    let content = std::fs::read(path).ok()?;
    let is_program = about.permissions().mode() & 0o100 != 0;
    Some((Source { package: package.to_owned(), digest: Digest::of(&content), is_program }, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Utf8Path, names: &[&str]) -> BTreeSet<Utf8PathBuf> {
        names.iter().map(|name| root.join(name)).collect()
    }

    #[test]
    fn what_needs_a_build_has_no_changes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        for name in
            ["a/node.py", "a/x.hpp", "a/setup.py", "a/.hidden/y.py", "a/build/z.py", "a/b/other.py", "a/run"]
        {
            write(name, name);
        }
        for name in ["a/one/__init__.py", "a/two/__init__.py"] {
            write(name, "");
        }
        let packages = [(root.join("a"), "a"), (root.join("a/b"), "b")].into();
        let mut sources = Sources::default();
        sources.add(&root.join("a"), "a", &packages);
        sources.top = root.to_owned();
        assert_eq!(sources.files.len(), 7, "{sources:?}");

        let count = |names: &[&str]| sources.changes(&paths(root, names)).map(|changes| changes.len());
        assert_eq!(count(&["a/node.py", "a/x.hpp"]), Some(0), "nothing has changed");
        write("a/node.py", "new");
        assert_eq!(count(&["a/node.py", "a/sedXYZ"]), Some(1), "a file of an editor, gone again");
        assert_eq!(count(&["a/node.py", "a/x.hpp"]), Some(1));
        for name in ["a/x.hpp", "a/setup.py", "a/one/__init__.py", "a/new.py", "a/b/other.py"] {
            write(name, "changed");
            assert_eq!(count(&["a/node.py", name]), None, "{name}");
        }
        fs_err::set_permissions(root.join("a/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(count(&["a/run"]), None);
        fs_err::remove_file(root.join("a/node.py")).unwrap();
        assert_eq!(count(&["a/node.py"]), None);
        fs_err::remove_dir_all(root.join("a/one")).unwrap();
        assert_eq!(count(&["a/one"]), None);
    }
}
