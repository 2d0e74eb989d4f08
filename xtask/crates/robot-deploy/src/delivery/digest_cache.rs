//! Digest cache: results of earlier deliveries, in files of the workspace.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::files;
use crate::image::ImageId;
use crate::ui;

/// Maps configurations of images to the manifests that deliveries made of them, to recognise images that a
/// robot has. Also has the speed of deliveries to each robot.
///
/// An image in a classic store has no manifest: `docker push` makes one with compressed layers, `docker save`
/// another.
#[derive(Debug)]
pub(crate) struct DigestCache {
    pushed: Manifests,
    saved: Manifests,
    speed_file: Utf8PathBuf,
    /// Bytes per second by robot.
    speeds: Mutex<BTreeMap<String, u64>>,
}

/// Digests of manifests by the digests of their configurations.
#[derive(Debug)]
struct Manifests {
    file: Utf8PathBuf,
    known: Mutex<BTreeMap<String, String>>,
}

/// Fewest bytes whose duration tells the speed of a link.
const LARGE: u64 = 1_000_000;

impl DigestCache {
    /// Reads the files. A damaged or missing file is as good as an empty one and costs a push for each image.
    pub(crate) fn load(state_dir: &Utf8Path) -> Self {
        let speed_file = state_dir.join("speeds.json");
        let (pushed, saved) = (state_dir.join("manifests.json"), state_dir.join("saved-manifests.json"));
        let speeds = Mutex::new(read(&speed_file));
        Self { pushed: Manifests::load(pushed), saved: Manifests::load(saved), speed_file, speeds }
    }

    /// Bytes per second of the last large delivery to a robot.
    pub(crate) fn speed(&self, robot: &str) -> Option<u64> {
        self.speeds.lock().get(robot).copied()
    }

    /// Records the speed of a delivery, unless it was too small to tell.
    pub(crate) fn record_speed(&self, robot: &str, bytes: u64, time: Duration) {
        if bytes >= LARGE {
            let mut speeds = self.speeds.lock();
            let speed = u128::from(bytes) * 1000 / time.as_millis().max(1);
            speeds.insert(robot.to_owned(), u64::try_from(speed).unwrap_or(u64::MAX));
            write(&self.speed_file, &*speeds);
        }
    }

    /// Digest of the manifest with which the image with this configuration was pushed.
    pub(crate) fn pushed_as(&self, config: &str) -> Option<String> {
        self.pushed.of(config)
    }

    /// Digest of the manifest that an image has on robots, if it is known.
    pub(crate) fn manifest_of(&self, id: &ImageId) -> Option<String> {
        match id {
            ImageId::Manifest(digest) => Some(digest.clone()),
            ImageId::Config(config) => self.pushed_as(config),
        }
    }

    pub(crate) fn record_pushed(&self, config: &str, manifest: &str) {
        self.pushed.record(config, manifest);
    }

    /// Digest of the configuration of this manifest, or of the manifest of this configuration, in an archive
    /// of `docker save`.
    pub(crate) fn saved_with(&self, digest: &str) -> Option<String> {
        self.saved.config_of(digest).or_else(|| self.saved.of(digest))
    }

    /// Records the manifest of an image in an archive.
    pub(crate) fn record_saved(&self, config: &str, manifest: &str) {
        self.saved.record(config, manifest);
    }
}

impl Manifests {
    fn load(file: Utf8PathBuf) -> Self {
        let known = Mutex::new(read(&file));
        Self { file, known }
    }

    fn of(&self, config: &str) -> Option<String> {
        self.known.lock().get(config).cloned()
    }

    fn config_of(&self, manifest: &str) -> Option<String> {
        let known = self.known.lock();
        known.iter().find_map(|(config, known)| (known == manifest).then(|| config.clone()))
    }

    fn record(&self, config: &str, manifest: &str) {
        let mut known = self.known.lock();
        if known.insert(config.to_owned(), manifest.to_owned()).as_deref() != Some(manifest) {
            write(&self.file, &*known);
        }
    }
}

/// Reads a file; the default if it is damaged or missing.
fn read<T: DeserializeOwned + Default>(file: &Utf8Path) -> T {
    serde_json::from_str(&fs_err::read_to_string(file).unwrap_or_default()).unwrap_or_default()
}

/// Writes a file. An error, for example a full disk, is only a warning: the delivery itself succeeds, and a
/// later one takes longer.
fn write(file: &Utf8Path, known: &impl serde::Serialize) {
    let written =
        serde_json::to_string_pretty(known).map_err(Into::into).and_then(|text| files::replace(file, &text));
    if let Err(error) = written {
        ui::warn("digest cache", &format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    #[test]
    fn manifests_are_known_in_later_runs() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = Utf8Path::from_path(dir.path()).unwrap();
        DigestCache::load(path).record_pushed("sha256:c", "sha256:m");
        assert_eq!(DigestCache::load(path).pushed_as("sha256:c").as_deref(), Some("sha256:m"));
        fs_err::write(path.join("manifests.json"), "not json")?;
        assert_eq!(DigestCache::load(path).pushed_as("sha256:c"), None);

        // Within a run they are known even if they cannot be written.
        fs_err::remove_file(path.join("manifests.json"))?;
        fs_err::create_dir(path.join("manifests.json"))?;
        let digest_cache = DigestCache::load(path);
        digest_cache.record_pushed("sha256:c", "sha256:m");
        assert_eq!(digest_cache.pushed_as("sha256:c").as_deref(), Some("sha256:m"));
        Ok(())
    }

    #[test]
    fn only_a_large_delivery_tells_a_robots_speed() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let digest_cache = DigestCache::load(path);
        digest_cache.record_speed("main", 999_999, Duration::from_secs(1));
        assert_eq!(DigestCache::load(path).speed("main"), None);
        digest_cache.record_speed("main", 6_000_000, Duration::from_secs(2));
        digest_cache.record_speed("main", 100, Duration::from_secs(1));
        let later = DigestCache::load(path);
        assert_eq!((later.speed("main"), later.speed("secondary")), (Some(3_000_000), None));
        Ok(())
    }

    #[test]
    fn manifests_of_archives_and_pushes_are_kept_apart() -> Result<()> {
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
