//! Releases that this machine has last seen on a robot, for completions: they must not wait for the robot.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use super::stored::StoredRelease;
use crate::config::Workspace;
use crate::files;

/// Releases by number, with a few words about each.
pub(crate) type Seen = BTreeMap<u32, String>;

/// Returns what was seen; empty if nothing was, or if the file is damaged.
pub(crate) fn read(workspace: &Workspace, robot: &str) -> Seen {
    let text = fs_err::read_to_string(file(workspace, robot)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Records all releases of a robot.
pub(crate) fn record(workspace: &Workspace, robot: &str, releases: &[StoredRelease]) {
    let words = |stored: &StoredRelease| {
        let record = stored.record.as_ref();
        let deploy = record.and_then(|record| record.deploy.as_ref());
        let deploy = deploy.map(|deploy| format!("{} by {}", deploy.source.in_words(), deploy.by));
        let outcome = record.map(|record| record.outcome.clone());
        deploy.into_iter().chain(outcome).collect::<Vec<_>>().join(", ")
    };
    write(workspace, robot, &releases.iter().map(|stored| (stored.release, words(stored))).collect());
}

/// Records a release that was activated on a robot.
pub(crate) fn add(workspace: &Workspace, robot: &str, number: &str) {
    let mut seen = read(workspace, robot);
    if let Ok(number) = number.parse() {
        seen.entry(number).or_default();
        write(workspace, robot, &seen);
    }
}

/// Replaces the file. Without it completions offer less, so one that cannot be written is no failure.
fn write(workspace: &Workspace, robot: &str, seen: &Seen) {
    if let Ok(text) = serde_json::to_string_pretty(seen) {
        drop(files::replace(&file(workspace, robot), &text));
    }
}

fn file(workspace: &Workspace, robot: &str) -> Utf8PathBuf {
    workspace.state_dir().join("releases").join(format!("{robot}.json"))
}
