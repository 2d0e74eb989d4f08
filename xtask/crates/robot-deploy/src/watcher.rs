//! Waits until a source file of the images is saved.

use std::path::{Component, Path};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8PathBuf;
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::config::Workspace;
use crate::error::Result;
use crate::process;

/// Saves that follow each other faster than this count as one: editors write several files, git writes many.
const QUIET: Duration = Duration::from_millis(60);

/// Directories that tools write to, not people.
const TOOL_DIRECTORIES: [&str; 6] = [".git", "__pycache__", "build", "install", "log", "target"];

/// Watches the source files of a workspace.
pub(crate) struct Watcher {
    root: Utf8PathBuf,
    /// True if the repository itself is a package.
    is_package: bool,
    events: Receiver<notify::Result<Event>>,
    /// Events stop when this is dropped.
    _watcher: RecommendedWatcher,
}

impl Watcher {
    /// Starts to watch the ROS packages, the Dockerfiles and Compose files, and `robots.toml`.
    ///
    /// # Errors
    /// Fails when the system refuses to watch the files, usually because its limit of watches is reached.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let (sender, events) = channel();
        let watcher = start(workspace, sender).context("watch the files of the workspace")?;
        let is_package = workspace.project.sources() == workspace.root
            && workspace.packages.iter().any(|package| package.dir.as_str().is_empty());
        Ok(Self { root: workspace.root.clone(), is_package, events, _watcher: watcher })
    }

    /// Waits for the next save, and then until no other save follows. Returns one of the saved files, to be
    /// shown.
    pub(crate) fn next(&self) -> Result<Utf8PathBuf> {
        let mut first = None;
        loop {
            match process::receive(&self.events, first.is_some().then_some(QUIET))? {
                Ok(event) => {
                    let event = event.context("watch the files of the workspace")?;
                    first = first.or_else(|| self.saved(&event));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(path) = first {
                        return Ok(path);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the system stopped reporting file changes")
                }
            }
        }
    }

    /// File that an event is about, if the file is an input of images.
    fn saved(&self, event: &Event) -> Option<Utf8PathBuf> {
        let is_change = match event.kind {
            EventKind::Create(_) | EventKind::Remove(_) => true,
            EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
            EventKind::Any | EventKind::Access(_) | EventKind::Other => false,
        };
        let mut paths = event.paths.iter().map(|path| path.strip_prefix(&self.root).unwrap_or(path));
        let path = paths.find(|path| is_input(path, self.is_package)).filter(|_| is_change)?;
        Utf8PathBuf::from_path_buf(path.to_owned()).ok()
    }
}

fn start(workspace: &Workspace, sender: Sender<notify::Result<Event>>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(sender)?;
    let sources = workspace.project.sources();
    if sources == workspace.project.ros_workspace {
        // Not the directories that colcon and Cargo write beside the packages.
        for entry in sources.read_dir()?.filter_map(std::io::Result::ok) {
            let name = entry.file_name().into_string().unwrap_or_default();
            let is_tools = TOOL_DIRECTORIES.contains(&name.as_str()) || name.starts_with('.');
            if !is_tools && entry.path().is_dir() {
                watcher.watch(&entry.path(), RecursiveMode::Recursive)?;
            }
        }
    } else {
        watcher.watch(sources.as_std_path(), RecursiveMode::Recursive)?;
    }
    for path in workspace.settings.values().flat_map(|settings| &settings.also) {
        watcher.watch(path.as_std_path(), RecursiveMode::Recursive)?;
    }
    let docker = workspace.root.join("docker");
    if docker.is_dir() {
        watcher.watch(docker.as_std_path(), RecursiveMode::Recursive)?;
    }
    // Editors replace `robots.toml` instead of writing to it; only a watch on its directory reports that.
    watcher.watch(workspace.root.as_std_path(), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Returns whether a file can change what is deployed. `path` is relative to the root of the workspace, which may itself be a
/// package.
fn is_input(path: &Path, is_package: bool) -> bool {
    let mut parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let is_top = path.parent() == Some(Path::new(""));
    // Temporary files of Emacs, of vim, and of editors that write a new file before they replace the old one.
    let is_temporary = name.starts_with(".#")
        || name.starts_with('#')
        || name.ends_with(['~', '#'])
        || name.ends_with(".swp")
        || name.ends_with(".swx")
        || name.ends_with(".tmp")
        || name == "4913"
        || name.ends_with(".pyc");
    !parts.any(|part| TOOL_DIRECTORIES.contains(&part))
        && !is_temporary
        && (!is_top || is_package || name == crate::config::FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_save_counts_and_what_tools_write_does_not() {
        for path in
            ["ros_ws/src/a/a/node.py", "docker/compose.yaml", "robots.toml", "ros_ws/src/a/CMakeLists.txt"]
        {
            assert!(is_input(Path::new(path), false), "{path}");
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
        ] {
            assert!(!is_input(Path::new(path), false), "{path}");
        }
        assert!(is_input(Path::new("CMakeLists.txt"), true) && !is_input(Path::new("log/x"), true));
    }
}
