//! The layers of built images as files: an OCI image layout that images are pushed into.
//!
//! Robots get what changed between a layer they have and a layer they lack; for that both have to be here,
//! uncompressed. An export brings only the blobs that the layout lacks.
//!
//! OCI image specification, image layout and image manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write as _};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use serde_json::{Value, json};

use super::oci::{Descriptor, OciManifest};
use super::prefix_image::PrefixImage;
use super::push::Push;
use super::receiver::Receiver;
use super::{Builder, Built, ImageId};
use crate::config::{Store, Workspace};
use crate::digest::Digest;
use crate::error::{Result, explained};
use crate::{files, process};

/// Bytes that layers may take on this machine's disk before those that have not been used for longest go.
pub const LIMIT: u64 = 8_000_000_000;

/// How layers leave BuildKit: as they are, so that two of them can be compared.
pub const UNCOMPRESSED: &str = "compression=uncompressed,force-compression=true,oci-mediatypes=true";

/// How long another run may take for writing its layers.
const OTHERS: Duration = Duration::from_secs(600);

/// The layout of a workspace.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: Utf8PathBuf,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    /// The digest of the uncompressed archive.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
    /// The instruction that made it.
    pub created_by: String,
}

/// An image in the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Bytes of the manifest and of the image's configuration.
    pub own_bytes: u64,
    /// Its layers, lowest first.
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
    /// The layout of a workspace; it need not exist yet.
    pub fn of(workspace: &Workspace) -> Self {
        Self::at(workspace.state_dir().join("layers"))
    }

    /// The layout in a directory.
    pub fn at(dir: Utf8PathBuf) -> Self {
        Self { dir }
    }

    /// Where a blob is, if it is there.
    pub fn blob(&self, digest: &Digest) -> Utf8PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// The digests of all blobs.
    pub fn blobs(&self) -> BTreeSet<Digest> {
        let entries = self.dir.join("blobs/sha256").read_dir_utf8().into_iter().flatten();
        entries.filter_map(|entry| Digest::from_hex(entry.ok()?.file_name())).collect()
    }

    /// Whether a blob is what its name says.
    ///
    /// # Errors
    /// Fails when it cannot be read.
    pub fn is_intact(&self, digest: &Digest) -> Result<bool> {
        Ok(files::digest(fs_err::File::open(self.blob(digest))?)? == *digest)
    }

    /// What made the layers of all images in the layout, by the layers' digests.
    pub fn histories(&self) -> BTreeMap<Digest, String> {
        let index = self.index();
        let manifests = index["manifests"].as_array().into_iter().flatten();
        let images = manifests.filter_map(|manifest| self.image(&digest_of(manifest)?));
        images.flat_map(|image| image.layers).map(|layer| (layer.digest, layer.created_by)).collect()
    }

    /// Forgets a blob that is not what its name says, so that the next export brings it again.
    ///
    /// # Errors
    /// Fails when the file cannot be removed.
    pub fn discard(&self, digest: &Digest) -> Result<()> {
        Ok(fs_err::remove_file(self.blob(digest))?)
    }

    /// Brings what the layout lacks of an image.
    ///
    /// # Errors
    /// Fails when the engine keeps images in a way that cannot be exported, when the push or the disk fails, or when
    /// the image has been built anew meanwhile.
    pub fn export(&self, builder: Builder, built: &Built) -> Result<Exported> {
        let ImageId::Manifest(digest) = &built.id else {
            anyhow::bail!("this machine's engine keeps images in the classic store");
        };
        let digest = &digest.parse().with_context(|| format!("read the digest of `{}`", built.reference))?;
        fs_err::create_dir_all(&self.dir)?;
        // Two that write the same blob at a time are in each other's way.
        let lock = File::create(self.dir.join("lock")).context("lock the layers")?;
        process::poll("another run to export its layers", OTHERS, || Ok(lock.try_lock()?))?;
        if let Some(image) = self.image(digest) {
            return Ok(image);
        }
        let receiver = Receiver::start(self)?;
        let repository = receiver.repository(built.repository());
        let push = Push::new(builder, &repository, built, receiver.port())?;
        // What is there is not pushed again, whole or not. What the manifest tells of is known once it is here.
        for _ in 0..2 {
            self.discard_incomplete(digest)?;
            push.run().map_err(|error| self.cannot_export(error, receiver.failure()))?;
            if let Some(image) = self.image(digest) {
                return Ok(image);
            }
        }
        anyhow::bail!("the images were built anew while they were deployed")
    }

    /// What could not be taken here explains what Docker says of its push.
    fn cannot_export(&self, error: anyhow::Error, failure: Option<anyhow::Error>) -> anyhow::Error {
        explained(error, |error| {
            failure.unwrap_or(error).context(format!("layers cannot be exported to `{}`", self.dir))
        })
    }

    /// Takes a blob that is being pushed.
    ///
    /// # Errors
    /// Fails when it breaks off, is not what it is called, or cannot be written; nothing of it is kept then.
    pub fn receive(&self, blob: &mut impl Read, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        let (work, dir) = (self.dir.join("ingest"), self.dir.join("blobs/sha256"));
        fs_err::create_dir_all(&work)?;
        fs_err::create_dir_all(&dir)?;
        let mut file =
            tempfile::NamedTempFile::new_in(&work).with_context(|| format!("make a file in `{work}`"))?;
        let arrived = files::digest(Tee { from: blob, to: file.as_file_mut() })?;
        anyhow::ensure!(arrived == *digest, "what is pushed as {digest} is not what it is called");
        file.persist(&path).with_context(|| format!("keep a layer in `{dir}`"))?;
        Ok(())
    }

    /// Takes a manifest that is being pushed; gives its digest.
    ///
    /// # Errors
    /// As [`Layout::receive`].
    pub fn receive_manifest(&self, manifest: &[u8]) -> Result<Digest> {
        let digest = Digest::of(manifest);
        self.receive(&mut &*manifest, &digest)?;
        let mut index = self.index();
        let known = index["manifests"].as_array_mut().context("read the index of the layers")?;
        if !known.iter().any(|one| one["digest"] == *digest) {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            known.push(json!({ "mediaType": kind, "digest": digest, "size": manifest.len() }));
            files::replace(&self.dir.join("index.json"), &index.to_string())?;
            files::replace(&self.dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(digest)
    }

    /// The index of the images; an empty one where there is none that can be read.
    fn index(&self) -> Value {
        let text = fs_err::read_to_string(self.dir.join("index.json")).unwrap_or_default();
        let index = serde_json::from_str(&text).ok().filter(|index: &Value| index["manifests"].is_array());
        index.unwrap_or_else(|| json!({ "schemaVersion": 2, "manifests": [] }))
    }

    /// Removes those files of an image that are not as large as they should be, a damaged manifest included.
    fn discard_incomplete(&self, digest: &Digest) -> Result<()> {
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
            let small = blob.digest == manifest.config.digest;
            let there = path.metadata().ok().map(|metadata| metadata.len());
            let damaged = there.is_some_and(|size| size != blob.size)
                || (small && there.is_some() && !self.is_intact(&blob.digest)?);
            if damaged {
                fs_err::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// An image, if all of it is in the layout.
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
        // What a layer's history cannot tell, its content will.
        let mut made_by =
            config.history.into_iter().filter(|step| !step.empty_layer).map(|step| step.created_by);
        let layer = |blob: Descriptor| Layer {
            digest: blob.digest,
            size: blob.size,
            created_by: made_by.next().unwrap_or_default(),
        };
        Some(Exported {
            digest: digest.clone(),
            own_bytes: text.len() as u64 + manifest.config.size,
            layers: manifest.layers.into_iter().map(layer).collect(),
        })
    }

    /// An image of the lowest layers of one that is here.
    ///
    /// # Errors
    /// Fails when its manifest or its configuration cannot be read.
    pub fn prefix_image(&self, image: &Exported, layers: usize) -> Result<PrefixImage> {
        let text = fs_err::read(self.blob(&image.digest))?;
        let manifest: OciManifest = serde_json::from_slice(&text).context("read a manifest")?;
        PrefixImage::of(&text, &fs_err::read(self.blob(&manifest.config.digest))?, layers)
    }

    /// Marks blobs as used now: they stay for longest.
    pub fn touch<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) {
        for digest in digests {
            // A time that cannot be set makes the blob go earlier, nothing else. BuildKit writes blobs read-only:
            // their owner may set their times all the same.
            let file = File::open(self.blob(digest));
            drop(file.and_then(|file| file.set_modified(SystemTime::now())));
        }
    }

    /// Removes the blobs that have been unused for longest until the rest takes no more than `limit` bytes.
    /// Images that lose a layer are exported again when they are wanted.
    ///
    /// # Errors
    /// Fails when the layout cannot be read or changed.
    pub fn evict(&self, limit: u64) -> Result<u64> {
        // Who exports right now knows best what is needed.
        self.free(|blobs| files::evict(blobs, limit)).map(Option::unwrap_or_default)
    }

    /// Removes the blobs that none of these images has, named by the digests of their manifests. Gives the bytes that
    /// went, or none while another run exports.
    ///
    /// # Errors
    /// As [`Layout::evict`].
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

    /// Frees bytes by removing blobs; none while another run exports.
    fn free(&self, remove: impl FnOnce(&Utf8Path) -> Result<u64>) -> Result<Option<u64>> {
        let blobs = self.dir.join("blobs/sha256");
        if !blobs.is_dir() {
            return Ok(Some(0));
        }
        let lock = File::create(self.dir.join("lock")).context("lock the layers")?;
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        // What exports that broke off have left.
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

    /// Takes manifests out of the index that are not there any more.
    fn prune_index(&self) -> Result<()> {
        let mut index = self.index();
        let there =
            |manifest: &Value| digest_of(manifest).is_some_and(|digest| self.image(&digest).is_some());
        let manifests: Vec<Value> =
            index["manifests"].as_array().into_iter().flatten().filter(|one| there(one)).cloned().collect();
        index["manifests"] = Value::from(manifests);
        files::replace(&self.dir.join("index.json"), &index.to_string())
    }
}

/// The digest in an entry of the index.
fn digest_of(manifest: &Value) -> Option<Digest> {
    manifest["digest"].as_str()?.parse().ok()
}

/// Reads on while it writes down what it reads.
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

/// Whether images of this builder can be exported with the digests that they have in its engine's store.
pub fn can_export(builder: Builder) -> bool {
    builder == Builder::Engine { store: Store::Containerd }
}

/// A layout as an export leaves it, for tests.
#[cfg(test)]
pub mod testing {
    use camino::Utf8Path;

    use super::*;

    impl Layout {
        /// Puts a blob in and gives its digest.
        pub fn put(&self, bytes: &[u8]) -> Digest {
            let digest = Digest::of(bytes);
            let path = self.blob(&digest);
            fs_err::create_dir_all(path.parent().unwrap_or(Utf8Path::new("."))).unwrap();
            fs_err::write(path, bytes).unwrap();
            digest
        }

        /// Puts an image of these layers in and gives the digest of its manifest.
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
    use crate::error::{Exit, Failure, exit_of};
    use crate::fuzz::fuzz;

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
    fn an_image_is_there_when_all_of_it_is() -> Result<()> {
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
    fn an_export_that_failed_is_explained_by_what_failed_here() {
        let pushed = || anyhow::anyhow!("`docker push` failed: EOF");
        let told = |failure| format!("{:#}", Layout::at("layers".into()).cannot_export(pushed(), failure));
        let full = anyhow::anyhow!("no space left on device");
        assert_eq!(told(Some(full)), "layers cannot be exported to `layers`: no space left on device");
        assert_eq!(told(None), "layers cannot be exported to `layers`: `docker push` failed: EOF");
        let interrupted = Failure::new(Exit::Interrupted, "interrupted");
        assert_eq!(
            exit_of(&Layout::at("layers".into()).cannot_export(interrupted.into(), None)),
            Exit::Interrupted
        );
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let layout = layout(&guard);
        let (old, new) = (layout.put(&[1; 600]), layout.put(&[2; 600]));
        for digest in [&old, &new] {
            File::options().append(true).open(layout.blob(digest))?.set_modified(SystemTime::UNIX_EPOCH)?;
        }
        layout.touch([&new]);
        assert_eq!(layout.evict(2000)?, 0);
        // Another test's child has the lock, too, until it has become the program it is to be.
        let evicted = || Some(layout.evict(1000)?).filter(|bytes| *bytes > 0).context("locked");
        assert_eq!(process::poll("the lock to be free", Duration::from_secs(20), evicted)?, 600);
        assert_eq!(layout.blobs(), [new].into());
        Ok(())
    }
}
