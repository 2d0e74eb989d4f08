//! The line of a running build: the steps that BuildKit is at.

use std::collections::{BTreeMap, BTreeSet};

use super::failures::in_words;
use crate::number;
use crate::ui::{self, Progress};

/// Bytes of changed files from which on reading them is worth a line that stays.
const LARGE: u64 = 50_000_000;

/// Transfer of the workspace to BuildKit, which takes only what has changed.
const READING: &str = "reading the changed files of the workspace";

/// Work before and between the steps of the Dockerfile.
const PLANNING: &str = "finding what has changed";

/// Reads the log of BuildKit and shows its steps.
pub(super) struct Activity {
    progress: Progress,
    /// Steps at work, by number.
    steps: BTreeMap<String, String>,
    shown: String,
    /// Number of the step that sends a large workspace.
    reading: Option<String>,
}

impl Activity {
    pub(super) fn new() -> Self {
        let progress = Progress::new("build");
        progress.waiting(PLANNING);
        Self { progress, steps: BTreeMap::new(), shown: PLANNING.to_owned(), reading: None }
    }

    /// Takes a line of the log, and the title of its step if that is one of the Dockerfile.
    pub(super) fn line(&mut self, line: &str, title: Option<&str>) {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
            return;
        };
        let word = rest.split(' ').next().unwrap_or_default();
        if let Some(size) = rest.strip_prefix("transferring context: ").and_then(number::docker_bytes) {
            return self.read(number, size);
        }
        if ["DONE", "CACHED", "ERROR", "CANCELED"].contains(&word) {
            self.steps.remove(number);
            if self.reading.take_if(|reading| reading == number).is_some() {
                let took = rest.split(' ').nth(1).and_then(|time| time.strip_suffix('s')).unwrap_or("?");
                self.progress.done(&format!("{READING}: {} in {took} s", ui::bytes(self.progress.gone())));
                self.shown.clear();
            }
        } else if rest.ends_with("exporting to image") {
            self.steps.insert(number.to_owned(), "storing the images".to_owned());
        } else if let Some(title) = title {
            self.steps.entry(number.to_owned()).or_insert_with(|| in_words(title));
        }
        self.show();
    }

    /// Shows how much of the workspace has been read.
    fn read(&mut self, number: &str, size: u64) {
        if self.reading.is_none() && size >= LARGE {
            self.reading = Some(number.to_owned());
            self.progress.doing(READING, None);
        }
        if self.reading.is_some() {
            self.progress.set(size);
        }
    }

    fn show(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let names: BTreeSet<&str> = self.steps.values().map(String::as_str).collect();
        let now = match names.is_empty() {
            true => PLANNING.to_owned(),
            false => names.into_iter().collect::<Vec<_>>().join(", "),
        };
        if now != self.shown {
            self.progress.waiting(&now);
            self.shown = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_while_they_run() {
        let mut activity = Activity::new();
        let title = |package: &str| format!("build-{package}: RUN build-package {package}");
        let mut shown = |line: &str, title: Option<&str>| {
            activity.line(line, title);
            activity.shown.clone()
        };
        assert_eq!(shown("#1 [internal] load build definition", None), PLANNING);
        assert_eq!(shown("#7 transferring context: 2.00kB done", None), PLANNING);
        assert_eq!(shown("#8 [build-lidar 1/1] RUN x", Some(&title("lidar"))), "building `lidar`");
        let both = "building `camera`, building `lidar`";
        assert_eq!(shown("#9 0.3 output", Some(&title("camera"))), both);
        assert_eq!(shown("#8 DONE 1.2s", Some(&title("lidar"))), "building `camera`");
        assert_eq!(
            shown("#10 [camera] exporting to image", Some("camera: exporting to image")),
            "building `camera`, storing the images"
        );
        assert_eq!(shown("#9 CANCELED", None), "storing the images");
    }

    #[test]
    fn a_large_workspace_is_shown_with_its_size() {
        let mut activity = Activity::new();
        activity.line("#7 transferring context: 49.00MB 1.1s", None);
        assert_eq!((activity.reading.is_some(), activity.progress.gone()), (false, 0));
        activity.line("#7 transferring context: 1.50GB 5.1s", None);
        assert_eq!((activity.reading.is_some(), activity.progress.gone()), (true, 1_500_000_000));
        activity.line("#7 DONE 5.2s", None);
        assert!(activity.reading.is_none());
    }
}
