//! Damaged delta files and indexes.

use camino::{Utf8Path, Utf8PathBuf};
use fastrand::Rng;
use layer_delta::file::DeltaFile;
use layer_delta::plan::DeltaPlan;
use test_support::trees::{self, Node};

use super::{DeltaCache, adopt_old_names};
use crate::image::layout::{Layer, Layout};
use crate::process;

/// Temporary directory for layers and deltas.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.0.path()).unwrap().join(name)
    }
}

/// A cache with one layer of 2 MB.
fn cache(scratch: &Scratch) -> (DeltaCache, Layer) {
    let mut rng = Rng::with_seed(3);
    let files = (0..20).map(|n| (format!("f{n}"), (Node::File(trees::noise(&mut rng, 100_000)), 0)));
    let bytes = trees::archive(&files.collect());
    let layout = Layout::at(scratch.path("layers"));
    let layer = Layer { digest: layout.put(&bytes), size: bytes.len() as u64, created_by: String::new() };
    (DeltaCache::at(layout, scratch.path("deltas")), layer)
}

#[test]
fn damaged_deltas_and_indexes_are_not_used() {
    let scratch = Scratch::new();
    let (cache, layer) = cache(&scratch);
    let index = cache.index(&layer.digest).unwrap();
    let whole = || DeltaPlan::whole(layer.size);
    let delta = cache.pack(&layer, whole(), &[]).unwrap().delta;
    let (name, _size) = (delta.name.clone(), delta.size().unwrap());
    drop(cache);
    let dir = scratch.path("deltas");
    let delta = fs_err::read(dir.join(&name)).unwrap();
    assert_eq!(
        DeltaFile::open(&dir, &name, process::check_interrupted).unwrap().size().unwrap(),
        delta.len() as u64 - 4
    );
    let mut flipped = delta.clone();
    flipped[70_000] ^= 1;
    for damaged in [&flipped[..], &delta[..70_000], &[], b"abc"] {
        fs_err::write(dir.join(&name), damaged).unwrap();
        assert!(DeltaFile::open(&dir, &name, process::check_interrupted).is_none());
    }

    let path = scratch.path("indexes").join(&layer.digest[7..]);
    let text = fs_err::read_to_string(&path).unwrap();
    let entry = &index.entries[7];
    let shifted = text.replacen(&format!("\"content\":{}", entry.content), "\"content\":1", 1);
    assert_ne!(shifted, text);
    for damaged in [shifted.as_str(), &text[..text.len() / 2], "", "{\"entries\":[]}"] {
        fs_err::write(&path, damaged).unwrap();
        let cache = DeltaCache::at(Layout::at(scratch.path("layers")), dir.clone());
        assert_eq!(cache.index(&layer.digest).unwrap(), index, "{damaged:.80}");
    }
}

#[test]
fn a_wrong_index_is_removed() {
    let scratch = Scratch::new();
    let (cache, layer) = cache(&scratch);
    let index = cache.index(&layer.digest).unwrap();
    let path = scratch.path("indexes").join(&layer.digest[7..]);
    let text = fs_err::read_to_string(&path).unwrap();
    // A valid index, but not that of this layer.
    let sum = format!("\"checksum\":{}", index.entries[3].checksum);
    fs_err::write(&path, text.replacen(&sum, "\"checksum\":5", 1)).unwrap();
    let cache = DeltaCache::at(Layout::at(scratch.path("layers")), scratch.path("deltas"));
    assert_ne!(cache.index(&layer.digest).unwrap(), index);
    let packed = cache.pack(&layer, DeltaPlan::whole(layer.size), &[]).unwrap();
    assert_eq!(cache.invalidate(&layer.digest, &packed).unwrap(), []);
    assert_eq!(cache.index(&layer.digest).unwrap(), index);

    let mut bytes = fs_err::read(cache.layout.blob(&layer.digest)).unwrap();
    bytes[5_000] ^= 1;
    fs_err::write(cache.layout.blob(&layer.digest), bytes).unwrap();
    assert_eq!(cache.invalidate(&layer.digest, &packed).unwrap(), std::slice::from_ref(&layer.digest));
    assert!(!cache.layout.blob(&layer.digest).exists());
    assert!(!path.exists());
}

#[test]
fn files_of_earlier_versions_are_found_under_their_new_names() {
    let scratch = Scratch::new();
    for (path, text) in [
        ("parcels/aa.order", "digest"),
        ("contents/bb", "{}"),
        ("courier-owner", "0123456789abcdef"),
        ("kept", ""),
    ] {
        fs_err::create_dir_all(scratch.path(path).parent().unwrap()).unwrap();
        fs_err::write(scratch.path(path), text).unwrap();
    }
    for _ in 0..2 {
        adopt_old_names(&scratch.path(""));
        assert_eq!(fs_err::read_to_string(scratch.path("deltas/aa.order")).unwrap(), "digest");
        assert!(scratch.path("indexes/bb").exists() && scratch.path("kept").exists());
        let cache = DeltaCache::at(Layout::at(scratch.path("layers")), scratch.path("deltas"));
        assert_eq!(cache.owner().unwrap(), "0123456789abcdef");
    }
}
