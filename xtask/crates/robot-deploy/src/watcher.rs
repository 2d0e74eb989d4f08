//! Waits until somebody saves something that images are made of.

use std::path::{Component, Path};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8PathBuf;
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::config::Workspace;
use crate::error::Result;
use crate::process;

/// How long nothing must be saved for one save after another to be over: editors write several files, git many.
const QUIET: Duration = Duration::from_millis(60);

/// How often somebody looks whether this run has been interrupted.
const AGAIN: Duration = Duration::from_millis(100);

/// Directories in which tools write, not people.
const OF_TOOLS: [&str; 6] = [".git", "__pycache__", "build", "install", "log", "target"];

/// A look at the files of a workspace.
pub struct Watcher {
    root: Utf8PathBuf,
    events: Receiver<notify::Result<Event>>,
    /// Its end is the end of the events.
    _watcher: RecommendedWatcher,
}

impl Watcher {
    /// Begins to look: at the ROS packages, the Dockerfiles and Compose files, and robots.toml.
    ///
    /// # Errors
    /// Fails when the system does not tell of changes: too many watches are the usual reason.
    pub fn of(workspace: &Workspace) -> Result<Self> {
        let (sender, events) = channel();
        let begin = || -> notify::Result<RecommendedWatcher> {
            let mut watcher = notify::recommended_watcher(sender)?;
            watcher
                .watch(workspace.project.ros_workspace.join("src").as_std_path(), RecursiveMode::Recursive)?;
            let docker = workspace.root.join("docker");
            if docker.is_dir() {
                watcher.watch(docker.as_std_path(), RecursiveMode::Recursive)?;
            }
            // Editors replace files: the directory is told of that, the file is not.
            watcher.watch(workspace.root.as_std_path(), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let watcher = begin().context("look at the files of the workspace")?;
        Ok(Self { root: workspace.root.clone(), events, _watcher: watcher })
    }

    /// Waits for the next save, and until no further one follows. Gives a file that was saved, for people.
    ///
    /// # Errors
    /// Fails when the run is interrupted.
    pub fn next(&self) -> Result<Utf8PathBuf> {
        let mut first = None;
        loop {
            let patience = if first.is_some() { QUIET } else { AGAIN };
            match self.events.recv_timeout(patience) {
                Ok(event) => {
                    let event = event.context("look at the files of the workspace")?;
                    first = first.or_else(|| self.saved(&event));
                }
                Err(RecvTimeoutError::Timeout) => {
                    process::check_interrupted()?;
                    if let Some(path) = first {
                        return Ok(path);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the system tells of no more changes"),
            }
        }
    }

    /// The file that an event is about, if images may be made of it.
    fn saved(&self, event: &Event) -> Option<Utf8PathBuf> {
        let changes = match event.kind {
            EventKind::Create(_) | EventKind::Remove(_) => true,
            EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
            EventKind::Any | EventKind::Access(_) | EventKind::Other => false,
        };
        let of_people = |path: &&std::path::PathBuf| is_input(path.strip_prefix(&self.root).unwrap_or(path));
        let path = event.paths.iter().find(of_people).filter(|_| changes)?;
        Utf8PathBuf::from_path_buf(path.strip_prefix(&self.root).unwrap_or(path).to_owned()).ok()
    }
}

/// Whether a file, named from the root of the workspace, may change what is deployed.
fn is_input(path: &Path) -> bool {
    let mut parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let of_tools = |part: &str| OF_TOOLS.contains(&part);
    let is_top = path.parent() == Some(Path::new(""));
    // Of an editor: Emacs, vim, and whoever writes beside a file before replacing it.
    let is_passing = name.starts_with(".#")
        || name.starts_with('#')
        || name.ends_with(['~', '#'])
        || name.ends_with(".swp")
        || name.ends_with(".swx")
        || name.ends_with(".tmp")
        || name == "4913"
        || name.ends_with(".pyc");
    !parts.any(of_tools) && !is_passing && (!is_top || name == crate::config::FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_save_counts_and_what_tools_write_does_not() {
        for path in
            ["ros_ws/src/a/a/node.py", "docker/compose.yaml", "robots.toml", "ros_ws/src/a/CMakeLists.txt"]
        {
            assert!(is_input(Path::new(path)), "{path}");
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
            assert!(!is_input(Path::new(path)), "{path}");
        }
    }
}
