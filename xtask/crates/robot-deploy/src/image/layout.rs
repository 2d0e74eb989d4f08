//! Layers of built images as files: an OCI image layout that images are pushed into.
//!
//! A delta from a layer that a robot has to a layer that it lacks needs both layers here, uncompressed. An
//! export adds only the blobs that the layout lacks.
//!
//! OCI image specification, image layout and image manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write as _};
use std::time::SystemTime;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Builder;
use super::oci::{Descriptor, MANIFEST_TYPE, OciManifest};
use crate::config::{Store, Workspace};
use crate::digest::Digest;
use crate::error::Result;
use crate::files;

/// Most bytes of all layers on this machine's disk; above it the least recently used layers are evicted.
pub const LIMIT: u64 = 8_000_000_000;

/// Export options for uncompressed layers, which can be compared with each other.
pub const UNCOMPRESSED: &str = "compression=uncompressed,force-compression=true,oci-mediatypes=true";

/// OCI image layout of a workspace.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) dir: Utf8PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// Digest of the uncompressed archive.
    pub digest: Digest,
    /// Size in bytes of the uncompressed archive.
    pub size: u64,
    pub created_by: String,
}

/// Image in the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    history: Vec<History>,
}

#[derive(Deserialize)]
struct History {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

impl Layout {
    /// Layout of a workspace, which may not exist yet.
    pub fn of(workspace: &Workspace) -> Self {
        Self::at(workspace.state_dir().join("layers"))
    }

    pub fn at(dir: Utf8PathBuf) -> Self {
        Self { dir }
    }

    /// Path of a blob, whether it exists or not.
    pub fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    pub fn blobs(&self) -> BTreeSet<Digest> {
        let entries = self.dir.join("blobs/sha256").read_dir_utf8().into_iter().flatten();
        entries.filter_map(|entry| Digest::from_hex(entry.ok()?.file_name())).collect()
    }

    /// Returns whether the content of a blob has the digest of its name.
    pub fn is_intact(&self, digest: &Digest) -> Result<bool> {
        Ok(files::digest(fs_err::File::open(self.blob(digest))?)? == *digest)
    }

    /// Instructions that created the layers of all images, by the layers' digests.
    pub fn histories(&self) -> BTreeMap<Digest, String> {
        let index = self.index();
        let manifests = index["manifests"].as_array().into_iter().flatten();
        let images = manifests.filter_map(|manifest| self.image(&digest_of(manifest)?));
        images.flat_map(|image| image.layers).map(|layer| (layer.digest, layer.created_by)).collect()
    }

    /// Removes a damaged blob, so that the next export writes it again.
    pub fn discard(&self, digest: &Digest) -> Result<()> {
        Ok(fs_err::remove_file(self.blob(digest))?)
    }

    /// Stores a blob that is being pushed. Nothing is kept of a blob that is truncated or has another digest.
    pub fn receive(&self, blob: &mut impl Read, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        let (work, dir) = (self.dir.join("ingest"), self.dir.join("blobs/sha256"));
        fs_err::create_dir_all(&work)?;
        fs_err::create_dir_all(&dir)?;
        let mut file =
            tempfile::NamedTempFile::new_in(&work).with_context(|| format!("create a file in `{work}`"))?;
        let arrived = files::digest(Tee { from: blob, to: file.as_file_mut() })?;
        anyhow::ensure!(arrived == *digest, "the blob pushed as {digest} has the digest {arrived}");
        file.persist(&path).with_context(|| format!("store a layer in `{dir}`"))?;
        Ok(())
    }

    /// Stores a manifest that is being pushed and adds it to the index; returns its digest.
    pub fn receive_manifest(&self, manifest: &[u8]) -> Result<Digest> {
        let digest = Digest::of(manifest);
        self.receive(&mut &*manifest, &digest)?;
        let mut index = self.index();
        let known = index["manifests"].as_array_mut().context("read the index of the layers")?;
        if !known.iter().any(|one| one["digest"] == *digest) {
            known.push(json!({ "mediaType": MANIFEST_TYPE, "digest": digest, "size": manifest.len() }));
            files::replace(&self.dir.join("index.json"), &index.to_string())?;
            files::replace(&self.dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(digest)
    }

    /// Index of the images; empty if there is no readable one.
    fn index(&self) -> Value {
        let text = fs_err::read_to_string(self.dir.join("index.json")).unwrap_or_default();
        let index = serde_json::from_str(&text).ok().filter(|index: &Value| index["manifests"].is_array());
        index.unwrap_or_else(|| json!({ "schemaVersion": 2, "manifests": [] }))
    }

    /// Removes files of an image that have the wrong size, and a damaged manifest or configuration.
    pub(super) fn discard_incomplete(&self, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        if !path.exists() {
            return Ok(());
        }
        if !self.is_intact(digest)? {
            return Ok(fs_err::remove_file(path)?);
        }
        let manifest: OciManifest =
            serde_json::from_slice(&fs_err::read(path)?).context("read a manifest")?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let path = self.blob(&blob.digest);
            let is_config = blob.digest == manifest.config.digest;
            let size = path.metadata().ok().map(|metadata| metadata.len());
            let damaged = size.is_some_and(|size| size != blob.size)
                || (is_config && size.is_some() && !self.is_intact(&blob.digest)?);
            if damaged {
                fs_err::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Returns an image if all its files are in the layout.
    pub fn image(&self, digest: &Digest) -> Option<Exported> {
        let text = fs_err::read(self.blob(digest)).ok()?;
        let manifest: OciManifest = serde_json::from_slice(&text).ok()?;
        let complete = |blob: &Descriptor| {
            self.blob(&blob.digest).metadata().is_ok_and(|metadata| metadata.len() == blob.size)
        };
        if !complete(&manifest.config) || !manifest.layers.iter().all(complete) {
            return None;
        }
        let config = fs_err::read(self.blob(&manifest.config.digest)).ok()?;
        let config: Config = serde_json::from_slice(&config).ok()?;
        // The history may be shorter than the list of layers.
        let mut instructions =
            config.history.into_iter().filter(|step| !step.empty_layer).map(|step| step.created_by);
        let layer = |blob: Descriptor| Layer {
            digest: blob.digest,
            size: blob.size,
            created_by: instructions.next().unwrap_or_default(),
        };
        Some(Exported { digest: digest.clone(), layers: manifest.layers.into_iter().map(layer).collect() })
    }

    /// Reads the manifest and the configuration of an image in the layout.
    pub fn manifest_and_config(&self, digest: &Digest) -> Result<(Vec<u8>, Vec<u8>)> {
        let text = fs_err::read(self.blob(digest))?;
        let manifest: OciManifest = serde_json::from_slice(&text).context("read a manifest")?;
        Ok((text, fs_err::read(self.blob(&manifest.config.digest))?))
    }

    /// Marks blobs as used now, so that they are evicted last.
    pub fn touch<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) {
        for digest in digests {
            // A time that cannot be set only means that the blob is evicted earlier. Blobs may be read-only;
            // their owner can still set their times.
            let file = File::open(self.blob(digest));
            drop(file.and_then(|file| file.set_modified(SystemTime::now())));
        }
    }

    /// Evicts the least recently used blobs until the rest takes no more than `limit` bytes. Images that lose
    /// a layer are exported again when they are needed.
    pub fn evict(&self, limit: u64) -> Result<u64> {
        // While another run exports, nothing is removed.
        self.free(|blobs| files::evict(blobs, limit)).map(Option::unwrap_or_default)
    }

    /// Removes the blobs that do not belong to `images`, given by the digests of their manifests. Returns the
    /// freed bytes, or `None` while another run exports.
    pub fn retain(&self, images: &BTreeSet<Digest>) -> Result<Option<u64>> {
        let mut kept = images.clone();
        for image in images.iter().filter_map(|digest| self.image(digest)) {
            let manifest: OciManifest = serde_json::from_slice(&fs_err::read(self.blob(&image.digest))?)
                .context("read a manifest")?;
            kept.insert(manifest.config.digest);
            kept.extend(image.layers.into_iter().map(|layer| layer.digest));
        }
        self.free(|_| {
            let others = self.blobs().into_iter().filter(|digest| !kept.contains(digest));
            others.map(|digest| files::remove(&self.blob(&digest))).sum()
        })
    }

    /// Calls `remove` with the directory of blobs and returns the freed bytes; `None` while another run
    /// exports.
    fn free(&self, remove: impl FnOnce(&Utf8Path) -> Result<u64>) -> Result<Option<u64>> {
        let blobs = self.dir.join("blobs/sha256");
        if !blobs.is_dir() {
            return Ok(Some(0));
        }
        let lock = files::lock_file(&self.dir.join("lock"))?;
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        // Interrupted exports leave unfinished files.
        let unfinished = self.dir.join("ingest");
        if unfinished.exists() {
            fs_err::remove_dir_all(unfinished)?;
        }
        let freed = remove(&blobs)?;
        if freed > 0 {
            self.prune_index()?;
        }
        Ok(Some(freed))
    }

    /// Removes incomplete images from the index.
    fn prune_index(&self) -> Result<()> {
        let mut index = self.index();
        let is_complete =
            |manifest: &Value| digest_of(manifest).is_some_and(|digest| self.image(&digest).is_some());
        let manifests: Vec<Value> = index["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|manifest| is_complete(manifest))
            .cloned()
            .collect();
        index["manifests"] = Value::from(manifests);
        files::replace(&self.dir.join("index.json"), &index.to_string())
    }
}

/// Digest in an entry of the index.
fn digest_of(manifest: &Value) -> Option<Digest> {
    manifest["digest"].as_str()?.parse().ok()
}

/// Reader that also writes everything it reads to a file.
struct Tee<'a, R> {
    from: R,
    to: &'a mut File,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.to.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Returns whether images of this builder can be exported with the digests that they have in the engine's
/// store.
pub fn can_export(builder: Builder) -> bool {
    builder == Builder::Engine { store: Store::Containerd }
}

/// Content of a layout, for tests.
#[cfg(test)]
pub mod testing {
    use camino::Utf8Path;

    use super::*;

    impl Layout {
        /// Adds a blob and returns its digest.
        pub fn put(&self, bytes: &[u8]) -> Digest {
            let digest = Digest::of(bytes);
            let path = self.blob(&digest);
            fs_err::create_dir_all(path.parent().unwrap_or(Utf8Path::new("."))).unwrap();
            fs_err::write(path, bytes).unwrap();
            digest
        }

        /// Adds an image of these layers and returns the digest of its manifest.
        pub fn put_image(&self, layers: &[&[u8]]) -> Digest {
            let history: Vec<Value> =
                (0..layers.len()).map(|number| json!({ "created_by": format!("step {number}") })).collect();
            let config = json!({ "history": history }).to_string();
            let descriptor = |bytes: &[u8]| json!({ "digest": self.put(bytes), "size": bytes.len() });
            let manifest = json!({
                "config": descriptor(config.as_bytes()),
                "layers": layers.iter().map(|layer| descriptor(layer)).collect::<Vec<_>>(),
            });
            self.put(manifest.to_string().as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::fuzz::fuzz;
    use crate::process;

    fn layout(guard: &tempfile::TempDir) -> Layout {
        Layout::at(Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap())
    }

    #[test]
    fn fuzzed_manifests_lead_to_no_other_file() {
        let image = format!(
            r#"{{"config":{{"digest":"{}","size":2}},"layers":[{{"digest":"sha256:../../../outside","size":4}}]}}"#,
            Digest::of(b"{}")
        );
        let other = image.replace("sha256:../../../outside", Digest::of(b"one").as_str());
        fuzz("layout", 200, &[image.as_bytes(), other.as_bytes()], |bytes| {
            let guard = tempfile::tempdir().unwrap();
            let top = Utf8PathBuf::from_path_buf(guard.path().join("a/b/c/d")).unwrap();
            let layout = Layout::at(top.join("layers"));
            layout.put(b"{}");
            layout.put(b"one");
            fs_err::write(top.join("outside"), "outside").unwrap();
            let Ok(digest) = layout.receive_manifest(bytes) else { return };
            drop((layout.discard_incomplete(&digest), layout.image(&digest), layout.histories()));
            drop((layout.retain(&[digest].into()), layout.evict(0)));
            assert_eq!(fs_err::read_to_string(top.join("outside")).unwrap_or_default(), "outside");
        });
    }

    #[test]
    fn an_image_is_there_when_all_its_files_are() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let layout = layout(&guard);
        let digest = layout.put_image(&[b"one", b"two"]);
        let image = layout.image(&digest).unwrap();
        assert_eq!(image.layers[1].created_by, "step 1");
        assert_eq!(image.layers[0].size, 3);
        let path = layout.blob(&image.layers[0].digest);
        fs_err::write(&path, "o")?;
        assert_eq!(layout.image(&digest), None);
        layout.discard(&image.layers[0].digest)?;
        assert_eq!(layout.image(&digest), None);
        Ok(())
    }

    #[test]
    fn the_least_recently_used_blob_is_evicted_first() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let layout = layout(&guard);
        let (old, new) = (layout.put(&[1; 600]), layout.put(&[2; 600]));
        for digest in [&old, &new] {
            File::options().append(true).open(layout.blob(digest))?.set_modified(SystemTime::UNIX_EPOCH)?;
        }
        layout.touch([&new]);
        assert_eq!(layout.evict(2000)?, 0);
        // A child that another test is starting inherits the lock until its `exec`.
        let evicted = || Some(layout.evict(1000)?).filter(|bytes| *bytes > 0).context("locked");
        assert_eq!(process::poll("the lock to be free", Duration::from_secs(20), evicted)?, 600);
        assert_eq!(layout.blobs(), [new].into());
        Ok(())
    }
}
