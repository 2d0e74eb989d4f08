//! Archives of `docker save`: an OCI image layout as a tar archive (OCI image specification, image layout).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use anyhow::Context as _;

use super::{Failure, Result};
use crate::digest::Digest;
use crate::image::oci::{Descriptor, Index, OciManifest};

/// Compression level: fast, and for layers of programs as good as the next higher levels.
const LEVEL: i32 = 3;

/// Most bytes of an entry that may be a manifest.
const MAX_MANIFEST: u64 = 1 << 20;

/// Most bytes of all manifests of an archive.
const MAX_MANIFESTS: usize = 32 << 20;

/// A layer of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedLayer {
    pub digest: Digest,
    /// Bytes before the archive was compressed.
    pub size: u64,
    /// True if the layer was left out of the archive.
    pub skipped: bool,
}

/// Blobs and manifests of an archive.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArchiveContents {
    blobs: BTreeMap<Digest, PackedLayer>,
    manifests: BTreeMap<Digest, OciManifest>,
}

/// Copies an archive, compressed and without the layers `skip`; returns its contents.
pub(crate) fn pack(source: impl Read, sink: impl Write, skip: &BTreeSet<String>) -> Result<ArchiveContents> {
    let mut packed = tar::Builder::new(encoder(sink).context("compress the archive")?);
    let mut contents = ArchiveContents::default();
    let mut json: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut json_bytes = 0;
    let mut archive = tar::Archive::new(source);
    // Raw, because names in an image layout are short: a long name is copied and not read into memory.
    for entry in archive.entries().context("read the archive of `docker save`")?.raw(true) {
        let mut entry = entry.context("read the archive of `docker save`")?;
        let header = entry.header().clone();
        let size = header.size()?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let digest = path.strip_prefix("blobs/sha256/").and_then(Digest::from_hex);
        let skipped = digest.as_ref().is_some_and(|digest| skip.contains(digest.as_str()));
        if let Some(digest) = &digest {
            let blob = PackedLayer { digest: digest.clone(), size, skipped };
            contents.blobs.insert(digest.clone(), blob);
        }
        if skipped {
            continue;
        }
        if size > MAX_MANIFEST {
            packed.append(&header, &mut entry).context("copy the archive")?;
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).context("read the archive of `docker save`")?;
        packed.append(&header, bytes.as_slice()).context("copy the archive")?;
        // JSON: an index, a manifest or a configuration.
        if bytes.starts_with(b"{") {
            json_bytes += bytes.len();
            anyhow::ensure!(json_bytes <= MAX_MANIFESTS, "the manifests of the archive are too large");
            json.insert(digest.map_or(path, String::from), bytes);
        }
    }
    let mut sink = packed.into_inner().and_then(zstd::Encoder::finish).context("copy the archive")?;
    sink.flush().context("copy the archive")?;
    contents.manifests = manifests(&json)?;
    Ok(contents)
}

/// Compresses on all cores.
fn encoder<'a, W: Write>(sink: W) -> std::io::Result<zstd::Encoder<'a, W>> {
    let mut encoder = zstd::Encoder::new(sink, LEVEL)?;
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    encoder.multithread(threads)?;
    Ok(encoder)
}

fn manifests(json: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<Digest, OciManifest>> {
    let index = json.get("index.json").ok_or_else(|| {
        Failure::failed("this machine's Docker writes archives in an older format")
            .hint("Docker 25 or later writes OCI archives; `--via registry` works with any")
    })?;
    let index: Index = serde_json::from_slice(index).context("read the archive's index")?;
    let read = |Descriptor { digest, .. }: Descriptor| {
        let bytes = json.get(&*digest).with_context(|| format!("the archive lacks the manifest {digest}"))?;
        let manifest =
            serde_json::from_slice(bytes).with_context(|| format!("read the manifest {digest}"))?;
        Ok((digest, manifest))
    };
    index.manifests.into_iter().map(read).collect()
}

impl ArchiveContents {
    /// Digests of manifest and configuration of the image that has `digest` as one of them.
    pub(crate) fn ids(&self, digest: &str) -> Result<[String; 2]> {
        let is_it =
            |(manifest, of): &(&Digest, &OciManifest)| [&***manifest, &*of.config.digest].contains(&digest);
        let found = self.manifests.iter().find(is_it);
        let (manifest, of) = found.with_context(|| format!("the archive has no image {digest}"))?;
        Ok([manifest.to_string(), of.config.digest.to_string()])
    }

    /// Digests of configuration and manifest of each image.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.manifests.iter().map(|(manifest, of)| (of.config.digest.as_str(), manifest.as_str()))
    }

    /// Layers of the images: those that were skipped, or those that were not.
    pub(crate) fn layers(&self, skipped: bool) -> Vec<&PackedLayer> {
        let digests: BTreeSet<&Digest> =
            self.manifests.values().flat_map(|of| &of.layers).map(|layer| &layer.digest).collect();
        digests
            .into_iter()
            .filter_map(|digest| self.blobs.get(digest))
            .filter(|blob| blob.skipped == skipped)
            .collect()
    }
}

/// Returns the layers of `wanted` that images of `there` have in the same place on the same layers. A layer
/// that only some of the wanted images share in this way is not among them.
pub(crate) fn common<S: AsRef<str> + PartialEq>(wanted: &[Vec<S>], there: &[Vec<S>]) -> BTreeSet<String> {
    let mut below: BTreeSet<String> = BTreeSet::new();
    let mut above: BTreeSet<&str> = BTreeSet::new();
    for image in wanted {
        let (have, need) = image.split_at(shared_length(image, there));
        below.extend(have.iter().map(|layer| layer.as_ref().to_owned()));
        above.extend(need.iter().map(AsRef::as_ref));
    }
    below.retain(|layer| !above.contains(layer.as_str()));
    below
}

/// Length of the longest prefix of an image's layers that an image of `there` has as well.
fn shared_length<S: PartialEq>(image: &[S], there: &[Vec<S>]) -> usize {
    let lengths =
        there.iter().map(|other| image.iter().zip(other).take_while(|(one, two)| one == two).count());
    lengths.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::testing::digest;
    use crate::fuzz::{fuzz, with_sums};

    const LAYER: &str = "layer";
    const BASE: &str = "base of it";

    fn path(text: &str) -> String {
        format!("blobs/sha256/{}", digest(text).hex())
    }

    fn manifest() -> String {
        let [config, base, layer] = ["config", BASE, LAYER].map(digest);
        serde_json::json!({
            "config": { "digest": config, "size": 1 },
            "layers": [{ "digest": base, "size": 10 }, { "digest": layer, "size": 5 }],
        })
        .to_string()
    }

    fn saved() -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let manifest = manifest();
        let index =
            serde_json::json!({ "manifests": [{ "digest": digest(&manifest), "size": 1 }] }).to_string();
        for (name, text) in [
            (path(LAYER), LAYER),
            (path(BASE), BASE),
            (path(&manifest), &manifest),
            ("index.json".to_owned(), &index),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, name, text.as_bytes())?;
        }
        Ok(archive.into_inner()?)
    }

    #[test]
    fn fuzzed_archives_are_copied_or_refused() -> Result<()> {
        let mut pax = saved()?;
        pax[156] = b'x';
        fuzz("archive", 300, &[&saved()?, &pax, &saved()?[1024..]], |bytes| {
            let skip = [digest(BASE).to_string()].into();
            let Ok(contents) = pack(with_sums(bytes).as_slice(), std::io::sink(), &skip) else { return };
            contents.ids(&digest("config")).ok();
            contents.layers(true);
            contents.layers(false);
        });
        Ok(())
    }

    #[test]
    fn skipped_layers_are_left_out() -> Result<()> {
        let mut sent = Vec::new();
        let contents = pack(saved()?.as_slice(), &mut sent, &[digest(BASE).to_string()].into())?;
        let ids = [&manifest(), "config"].map(digest);
        for id in &ids {
            assert_eq!(contents.ids(id)?, ids.clone().map(String::from));
        }
        contents.ids(&digest(LAYER)).unwrap_err();
        assert_eq!(contents.layers(true)[0].size, 10);
        assert_eq!(contents.layers(false)[0].digest, digest(LAYER));
        let plain = zstd::decode_all(sent.as_slice())?;
        let names = tar::Archive::new(plain.as_slice())
            .entries()?
            .map(|entry| Ok(entry?.path()?.to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        assert_eq!(names, [path(LAYER), path(&manifest()), "index.json".to_owned()]);
        Ok(())
    }

    /// A member of an archive. Its content is `start`, followed by zeros.
    fn member(name: &str, kind: tar::EntryType, size: u64, start: &[u8]) -> Result<Box<dyn Read>> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let content = std::io::Cursor::new(start.to_vec()).chain(std::io::repeat(0)).take(size);
        Ok(Box::new(std::io::Cursor::new(header.as_bytes().to_vec()).chain(content)))
    }

    #[test]
    fn a_hostile_archive_takes_little_memory() -> Result<()> {
        let many = |start: &'static [u8]| {
            let blobs = (0..150).map(|number| {
                member(&format!("blobs/sha256/{number}"), tar::EntryType::Regular, MAX_MANIFEST, start)
            });
            blobs.collect::<Result<Vec<_>>>()
        };
        let long = |kind| -> Result<Vec<Box<dyn Read>>> { Ok(vec![member("long", kind, 150 << 20, b"")?]) };
        for (members, refused) in [
            (many(b"\0")?, "older format"),
            (many(b"{")?, "manifests of the archive are too large"),
            (long(tar::EntryType::GNULongName)?, "older format"),
            (long(tar::EntryType::XHeader)?, "older format"),
        ] {
            let empty: Box<dyn Read> = Box::new(std::io::empty());
            let archive = members.into_iter().fold(empty, |all, one| Box::new(all.chain(one)));
            let mut packed = None;
            let memory = allocation_counter::measure(|| {
                packed = Some(pack(archive, std::io::sink(), &BTreeSet::new()));
            });
            let error = packed.unwrap().unwrap_err();
            assert!(format!("{error:#}").contains(refused), "{error:#}");
            assert!(memory.bytes_max < 64 << 20, "{refused}: {} bytes of memory", memory.bytes_max);
        }
        Ok(())
    }

    #[test]
    fn an_archive_that_breaks_off_is_an_error() -> Result<()> {
        let saved = saved()?;
        for length in [100, 700, 1500] {
            pack(&saved[..length], Vec::new(), &BTreeSet::new()).unwrap_err();
        }
        Ok(())
    }

    #[test]
    fn common_layers_have_common_layers_below_in_all_images() {
        let there = [vec!["base", "deps", "old"]];
        assert_eq!(
            common(&[vec!["base", "deps", "new"]], &there),
            ["base", "deps"].map(str::to_owned).into()
        );
        assert_eq!(common(&[vec!["other", "deps"]], &there), BTreeSet::new());
        let both = [vec!["base", "deps", "new"], vec!["other", "deps"]];
        assert_eq!(common(&both, &there), ["base"].map(str::to_owned).into());
        assert_eq!(common(&both, &[]), BTreeSet::new());
    }
}
