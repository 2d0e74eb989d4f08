//! Waits until a source file of the images is saved.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::config::Workspace;
use crate::error::Result;
use crate::release::compose::ComposeDraft;
use crate::{parallel, process};

/// Saves that follow each other faster than this count as one: editors write several files, git writes many.
const QUIET: Duration = Duration::from_millis(60);

/// Longest time for which saves that follow each other count as one: a program may write a file all the time.
const LONGEST: Duration = Duration::from_secs(2);

/// Directories that tools write to, not people.
pub(crate) const TOOL_DIRECTORIES: [&str; 6] = [".git", "__pycache__", "build", "install", "log", "target"];

/// Files and directories that change what is deployed. Absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Inputs {
    /// Directories in which everything counts.
    trees: BTreeSet<Utf8PathBuf>,
    /// Directories in which files count, but not other directories.
    tops: BTreeSet<Utf8PathBuf>,
    /// Directories of Compose files, in which files for Compose count.
    compose: BTreeSet<Utf8PathBuf>,
    files: BTreeSet<Utf8PathBuf>,
}

impl Inputs {
    /// The ROS packages, the Dockerfiles with their contexts, the Compose files with what they mount, and `robots.toml`.
    fn of(workspace: &Workspace) -> Self {
        let (root, sources) = (&workspace.root, workspace.project.sources());
        let mut inputs = Self::default();
        inputs.files.insert(root.join(crate::config::FILE));
        inputs.add_tree(&root.join("docker"));
        workspace.settings.values().flat_map(|it| &it.also).for_each(|path| inputs.add_tree(path));
        if !workspace.packages.is_empty() {
            inputs.add_tree(&sources);
            let is_package = workspace.packages.iter().any(|package| package.dir.as_str().is_empty());
            if !is_package {
                inputs.tops.remove(&sources);
            }
        }
        for base in workspace.bases.values() {
            inputs.files.insert(base.dockerfile.clone());
        }
        for robot in workspace.robots.values() {
            inputs.compose.extend(robot.compose.iter().filter_map(|file| Some(file.parent()?.to_owned())));
            inputs.files.extend(robot.env_files.iter().chain(&robot.compose).cloned());
        }
        // A Compose file with a mistake is watched, too, until it has none.
        let drafts =
            parallel::map(workspace.robots.values(), |robot| ComposeDraft::render(workspace, robot).ok());
        for path in drafts.iter().flatten().flat_map(ComposeDraft::inputs) {
            inputs.add_tree(&root.join(path));
        }
        inputs
    }

    /// Adds a file, or a directory without those that tools write to.
    fn add_tree(&mut self, path: &Utf8Path) {
        if path.is_file() {
            self.files.insert(path.to_owned());
        }
        let Ok(entries) = path.read_dir_utf8() else { return };
        let entries: Vec<_> = entries.filter_map(std::io::Result::ok).collect();
        if !entries.iter().any(|entry| TOOL_DIRECTORIES.contains(&entry.file_name())) {
            self.trees.insert(path.to_owned());
            return;
        }
        self.tops.insert(path.to_owned());
        let is_source = |entry: &&Utf8DirEntry| {
            let name = entry.file_name();
            !TOOL_DIRECTORIES.contains(&name) && !name.starts_with('.') && entry.path().is_dir()
        };
        self.trees.extend(entries.iter().filter(is_source).map(|entry| entry.path().to_owned()));
    }

    /// Returns whether a file can change what is deployed.
    fn have(&self, path: &Utf8Path) -> bool {
        let (Some(name), Some(dir)) = (path.file_name(), path.parent()) else { return false };
        let is_for_compose = name.ends_with(".yaml") || name.ends_with(".yml") || name.contains(".env");
        let tree = self.trees.iter().find(|tree| path.starts_with(tree));
        let below = tree.and_then(|tree| path.strip_prefix(tree).ok()).unwrap_or(path);
        let is_in_tree = tree.is_some() && !below.iter().any(|part| TOOL_DIRECTORIES.contains(&part));
        !is_temporary(name)
            && (is_in_tree
                || self.files.contains(path)
                || self.tops.contains(dir)
                || is_for_compose && self.compose.contains(dir))
    }

    /// Reports changes of all files; of those that are reported already, again only once.
    fn watch(&self, watcher: &mut RecommendedWatcher) -> notify::Result<()> {
        for tree in &self.trees {
            watcher.watch(tree.as_std_path(), RecursiveMode::Recursive)?;
        }
        // Editors replace a file instead of writing to it; only a watch on its directory reports that.
        let of_files = self.files.iter().filter_map(|file| file.parent());
        let dirs = self.tops.iter().chain(&self.compose).map(Utf8PathBuf::as_path).chain(of_files);
        let is_in_tree = |dir: &&Utf8Path| self.trees.iter().any(|tree| dir.starts_with(tree));
        for dir in dirs.filter(|dir| dir.is_dir() && !is_in_tree(dir)).collect::<BTreeSet<_>>() {
            watcher.watch(dir.as_std_path(), RecursiveMode::NonRecursive)?;
        }
        Ok(())
    }
}

/// Watches the source files of a workspace.
pub(crate) struct Watcher {
    inputs: Inputs,
    events: Receiver<notify::Result<Event>>,
    /// Events stop when this is dropped.
    watcher: RecommendedWatcher,
}

impl Watcher {
    /// Starts to watch the files that change what is deployed.
    ///
    /// # Errors
    /// Fails when the system refuses to watch the files, usually because its limit of watches is reached.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let (sender, events) = channel();
        let watcher = notify::recommended_watcher(sender).context("watch the files of the workspace")?;
        let mut watcher = Self { inputs: Inputs::default(), events, watcher };
        watcher.follow(workspace)?;
        Ok(watcher)
    }

    /// Watches other files, too, if others change now what is deployed.
    pub(crate) fn follow(&mut self, workspace: &Workspace) -> Result<()> {
        let inputs = Inputs::of(workspace);
        if inputs != self.inputs {
            inputs.watch(&mut self.watcher).context("watch the files of the workspace")?;
            self.inputs = inputs;
        }
        Ok(())
    }

    /// Waits for the next save, and then until no other save follows. Returns the saved files; none if nothing was saved
    /// within `limit`.
    pub(crate) fn next(&self, limit: Option<Duration>) -> Result<BTreeSet<Utf8PathBuf>> {
        let mut end = limit.map(|limit| Instant::now() + limit);
        let (mut saved, mut longest) = (BTreeSet::new(), None);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match process::receive(&self.events, left)? {
                Ok(event) => {
                    let files = self.saved(&event.context("watch the files of the workspace")?);
                    if !files.is_empty() {
                        let now = Instant::now();
                        end = Some((now + QUIET).min(*longest.get_or_insert(now + LONGEST)));
                        saved.extend(files);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(saved),
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the system stopped reporting file changes")
                }
            }
        }
    }

    /// Files that an event is about and that are inputs of images.
    fn saved(&self, event: &Event) -> Vec<Utf8PathBuf> {
        let is_change = match event.kind {
            EventKind::Create(_) | EventKind::Remove(_) => true,
            EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
            EventKind::Any | EventKind::Access(_) | EventKind::Other => false,
        };
        let paths = event.paths.iter().filter_map(|path| Utf8Path::from_path(path));
        paths.filter(|path| is_change && self.inputs.have(path)).map(Utf8Path::to_owned).collect()
    }
}

/// Returns whether a file is a temporary one of Emacs, of vim, or of editors that write a new file before they replace the
/// old one.
fn is_temporary(name: &str) -> bool {
    name.starts_with(".#")
        || name.starts_with('#')
        || name.ends_with(['~', '#'])
        || name.ends_with(".swp")
        || name.ends_with(".swx")
        || name.ends_with(".tmp")
        || name == "4913"
        || name.ends_with(".pyc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_save_counts_and_what_tools_write_does_not() {
        let paths =
            |paths: &[&str]| paths.iter().map(|path| Utf8PathBuf::from(format!("/ws/{path}"))).collect();
        let inputs = Inputs {
            trees: paths(&["ros_ws/src", "docker", "build/lidar"]),
            tops: paths(&["top"]),
            compose: ["/ws".into()].into(),
            files: paths(&["robots.toml"]),
        };
        for path in [
            "ros_ws/src/a/a/node.py",
            "docker/compose.yaml",
            "robots.toml",
            "ros_ws/src/a/CMakeLists.txt",
            "build/lidar/main.py",
            "top/CMakeLists.txt",
            "compose.override.yaml",
            ".env",
            "dds.env",
        ] {
            assert!(inputs.have(&Utf8Path::new("/ws").join(path)), "{path}");
        }
        for path in [
            "README.md",
            "Cargo.lock",
            "target/xtask/build/x",
            "ros_ws/src/a/a/__pycache__/node.cpython-313.pyc",
            "ros_ws/src/a/a/.node.py.swp",
            "ros_ws/src/a/a/4913",
            "ros_ws/src/a/a/node.py~",
            "ros_ws/build/a/x",
            "docker/.#compose.yaml",
            "top/deeper/x",
        ] {
            assert!(!inputs.have(&Utf8Path::new("/ws").join(path)), "{path}");
        }
    }

    #[test]
    fn directories_of_tools_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        for path in ["target", "nav", ".git", "plain/sub"] {
            fs_err::create_dir_all(root.join(path)).unwrap();
        }
        let mut inputs = Inputs::default();
        inputs.add_tree(root);
        assert_eq!(inputs.trees, ["nav", "plain"].map(|name| root.join(name)).into());
        assert_eq!(inputs.tops, [root.to_owned()].into());
    }
}
