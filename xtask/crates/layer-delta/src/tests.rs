//! Property tests with random layers: a robot makes exactly the layer from its delta, or refuses.
//!
//! A test that fails prints the seed of its case: `DELTA_SEED=… cargo test --package layer-delta` runs that case alone.

use camino::{Utf8Path, Utf8PathBuf};
use fastrand::Rng;
use sha2::{Digest as _, Sha256};

use crate::apply::apply;
use crate::file::{DeltaFile, Inputs};
use crate::index::{Entry, LayerIndex};
use crate::plan::{Basis, DeltaPlan, FRAME, Op, PREFIX};
use test_support::trees::{self, Node};

/// A layer that the robot has.
struct RemoteBlob {
    bytes: Vec<u8>,
    /// True if the layer is on this machine as well.
    is_here: bool,
}

/// Temporary directory for layers and deltas.
struct Scratch {
    guard: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { guard: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.guard.path()).unwrap().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Utf8PathBuf {
        let path = self.path(name);
        fs_err::write(&path, bytes).unwrap();
        path
    }

    /// Plans the delta of a layer; returns the inputs for its encoding as well.
    fn plan(&self, layer: &[u8], blobs: &[RemoteBlob]) -> (DeltaPlan, Inputs) {
        let path = self.file("layer", layer);
        let paths: Vec<Utf8PathBuf> =
            blobs.iter().enumerate().map(|(n, blob)| self.file(&format!("basis-{n}"), &blob.bytes)).collect();
        let indexes: Vec<LayerIndex> = std::iter::zip(blobs, &paths)
            .map(|(blob, path)| {
                let index = LayerIndex::read(path).unwrap();
                if blob.is_here { index } else { without_names(&index) }
            })
            .collect();
        let bases: Vec<Basis<'_>> = std::iter::zip(blobs, &indexes)
            .map(|(blob, index)| Basis { index, same_instruction: false, is_here: blob.is_here })
            .collect();
        let plan = DeltaPlan::new(&LayerIndex::read(&path).unwrap(), &bases);
        let used = plan.bases.iter().map(|number| blobs[*number].is_here.then(|| paths[*number].clone()));
        let inputs = Inputs { layer: path, bases: used.collect(), plan: plan.clone() };
        (plan, inputs)
    }

    fn delta(&self, inputs: &Inputs) -> Vec<u8> {
        let (delta, target) = DeltaFile::create(&self.path("deltas"), "delta", || Ok(())).unwrap();
        delta.encode(inputs, target, &self.path("deltas"));
        let mut bytes = vec![0; usize::try_from(delta.size().unwrap()).unwrap()];
        delta.read(&mut bytes, 0).unwrap();
        bytes
    }
}

/// The index of a layer as an agent sends it, without names and headers.
fn without_names(index: &LayerIndex) -> LayerIndex {
    let files = index.entries.iter().filter(|entry| !entry.path.is_empty() && entry.length > 0);
    let entry = |entry: &Entry| Entry {
        path: String::new(),
        start: entry.content,
        end: entry.content + entry.length,
        whole: 0,
        ..entry.clone()
    };
    LayerIndex { entries: files.map(entry).collect() }
}

/// Makes a layer as the agent does, which fails if it has another digest.
fn make(delta: &[u8], bases: &[&[u8]], expected: &str) -> Result<Vec<u8>, String> {
    let made = apply(delta, bases).map_err(|error| error.to_string())?;
    if digest(&made) == expected { Ok(made) } else { Err("another digest".to_owned()) }
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn bases<'a>(plan: &DeltaPlan, blobs: &'a [RemoteBlob]) -> Vec<&'a [u8]> {
    plan.bases.iter().map(|number| blobs[*number].bytes.as_slice()).collect()
}

/// Fails unless the operations make the layer from its beginning to its end, each within its bounds.
fn assert_covers(plan: &DeltaPlan, layer: &[u8]) {
    let mut position = 0;
    for op in &plan.ops {
        match op {
            Op::Copy(span) => position += span.range.end - span.range.start,
            Op::Frame { prefix, made } => {
                assert_eq!(made.start, position, "a gap or an overlap");
                position = made.end;
                assert!(made.end - made.start <= FRAME, "{made:?} is too much for a frame");
                let bytes: u64 = prefix.iter().map(|span| span.range.end - span.range.start).sum();
                assert!(bytes <= PREFIX, "a prefix of {bytes} bytes");
                assert!(prefix.len() <= 4096, "a prefix of {} spans", prefix.len());
            }
        }
    }
    assert_eq!(position, layer.len() as u64);
}

/// Runs a property with many seeds; the message of a failure names the seed.
fn for_seeds(count: u64, property: fn(&mut Rng)) {
    let only = std::env::var("DELTA_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..count, |seed| seed..seed + 1) {
        let run = std::panic::catch_unwind(|| property(&mut Rng::with_seed(seed)));
        assert!(run.is_ok(), "failed with DELTA_SEED={seed}");
    }
}

#[test]
fn a_robot_makes_the_layer_from_its_delta() {
    for_seeds(40, |rng| {
        let old = trees::tree(rng);
        let mut blobs = vec![RemoteBlob { bytes: trees::layer(rng, &old), is_here: rng.u8(0..3) > 0 }];
        for _ in 0..rng.usize(0..3) {
            // Other layers of the robot: unrelated, related, and equal.
            let tree = match rng.u8(0..3) {
                0 => trees::tree(rng),
                1 => trees::edited(rng, &old),
                _ => old.clone(),
            };
            blobs.push(RemoteBlob { bytes: trees::layer(rng, &tree), is_here: rng.bool() });
        }
        let new = trees::edited(rng, &old);
        let layer = trees::layer(rng, &new);
        let scratch = Scratch::new();
        let (plan, inputs) = scratch.plan(&layer, &blobs);
        assert_covers(&plan, &layer);
        let delta = scratch.delta(&inputs);
        let made = make(&delta, &bases(&plan, &blobs), &digest(&layer)).unwrap();
        assert!(made == layer);
        assert!(scratch.delta(&inputs) == delta, "encoding again gives other bytes");
    });
}

#[test]
fn a_delta_has_the_same_bytes_whatever_else_the_machine_does() {
    let mut rng = Rng::with_seed(1);
    let old: Vec<u8> = trees::noise(&mut rng, 20 << 20);
    let mut layer = old.clone();
    for _ in 0..50 {
        layer.insert(rng.usize(..layer.len()), 7);
    }
    let scratch = Scratch::new();
    let (_, inputs) = scratch.plan(&layer, &[RemoteBlob { bytes: old, is_here: true }]);
    let quiet = scratch.delta(&inputs);
    let over = std::sync::atomic::AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let busy = scratch.delta(&inputs);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        busy
    });
    assert!(quiet == busy);
    assert!(quiet.len() < 100_000, "{} bytes for fifty", quiet.len());
}

#[test]
fn a_small_edit_of_a_big_tree_is_a_small_delta() {
    for_seeds(3, |rng| {
        let mut old = trees::Tree::new();
        for number in 0..60 {
            let size = rng.usize(1..200_000);
            let bytes = trees::noise(rng, size);
            old.insert(format!("lib/module-{number:02}.so"), (Node::File(bytes), 0));
        }
        let mut new = old.clone();
        // A new first file moves all the others; a line changes; a file gets another name.
        new.insert("a/first".into(), (Node::File(vec![1; 3_000]), 0));
        if let (Node::File(bytes), _) = new.get_mut("lib/module-30.so").unwrap() {
            let half = bytes.len() / 2;
            bytes.splice(half..half, *b"a line");
        }
        let moved = new.remove("lib/module-40.so").unwrap();
        new.insert("lib/module-4.so".into(), moved);
        let (before, layer) = (trees::archive(&old), trees::archive(&new));
        let scratch = Scratch::new();
        for is_here in [true, false] {
            let blobs = [RemoteBlob { bytes: before.clone(), is_here }];
            let (plan, inputs) = scratch.plan(&layer, &blobs);
            let delta = scratch.delta(&inputs);
            assert!(make(&delta, &bases(&plan, &blobs), &digest(&layer)).unwrap() == layer);
            // Only whole files are known of a layer that is not here: the changed file is sent.
            let limit = if is_here { 8_000 } else { 200_000 + 30_000 };
            assert!(delta.len() < limit, "{} of {} bytes", delta.len(), layer.len());
        }
    });
}

#[test]
fn equal_checksums_cost_time_and_never_correctness() {
    let mut rng = Rng::with_seed(2);
    for is_here in [true, false] {
        let old: Vec<u8> = trees::noise(&mut rng, 300_000);
        let mut new: Vec<u8> = trees::noise(&mut rng, 300_000);
        forge(&mut new, crc32fast::hash(&old));
        let tree = |bytes: &[u8]| [("d/a".to_owned(), (Node::File(bytes.to_vec()), 0))].into();
        let (before, layer) = (trees::archive(&tree(&old)), trees::archive(&tree(&new)));
        let blobs = [RemoteBlob { bytes: before, is_here }];
        let scratch = Scratch::new();
        let (plan, inputs) = scratch.plan(&layer, &blobs);
        assert!(!plan.is_whole(), "the two files were not taken for equal");
        let delta = scratch.delta(&inputs);
        make(&delta, &bases(&plan, &blobs), &digest(&layer)).unwrap_err();
        // The transfer then sends the layer whole.
        let whole = Inputs { plan: DeltaPlan::whole(layer.len() as u64), bases: Vec::new(), ..inputs };
        assert!(make(&scratch.delta(&whole), &[], &digest(&layer)).unwrap() == layer);
    }
}

/// Changes the last four bytes so that the checksum becomes `wanted`.
fn forge(bytes: &mut [u8], wanted: u32) {
    let end = bytes.len() - 4;
    let with = |last: u32| {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes[..end]);
        sum.update(&last.to_le_bytes());
        sum.finalize()
    };
    // A CRC is linear: each bit of the four bytes flips the same bits of it, whatever the other bits are.
    let zero = with(0);
    let mut rows: Vec<(u32, u32)> = (0..32).map(|bit| (with(1 << bit) ^ zero, 1 << bit)).collect();
    let (mut missing, mut last) = (wanted ^ zero, 0);
    for bit in (0..32).rev() {
        let Some(found) = rows.iter().position(|(effect, _)| effect >> bit & 1 == 1) else { continue };
        let (effect, cause) = rows.swap_remove(found);
        for row in rows.iter_mut().filter(|row| row.0 >> bit & 1 == 1) {
            *row = (row.0 ^ effect, row.1 ^ cause);
        }
        if missing >> bit & 1 == 1 {
            (missing, last) = (missing ^ effect, last ^ cause);
        }
    }
    bytes[end..].copy_from_slice(&last.to_le_bytes());
    assert_eq!(crc32fast::hash(bytes), wanted);
}

#[test]
fn a_changed_basis_is_detected() {
    for_seeds(10, |rng| {
        let bytes: Vec<u8> = trees::noise(rng, 200_000);
        let tree: trees::Tree = [("d/a".to_owned(), (Node::File(bytes), 0))].into();
        let mut changed = tree.clone();
        if let (Node::File(bytes), _) = changed.get_mut("d/a").unwrap() {
            bytes[1000] ^= 1;
        }
        let (before, layer) = (trees::archive(&tree), trees::archive(&changed));
        let mut blobs = vec![RemoteBlob { bytes: before, is_here: true }];
        let scratch = Scratch::new();
        let (plan, inputs) = scratch.plan(&layer, &blobs);
        let delta = scratch.delta(&inputs);
        // As after a power cut or by an attacker: a byte is changed, or the end is missing.
        let position = rng.usize(2_048..150_000);
        if rng.bool() {
            blobs[0].bytes[position] ^= 0x10
        } else {
            blobs[0].bytes.truncate(position)
        }
        make(&delta, &bases(&plan, &blobs), &digest(&layer)).unwrap_err();
    });
}
