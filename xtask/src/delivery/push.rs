//! `docker push` into a tunnel, and what its output says of the layers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::Result;
use crate::files;
use crate::image::{Builder, Built};
use crate::process::Cmd;
use crate::ui;

/// The commands that push one image, and take back what they leave behind.
#[derive(Debug)]
pub struct Push {
    name: String,
    steps: Vec<Cmd>,
    temporary_tag: bool,
}

impl Push {
    /// To the registry behind `port`, as `repository:image`.
    ///
    /// # Errors
    /// Fails when a build's definition cannot be written.
    pub fn new(builder: Builder, repository: &str, built: &Built, port: u16) -> Result<Self> {
        let name = format!("{}/{repository}:{}", builder.registry_host(port), built.wanted.image);
        let docker = |args: &[&str]| Cmd::new("docker").args(args.iter().copied());
        let (steps, temporary_tag) = match builder {
            Builder::Engine { .. } => {
                (vec![docker(&["tag", &built.reference, &name]), docker(&["push", &name])], true)
            }
            // The engine would insist on TLS: our own builder pushes what it has just built.
            Builder::Container => (vec![built.push_from_builder(&name)?], false),
        };
        Ok(Self { name, steps, temporary_tag })
    }

    /// Pushes, and says what became of the layers.
    ///
    /// # Errors
    /// Fails when the push fails. The temporary tag is gone in any case.
    pub fn run(&self) -> Result<Layers> {
        let _guard = TemporaryTag(self.temporary_tag.then_some(self.name.as_str()));
        let mut output = String::new();
        for step in &self.steps {
            output = step.run_for_output()?;
        }
        Ok(Layers::parse(&output))
    }
}

/// Removes the tag that `docker push` needed, however the push ended.
struct TemporaryTag<'a>(Option<&'a str>);

impl Drop for TemporaryTag<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.0 {
            Cmd::new("docker").args(["image", "rm", name]).clean_up();
        }
    }
}

/// Layers by what a push did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// Those that travelled.
    pub sent: usize,
    /// Those that the registry had.
    pub reused: usize,
}

impl Layers {
    /// Counts the closing lines of `docker push`, one for each layer.
    pub fn parse(output: &str) -> Self {
        let count = |endings: &[&str]| {
            output.lines().filter(|line| endings.iter().any(|ending| line.contains(ending))).count()
        };
        Self { sent: count(&[": Pushed"]), reused: count(&[": Layer already exists", ": Mounted from"]) }
    }
}

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

    #[test]
    fn layers_are_counted_by_their_closing_lines() {
        let output = "The push refers to repository [localhost:5000/eurobot]\n\
                      1a2b: Preparing\n1a2b: Pushing  512B/3kB\n3c4d: Layer already exists\n\
                      5e6f: Mounted from eurobot\n1a2b: Pushed\nnavigation: digest: sha256:aa size: 1234";
        assert_eq!(Layers::parse(output), Layers { sent: 1, reused: 2 });
    }

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
