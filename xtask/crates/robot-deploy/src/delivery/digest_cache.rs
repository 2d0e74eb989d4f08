//! What deliveries find out, and later ones need not find out again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use serde::de::DeserializeOwned;

use crate::files;
use crate::ui;

/// Remembers which manifest an image becomes, so that a robot that has it is recognised without sending it again; and
/// how many bytes a push takes that has no layers to carry.
///
/// An image of a classic store has no manifest: a push makes one, of compressed layers, and `docker save` another.
#[derive(Debug)]
pub struct DigestCache {
    pushed: Manifests,
    saved: Manifests,
    talk_file: Utf8PathBuf,
    overhead: Mutex<BTreeMap<usize, u64>>,
}

/// Digests of manifests by those of their configurations, as one way of delivery makes them.
#[derive(Debug)]
struct Manifests {
    file: Utf8PathBuf,
    known: Mutex<BTreeMap<String, String>>,
}

/// Bytes of the requests of a push, as Docker 26 makes them, with the login that each gets: besides, and per layer.
const TALK: (u64, u64) = (3_260, 841);

impl DigestCache {
    /// Reads what is remembered; a damaged or missing file costs one push each, nothing else.
    pub fn load(state_dir: &Utf8Path) -> Self {
        let talk_file = state_dir.join("push-talk.json");
        let (pushed, saved) = (state_dir.join("manifests.json"), state_dir.join("saved-manifests.json"));
        let overhead = Mutex::new(read(&talk_file));
        Self { pushed: Manifests::load(pushed), saved: Manifests::load(saved), talk_file, overhead }
    }

    /// Bytes that the requests of a push take whose layers are all there, besides manifest and configuration:
    /// as the last push of an image with as many layers took, else an estimate.
    pub fn push_overhead(&self, layers: usize) -> u64 {
        let known = self.overhead.lock().unwrap_or_else(PoisonError::into_inner).get(&layers).copied();
        known.unwrap_or(TALK.0 + TALK.1 * layers as u64)
    }

    /// Remembers what they took.
    pub fn record_overhead(&self, layers: usize, bytes: u64) {
        let mut overhead = self.overhead.lock().unwrap_or_else(PoisonError::into_inner);
        if overhead.insert(layers, bytes) != Some(bytes) {
            keep(&self.talk_file, &*overhead);
        }
    }

    /// The digest of the manifest that the image with this configuration digest became when it was pushed.
    pub fn pushed_as(&self, config: &str) -> Option<String> {
        self.pushed.of(config)
    }

    /// Remembers one that was pushed.
    pub fn record_pushed(&self, config: &str, manifest: &str) {
        self.pushed.remember(config, manifest);
    }

    /// The digest of configuration or manifest that belongs to the other one in an archive of `docker save`.
    pub fn saved_with(&self, digest: &str) -> Option<String> {
        self.saved.config_of(digest).or_else(|| self.saved.of(digest))
    }

    /// Remembers one that was in an archive.
    pub fn record_saved(&self, config: &str, manifest: &str) {
        self.saved.remember(config, manifest);
    }
}

impl Manifests {
    fn load(file: Utf8PathBuf) -> Self {
        let known = Mutex::new(read(&file));
        Self { file, known }
    }

    fn of(&self, config: &str) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(config).cloned()
    }

    fn config_of(&self, manifest: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find_map(|(config, known)| (known == manifest).then(|| config.clone()))
    }

    fn remember(&self, config: &str, manifest: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(config.to_owned(), manifest.to_owned()).as_deref() != Some(manifest) {
            keep(&self.file, &*known);
        }
    }
}

/// What is remembered in a file; nothing where it is damaged or missing.
fn read<T: DeserializeOwned + Default>(file: &Utf8Path) -> T {
    serde_json::from_str(&fs_err::read_to_string(file).unwrap_or_default()).unwrap_or_default()
}

/// Writes what is remembered. What cannot be kept, say on a full disk, costs a later run time: no reason to call a
/// delivery failed that has succeeded.
fn keep(file: &Utf8Path, digest_cache: &impl serde::Serialize) {
    let kept = serde_json::to_string_pretty(digest_cache)
        .map_err(Into::into)
        .and_then(|text| files::replace(file, &text));
    if let Err(error) = kept {
        ui::warn("memory", &format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    #[test]
    fn manifests_are_remembered_across_runs() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = Utf8Path::from_path(dir.path()).unwrap();
        DigestCache::load(path).record_pushed("sha256:c", "sha256:m");
        assert_eq!(DigestCache::load(path).pushed_as("sha256:c").as_deref(), Some("sha256:m"));
        fs_err::write(path.join("manifests.json"), "not json")?;
        assert_eq!(DigestCache::load(path).pushed_as("sha256:c"), None);

        // Where nothing can be kept, the same run remembers it all the same.
        fs_err::remove_file(path.join("manifests.json"))?;
        fs_err::create_dir(path.join("manifests.json"))?;
        let digest_cache = DigestCache::load(path);
        digest_cache.record_pushed("sha256:c", "sha256:m");
        assert_eq!(digest_cache.pushed_as("sha256:c").as_deref(), Some("sha256:m"));
        Ok(())
    }

    #[test]
    fn what_an_archive_has_says_nothing_of_pushes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = Utf8Path::from_path(dir.path()).unwrap();
        DigestCache::load(path).record_pushed("sha256:c", "sha256:pushed");
        DigestCache::load(path).record_saved("sha256:c", "sha256:saved");
        let digest_cache = DigestCache::load(path);
        assert_eq!(digest_cache.pushed_as("sha256:c").as_deref(), Some("sha256:pushed"));
        assert_eq!(digest_cache.saved_with("sha256:c").as_deref(), Some("sha256:saved"));
        assert_eq!(digest_cache.saved_with("sha256:saved").as_deref(), Some("sha256:c"));
        digest_cache.record_saved("sha256:d", "sha256:other");
        assert_eq!(
            (digest_cache.pushed_as("sha256:d"), digest_cache.saved_with("sha256:pushed")),
            (None, None)
        );
        Ok(())
    }
}
