//! Names under which a run keeps its images in the engine.
//!
//! `eurobot:navigation` is a name for people. Another clone of the project, or another run in this one, moves it to its
//! own image at any time, and the containerd store then deletes the one before. So a run reaches its images by a second
//! name, in a repository that no other run uses meanwhile: `eurobot/3f2a91c04b7e-0:navigation`.

use std::fs::File;
use std::sync::Arc;

use camino::Utf8Path;

use super::content_tag;
use crate::error::Result;
use crate::{files, process};

/// Most runs of one user and project at the same time.
const RUNS: u32 = 64;

/// A repository in the engine that belongs to this run until the value is dropped. The images stay for the next run.
#[derive(Debug)]
pub(super) struct OwnRepository {
    name: String,
    _lock: Option<File>,
}

impl OwnRepository {
    /// Takes the first repository of a project that no other run of this user has.
    pub(super) fn take(project: &str) -> Result<Arc<Self>> {
        Self::take_in(&files::home()?, project)
    }

    fn take_in(home: &Utf8Path, project: &str) -> Result<Arc<Self>> {
        let home_tag = content_tag([home.as_str()]);
        let owned =
            |number, lock| Arc::new(Self { name: format!("{project}/{home_tag}-{number}"), _lock: lock });
        // A dry run makes no files, and builds nothing either.
        if process::outcome_needed().is_err() {
            return Ok(owned(0, None));
        }
        let dir = home.join(".cache/xtask").join(project);
        for number in 0..RUNS {
            let lock = files::lock_file(&dir.join(format!("run-{number}.lock")))?;
            if lock.try_lock().is_ok() {
                return Ok(owned(number, Some(lock)));
            }
        }
        anyhow::bail!("{RUNS} builds of `{project}` are running")
    }

    /// A repository that no run has.
    #[cfg(test)]
    pub(super) fn testing() -> Arc<Self> {
        Arc::new(Self { name: "eurobot/test-0".to_owned(), _lock: None })
    }

    /// Name of an image of this run, given its name for people: `eurobot:navigation`.
    pub(super) fn of(&self, reference: &str) -> String {
        let tag = reference.rsplit(':').next().unwrap_or_default();
        format!("{}:{tag}", self.name)
    }
}

impl PartialEq for OwnRepository {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OwnRepository {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn runs_at_the_same_time_have_repositories_of_their_own() -> Result<()> {
        let home = tempfile::tempdir()?;
        let home = Utf8Path::from_path(home.path()).context("path")?;
        let (first, second) =
            (OwnRepository::take_in(home, "eurobot")?, OwnRepository::take_in(home, "eurobot")?);
        assert_ne!(first, second);
        let name = first.of("eurobot:navigation-linux-arm64");
        assert!(name.starts_with("eurobot/") && name.ends_with("-0:navigation-linux-arm64"), "{name}");
        drop(first);
        assert_eq!(OwnRepository::take_in(home, "eurobot")?.of("eurobot:navigation-linux-arm64"), name);
        Ok(())
    }
}
