//! Runs `robot-side/registry_prune.py` on the files of a registry in a temporary directory.

use std::fs::File;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;

use super::REGISTRY_PRUNE;
use crate::digest::Digest;
use crate::process::Cmd;

/// A registry without a process: its files, and a `docker-registry` that only records its arguments.
struct Registry {
    dir: tempfile::TempDir,
}

impl Registry {
    /// An empty registry; none if this machine has no Python to run the program.
    fn new() -> Option<Self> {
        if !Cmd::new("python3").args(["-c", "pass"]).succeeds().unwrap_or_default() {
            println!("the program is not run: this machine has no Python");
            return None;
        }
        let registry = Self { dir: tempfile::tempdir().unwrap() };
        for dir in ["registry/courier", "registry/docker/registry/v2/repositories", "fd", "bin"] {
            fs_err::create_dir_all(registry.path(dir)).unwrap();
        }
        let fake = registry.path("bin/docker-registry");
        fs_err::write(&fake, format!("#!/bin/sh\necho \"$@\" >{}\n", registry.path("collected"))).unwrap();
        Cmd::new("chmod").args(["755", fake.as_str()]).run().unwrap();
        Some(registry)
    }

    fn path(&self, file: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.dir.path()).unwrap().join(file)
    }

    fn repository(&self, file: &str) -> Utf8PathBuf {
        self.path("registry/docker/registry/v2/repositories/eurobot/_manifests").join(file)
    }

    /// Directory of a blob.
    fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.path("registry/docker/registry/v2/blobs/sha256").join(&digest.hex()[..2]).join(digest.hex())
    }

    /// Adds a blob and returns its digest.
    fn add(&self, content: &str) -> Digest {
        let digest = Digest::of(content);
        fs_err::create_dir_all(self.blob(&digest)).unwrap();
        fs_err::write(self.blob(&digest).join("data"), content).unwrap();
        digest
    }

    /// Adds an image with one layer to the repository and returns the digest of its manifest.
    fn add_image(&self, layer: &str) -> Digest {
        let (config, layer) = (self.add(&format!("config of {layer}")), self.add(layer));
        let manifest = json!({ "config": { "digest": config }, "layers": [{ "digest": layer }] });
        let digest = self.add(&manifest.to_string());
        let dir = self.repository(&format!("revisions/sha256/{}", digest.hex()));
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(dir.join("link"), digest.as_str()).unwrap();
        digest
    }

    /// Runs the program and returns its output.
    fn run(&self, verb: &str, stored: &[&Digest]) -> String {
        let program = REGISTRY_PRUNE
            .replace("/var/lib/registry", self.path("registry").as_str())
            .replace("/proc/1/fd", self.path("fd").as_str());
        let path = format!("{}:{}", self.path("bin"), std::env::var("PATH").unwrap());
        let python = Cmd::new("python3").args(["-c", &program, verb, "eurobot"]).env("PATH", &path);
        python.args(stored.iter().map(|digest| digest.as_str())).read().unwrap()
    }

    /// Names of the repository's tags.
    fn tags(&self) -> Vec<String> {
        let mut tags: Vec<String> = fs_err::read_dir(self.repository("tags"))
            .unwrap()
            .map(|tag| tag.unwrap().file_name().into_string().unwrap())
            .collect();
        tags.sort();
        tags
    }

    fn has_collected(&self) -> bool {
        self.path("collected").exists()
    }
}

fn tag_of(manifest: &Digest) -> String {
    format!("kept-{}", manifest.hex())
}

#[test]
fn stored_releases_are_tagged_and_the_tags_of_others_go() {
    let Some(registry) = Registry::new() else { return };
    let [old, new] = ["old layer", "new layer"].map(|layer| registry.add_image(layer));
    let garbage = registry.run("count", &[&new]).trim().parse::<usize>().unwrap();
    let manifest = fs_err::read(registry.blob(&old).join("data")).unwrap();
    assert_eq!(garbage, "old layer".len() + "config of old layer".len() + manifest.len());
    assert_eq!(registry.run("count", &[&old, &new]).trim(), "0");

    assert_eq!(registry.run("collect", &[&old, &new]), "");
    assert!(registry.has_collected());
    let mut both = [tag_of(&old), tag_of(&new)];
    both.sort();
    assert_eq!(registry.tags(), both);
    // A tag of a person stays, and keeps its manifest.
    fs_err::create_dir_all(registry.repository("tags/by-hand/current")).unwrap();
    fs_err::write(registry.repository("tags/by-hand/current/link"), old.as_str()).unwrap();
    assert_eq!(registry.run("count", &[&new]).trim(), "0");
    registry.run("collect", &[&new]);
    assert_eq!(registry.tags(), ["by-hand".to_owned(), tag_of(&new)]);
}

#[test]
fn nothing_changes_during_a_transfer_or_a_push() {
    let Some(registry) = Registry::new() else { return };
    let image = registry.add_image("layer");
    let lock = File::create(registry.path("registry/courier/lock")).unwrap();
    lock.try_lock().unwrap();
    assert_eq!(registry.run("collect", &[&image]).trim(), "busy");
    drop(lock);

    fs_err::create_dir_all(registry.path("_uploads")).unwrap();
    let upload = File::create(registry.path("_uploads/data")).unwrap();
    std::os::unix::fs::symlink(registry.path("_uploads/data"), registry.path("fd/7")).unwrap();
    assert_eq!(registry.run("collect", &[&image]).trim(), "busy");
    assert!(!registry.has_collected() && !registry.repository("tags").exists());

    // An upload that has received nothing for a long time is dead.
    upload.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(11 * 60)).unwrap();
    assert_eq!(registry.run("collect", &[&image]), "");
    assert!(registry.has_collected());
    assert_eq!(registry.tags(), [tag_of(&image)]);
}
