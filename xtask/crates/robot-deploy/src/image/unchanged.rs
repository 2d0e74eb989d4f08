//! Images that need no build: their inputs have not changed since the last build, and the engine still has
//! them.
//!
//! BuildKit would find that out as well, but it solves a graph of a hundred vertices for each image: with
//! four images that is most of the time of a deploy that changes one image or none.
//!
//! Changed inputs are detected as in git, by size and times of each file, including the ctime, which programs
//! cannot set. The inputs are scanned before BuildKit reads them: a change during the build counts as a
//! change next time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content_tag;
use crate::config::{Base, Image, Workspace};
use crate::error::Result;
use crate::files;
use crate::process::Cmd;

/// Names that builds ignore in every directory.
const IGNORED: [&str; 3] = ["__pycache__", ".pytest_cache", ".git"];

/// Files for rosdep beside the Dockerfile: what comes of them is in the Bake targets.
const RESOLVED: [&str; 2] = ["rosdep.lock", "rosdep.yaml"];

/// Hash of an image's inputs, and the resulting digest.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Entry {
    inputs: String,
    digest: String,
}

/// Earlier builds, by the image's name in the engine.
#[derive(Debug)]
pub(super) struct Known {
    file: Utf8PathBuf,
    images: BTreeMap<String, Entry>,
}

impl Known {
    /// Reads the record of earlier builds; a damaged or missing file only costs a build.
    pub(super) fn load(state_dir: &Utf8Path) -> Self {
        let file = state_dir.join("built.json");
        let text = fs_err::read_to_string(&file).unwrap_or_default();
        Self { file, images: serde_json::from_str(&text).unwrap_or_default() }
    }

    /// Digest of an image that was built from the same inputs.
    pub(super) fn digest(&self, reference: &str, inputs: &str) -> Option<&str> {
        let entry = self.images.get(reference)?;
        (entry.inputs == inputs).then_some(&entry.digest)
    }

    pub(super) fn insert(&mut self, reference: &str, inputs: String, digest: &str) {
        let entry = Entry { inputs, digest: digest.to_owned() };
        self.images.insert(reference.to_owned(), entry);
    }

    pub(super) fn save(&self) -> Result<()> {
        files::replace(&self.file, &serde_json::to_string_pretty(&self.images)?)
    }
}

/// Returns whether the engine has all these images, each with the digest given.
pub(super) fn all_exist<'a>(images: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let (references, digests): (Vec<&str>, Vec<&str>) = images.unzip();
    if references.is_empty() {
        return true;
    }
    let inspect = Cmd::new("docker").args(["image", "inspect", "--format", "{{.Id}}"]).args(references);
    inspect.read().is_ok_and(|ids| ids.lines().eq(digests))
}

/// Hash of all inputs of an image: its Bake target, the Dockerfile, and the files in the Dockerfile's
/// contexts, without the sources of packages that the image does not need. `None` if the inputs cannot be
/// determined.
pub(super) fn inputs(workspace: &Workspace, image: &Image, target: &Value) -> Option<String> {
    let base = workspace.bases.get(&image.base)?;
    let docker_dir = base.dockerfile.parent().filter(|dir| *dir != workspace.root)?;
    let src = workspace.project.sources();
    let graph = workspace.packages_on(&image.base);
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for package in graph.run_closure(&image.packages) {
        needed.insert(&package.name);
        needed.extend(graph.build_closure(&package.name).iter().map(|other| other.name.as_str()));
    }
    let others = graph.iter().filter(|package| !needed.contains(package.name.as_str()));
    let mut skipped: BTreeSet<Utf8PathBuf> = others.map(|package| src.join(&package.dir)).collect();
    skipped.insert(workspace.root.join("target"));
    skipped.extend(RESOLVED.map(|name| docker_dir.join(name)));
    let mut tree = Tree { skipped, text: target.to_string() };
    tree.text.push_str(&super::render_dockerfile(workspace, base).ok()?);
    tree.add(docker_dir).ok()?;
    tree.add(&src).ok()?;
    let settings = workspace.settings.iter().filter(|(name, _)| needed.contains(name.as_str()));
    for path in settings.flat_map(|(_, settings)| &settings.also) {
        tree.add(path).ok()?;
    }
    Some(content_tag([tree.text.as_str()]))
}

/// Hash of a Bake target and of all files in some directories. `None` if that cannot be determined.
pub(super) fn of_directories(
    workspace: &Workspace,
    target: &Value,
    directories: &[Utf8PathBuf],
) -> Option<String> {
    let mut tree = Tree { skipped: [workspace.root.join("target")].into(), text: target.to_string() };
    directories.iter().try_for_each(|dir| tree.add(dir)).ok()?;
    Some(content_tag([tree.text.as_str()]))
}

/// Hash of everything that the build tools of a base depend on: its named context, and the Dockerfile with the files beside it.
/// `None` if that cannot be determined.
pub(super) fn of_tools(workspace: &Workspace, base: &Base, context: &str) -> Option<String> {
    let docker_dir = base.dockerfile.parent().filter(|dir| *dir != workspace.root)?;
    let skipped = RESOLVED.map(|name| docker_dir.join(name)).into();
    let mut tree = Tree { skipped, text: format!("{context} {}\n", base.dockerfile) };
    tree.add(docker_dir).ok()?;
    Some(content_tag([tree.text.as_str()]))
}

/// List of files with the metadata that shows a change without reading the files.
struct Tree {
    skipped: BTreeSet<Utf8PathBuf>,
    text: String,
}

impl Tree {
    fn add(&mut self, path: &Utf8Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        if self.skipped.contains(path) || IGNORED.contains(&name) || name.ends_with(".pyc") {
            return Ok(());
        }
        let metadata = fs_err::symlink_metadata(path)?;
        if metadata.is_dir() {
            // The times of a directory change with files that are not inputs; its entries are listed anyway.
            writeln!(self.text, "{path} {:o}", metadata.mode())?;
            let mut entries: Vec<Utf8PathBuf> =
                path.read_dir_utf8()?.map(|entry| Ok(entry?.into_path())).collect::<std::io::Result<_>>()?;
            entries.sort();
            return entries.iter().try_for_each(|entry| self.add(entry));
        }
        writeln!(
            self.text,
            "{path} {:o} {} {} {}.{} {}.{}",
            metadata.mode(),
            metadata.size(),
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(dir: &Utf8Path, skipped: &[&str]) -> Result<String> {
        let skipped = skipped.iter().map(|name| dir.join(name)).collect();
        let mut tree = Tree { skipped, text: String::new() };
        tree.add(dir)?;
        Ok(tree.text)
    }

    #[test]
    fn every_change_of_a_file_is_seen_and_ignored_files_are_not() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let dir = Utf8Path::from_path(guard.path()).unwrap();
        fs_err::create_dir(dir.join("package"))?;
        fs_err::write(dir.join("package/node.py"), "a = 1")?;
        let before = seen(dir, &[])?;
        fs_err::create_dir(dir.join("package/__pycache__"))?;
        fs_err::write(dir.join("package/__pycache__/node.pyc"), "x")?;
        assert_eq!(seen(dir, &[])?, before);

        // Same size and same modification time.
        let time = fs_err::metadata(dir.join("package/node.py"))?.modified()?;
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs_err::write(dir.join("package/node.py"), "a = 2")?;
        std::fs::File::options().write(true).open(dir.join("package/node.py"))?.set_modified(time)?;
        assert_ne!(seen(dir, &[])?, before);

        let other = seen(dir, &["package"])?;
        fs_err::write(dir.join("package/node.py"), "a = 30")?;
        assert_eq!(seen(dir, &["package"])?, other);
        fs_err::write(dir.join("shared.txt"), "")?;
        assert_ne!(seen(dir, &["package"])?, other);
        Ok(())
    }

    #[test]
    fn builds_are_found_by_their_inputs() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let dir = Utf8Path::from_path(guard.path()).unwrap();
        let mut known = Known::load(dir);
        known.insert("bench:navigation", "inputs".to_owned(), "sha256:a");
        known.save()?;
        let known = Known::load(dir);
        assert_eq!(known.digest("bench:navigation", "inputs"), Some("sha256:a"));
        assert_eq!(known.digest("bench:navigation", "others"), None);
        fs_err::write(dir.join("built.json"), "not json")?;
        assert_eq!(Known::load(dir).digest("bench:navigation", "inputs"), None);
        Ok(())
    }
}
