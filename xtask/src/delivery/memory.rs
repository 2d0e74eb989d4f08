//! What deliveries find out, and later ones need not find out again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use crate::files;
use crate::ui;

/// Remembers which manifest an image of a classic store becomes when it is pushed, so that a robot that
/// has it is recognised without pushing again; and how many bytes a push takes that has no layers to carry.
#[derive(Debug)]
pub struct Memory {
    file: Utf8PathBuf,
    manifests: Mutex<BTreeMap<String, String>>,
    talk_file: Utf8PathBuf,
    talk: Mutex<BTreeMap<usize, u64>>,
}

/// What the requests of a push take, as Docker 26 makes them: besides, and per layer.
const TALK: (u64, u64) = (2_900, 722);

impl Memory {
    /// Reads what is remembered; a damaged or missing file costs one push each, nothing else.
    pub fn load(state_dir: &Utf8Path) -> Self {
        let (file, talk_file) = (state_dir.join("manifests.json"), state_dir.join("push-talk.json"));
        let text = |file| fs_err::read_to_string(file).unwrap_or_default();
        let manifests = Mutex::new(serde_json::from_str(&text(&file)).unwrap_or_default());
        let talk = Mutex::new(serde_json::from_str(&text(&talk_file)).unwrap_or_default());
        Self { file, manifests, talk_file, talk }
    }

    /// Bytes that the requests of a push take whose layers are all there, besides manifest and configuration:
    /// as the last push of an image with as many layers took, else an estimate.
    pub fn push_talk(&self, layers: usize) -> u64 {
        let known = self.talk.lock().unwrap_or_else(PoisonError::into_inner).get(&layers).copied();
        known.unwrap_or(TALK.0 + TALK.1 * layers as u64)
    }

    /// Remembers what they took.
    pub fn remember_talk(&self, layers: usize, bytes: u64) {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        if talk.insert(layers, bytes) != Some(bytes) {
            keep(&self.talk_file, &*talk);
        }
    }

    /// The manifest digest of the image with this configuration digest.
    pub fn manifest_of(&self, config: &str) -> Option<String> {
        self.manifests.lock().unwrap_or_else(PoisonError::into_inner).get(config).cloned()
    }

    /// The configuration digest of the image with this manifest digest.
    pub fn config_of(&self, manifest: &str) -> Option<String> {
        let manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.iter().find_map(|(config, known)| (known == manifest).then(|| config.clone()))
    }

    /// Remembers one.
    pub fn remember(&self, config: &str, manifest: &str) {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        if manifests.insert(config.to_owned(), manifest.to_owned()).as_deref() != Some(manifest) {
            keep(&self.file, &*manifests);
        }
    }
}

/// Writes what is remembered. What cannot be kept, say on a full disk, costs a later run time: no reason to call a
/// delivery failed that has succeeded.
fn keep(file: &Utf8Path, memory: &impl serde::Serialize) {
    let kept =
        serde_json::to_string_pretty(memory).map_err(Into::into).and_then(|text| files::replace(file, &text));
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
        Memory::load(path).remember("sha256:c", "sha256:m");
        assert_eq!(Memory::load(path).config_of("sha256:m").as_deref(), Some("sha256:c"));
        assert_eq!(Memory::load(path).manifest_of("sha256:c").as_deref(), Some("sha256:m"));
        fs_err::write(path.join("manifests.json"), "not json")?;
        assert_eq!(Memory::load(path).manifest_of("sha256:c"), None);

        // Where nothing can be kept, the same run remembers it all the same.
        fs_err::remove_file(path.join("manifests.json"))?;
        fs_err::create_dir(path.join("manifests.json"))?;
        let memory = Memory::load(path);
        memory.remember("sha256:c", "sha256:m");
        assert_eq!(memory.manifest_of("sha256:c").as_deref(), Some("sha256:m"));
        Ok(())
    }
}
