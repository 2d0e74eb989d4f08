//! For random layers: what a robot makes of the parcel is the layer, exactly, or it is refused.
//!
//! Each case has a seed of its own, which is printed when it fails: `DELTA_SEED=… cargo test delta` runs
//! that one alone.

mod agent;
mod robot;
mod trees;

use camino::{Utf8Path, Utf8PathBuf};
use fastrand::Rng;
use sha2::{Digest as _, Sha256};

use super::cache::DeltaCache;
use super::file::{DeltaFile, Inputs};
use super::index::{Entry, LayerIndex};
use super::plan::{Basis, DeltaPlan, FRAME, Op, PREFIX};
use crate::image::layout::{Layer, Layout};
use trees::Node;

/// A layer that the robot has.
struct RemoteBlob {
    bytes: Vec<u8>,
    /// Whether this machine has it, too.
    is_here: bool,
}

/// A directory for layers and parcels.
struct Desk {
    guard: tempfile::TempDir,
}

impl Desk {
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

    /// The recipe for a layer, and what it counts on.
    fn plan(&self, layer: &[u8], held: &[RemoteBlob]) -> (DeltaPlan, Inputs) {
        let path = self.file("layer", layer);
        let paths: Vec<Utf8PathBuf> =
            held.iter().enumerate().map(|(n, one)| self.file(&format!("basis-{n}"), &one.bytes)).collect();
        let contents: Vec<LayerIndex> = std::iter::zip(held, &paths)
            .map(|(one, path)| {
                let contents = LayerIndex::read(path).unwrap();
                if one.is_here { contents } else { as_a_robot_tells(&contents) }
            })
            .collect();
        let bases: Vec<Basis<'_>> = std::iter::zip(held, &contents)
            .map(|(one, contents)| Basis { contents, same_history: false, is_here: one.is_here })
            .collect();
        let plan = DeltaPlan::new(&LayerIndex::read(&path).unwrap(), &bases);
        let used = plan.bases.iter().map(|number| held[*number].is_here.then(|| paths[*number].clone()));
        let inputs = Inputs { layer: path, bases: used.collect(), plan: plan.clone() };
        (plan, inputs)
    }

    /// The parcel's bytes.
    fn delta(&self, inputs: &Inputs) -> Vec<u8> {
        let (delta, target) = DeltaFile::empty(&self.path("deltas"), "delta").unwrap();
        delta.make(inputs, target, &self.path("deltas"));
        let mut bytes = vec![0; usize::try_from(delta.size().unwrap()).unwrap()];
        delta.read(&mut bytes, 0).unwrap();
        bytes
    }
}

/// LayerIndex without names and headers, as the agent tells those of layers that this machine lacks.
fn as_a_robot_tells(contents: &LayerIndex) -> LayerIndex {
    let files = contents.entries.iter().filter(|entry| !entry.path.is_empty() && entry.length > 0);
    let entry = |entry: &Entry| Entry {
        path: String::new(),
        start: entry.content,
        end: entry.content + entry.length,
        whole: 0,
        ..entry.clone()
    };
    LayerIndex { entries: files.map(entry).collect() }
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn bases<'a>(plan: &DeltaPlan, held: &'a [RemoteBlob]) -> Vec<&'a [u8]> {
    plan.bases.iter().map(|number| held[*number].bytes.as_slice()).collect()
}

/// Fails unless the steps make the layer from its beginning to its end, each within its bounds.
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
                assert!(prefix.len() <= 4096, "a prefix of {} pieces", prefix.len());
            }
        }
    }
    assert_eq!(position, layer.len() as u64);
}

/// Runs a property with many seeds, and says which one failed.
fn for_seeds(count: u64, property: fn(&mut Rng)) {
    let only = std::env::var("DELTA_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..count, |seed| seed..seed + 1) {
        let run = std::panic::catch_unwind(|| property(&mut Rng::with_seed(seed)));
        assert!(run.is_ok(), "failed with DELTA_SEED={seed}");
    }
}

#[test]
fn what_a_robot_makes_of_a_delta_is_the_layer() {
    for_seeds(40, |rng| {
        let old = trees::tree(rng);
        let mut held = vec![RemoteBlob { bytes: trees::layer(rng, &old), is_here: rng.u8(0..3) > 0 }];
        for _ in 0..rng.usize(0..3) {
            // Other layers of the robot: relatives, strangers, the same once more.
            let tree = match rng.u8(0..3) {
                0 => trees::tree(rng),
                1 => trees::edited(rng, &old),
                _ => old.clone(),
            };
            held.push(RemoteBlob { bytes: trees::layer(rng, &tree), is_here: rng.bool() });
        }
        let new = trees::edited(rng, &old);
        let layer = trees::layer(rng, &new);
        let desk = Desk::new();
        let (plan, inputs) = desk.plan(&layer, &held);
        assert_covers(&plan, &layer);
        let delta = desk.delta(&inputs);
        let made = robot::make(&delta, &bases(&plan, &held), &digest(&layer)).unwrap();
        assert!(made == layer);
        assert!(desk.delta(&inputs) == delta, "other bytes the second time");
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
    let desk = Desk::new();
    let (_, inputs) = desk.plan(&layer, &[RemoteBlob { bytes: old, is_here: true }]);
    let quiet = desk.delta(&inputs);
    let over = std::sync::atomic::AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let busy = desk.delta(&inputs);
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
        // Something at the very beginning moves all the rest; a line changes; a file gets another name.
        new.insert("a/first".into(), (Node::File(vec![1; 3_000]), 0));
        if let (Node::File(bytes), _) = new.get_mut("lib/module-30.so").unwrap() {
            let half = bytes.len() / 2;
            drop(bytes.splice(half..half, *b"a line"));
        }
        let moved = new.remove("lib/module-40.so").unwrap();
        new.insert("lib/module-4.so".into(), moved);
        let (before, layer) = (trees::archive(&old), trees::archive(&new));
        let desk = Desk::new();
        for is_here in [true, false] {
            let held = [RemoteBlob { bytes: before.clone(), is_here }];
            let (plan, inputs) = desk.plan(&layer, &held);
            let delta = desk.delta(&inputs);
            assert!(robot::make(&delta, &bases(&plan, &held), &digest(&layer)).unwrap() == layer);
            // Of a layer that is not here only whole files are known: the changed one travels.
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
        let held = [RemoteBlob { bytes: before, is_here }];
        let desk = Desk::new();
        let (plan, inputs) = desk.plan(&layer, &held);
        assert!(!plan.is_whole(), "the two are taken for one another");
        let delta = desk.delta(&inputs);
        robot::make(&delta, &bases(&plan, &held), &digest(&layer)).unwrap_err();
        // What the courier does then.
        let whole = Inputs { plan: DeltaPlan::whole(layer.len() as u64), bases: Vec::new(), ..inputs };
        assert!(robot::make(&desk.delta(&whole), &[], &digest(&layer)).unwrap() == layer);
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
    // A checksum is linear: each bit of the four bytes flips certain bits of it, whatever the others are.
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
fn a_basis_of_other_bytes_is_noticed() {
    for_seeds(10, |rng| {
        let bytes: Vec<u8> = trees::noise(rng, 200_000);
        let tree: trees::Tree = [("d/a".to_owned(), (Node::File(bytes), 0))].into();
        let mut changed = tree.clone();
        if let (Node::File(bytes), _) = changed.get_mut("d/a").unwrap() {
            bytes[1000] ^= 1;
        }
        let (before, layer) = (trees::archive(&tree), trees::archive(&changed));
        let mut held = vec![RemoteBlob { bytes: before, is_here: true }];
        let desk = Desk::new();
        let (plan, inputs) = desk.plan(&layer, &held);
        let delta = desk.delta(&inputs);
        // As after a power cut, or under a hostile hand: a byte, or the end of it.
        let position = rng.usize(2_048..150_000);
        if rng.bool() {
            held[0].bytes[position] ^= 0x10
        } else {
            held[0].bytes.truncate(position)
        }
        robot::make(&delta, &bases(&plan, &held), &digest(&layer)).unwrap_err();
    });
}

/// A depot with one layer of 2 MB, and what it sends of it.
fn cache(desk: &Desk) -> (DeltaCache, Layer) {
    let mut rng = Rng::with_seed(3);
    let files = (0..20).map(|n| (format!("f{n}"), (Node::File(trees::noise(&mut rng, 100_000)), 0)));
    let bytes = trees::archive(&files.collect());
    let layout = Layout::at(desk.path("layers"));
    let layer = Layer { digest: layout.put(&bytes), size: bytes.len() as u64, created_by: String::new() };
    (DeltaCache::at(layout, desk.path("deltas")), layer)
}

#[test]
fn damaged_deltas_and_indexes_are_not_used() {
    let desk = Desk::new();
    let (cache, layer) = cache(&desk);
    let contents = cache.contents(&layer.digest).unwrap();
    let whole = || DeltaPlan::whole(layer.size);
    let delta = cache.pack(&layer, whole(), &[]).unwrap().delta;
    let (name, _size) = (delta.name.clone(), delta.size().unwrap());
    drop(cache);
    let kept = desk.path("deltas");
    let delta = fs_err::read(kept.join(&name)).unwrap();
    assert_eq!(DeltaFile::kept(&kept, &name).unwrap().size().unwrap(), delta.len() as u64 - 4);
    let mut flipped = delta.clone();
    flipped[70_000] ^= 1;
    for damaged in [&flipped[..], &delta[..70_000], &[], b"abc"] {
        fs_err::write(kept.join(&name), damaged).unwrap();
        assert!(DeltaFile::kept(&kept, &name).is_none());
    }

    let remembered = desk.path("indexes").join(&layer.digest[7..]);
    let text = fs_err::read_to_string(&remembered).unwrap();
    let entry = &contents.entries[7];
    let shifted = text.replacen(&format!("\"content\":{}", entry.content), "\"content\":1", 1);
    assert_ne!(shifted, text);
    for damaged in [shifted.as_str(), &text[..text.len() / 2], "", "{\"entries\":[]}"] {
        fs_err::write(&remembered, damaged).unwrap();
        let cache = DeltaCache::at(Layout::at(desk.path("layers")), kept.clone());
        assert_eq!(cache.contents(&layer.digest).unwrap(), contents, "{damaged:.80}");
    }
}

#[test]
fn a_memory_that_misleads_is_forgotten() {
    let desk = Desk::new();
    let (cache, layer) = cache(&desk);
    let contents = cache.contents(&layer.digest).unwrap();
    let remembered = desk.path("indexes").join(&layer.digest[7..]);
    let text = fs_err::read_to_string(&remembered).unwrap();
    // What could be an archive's contents, and is not this one's.
    let sum = format!("\"checksum\":{}", contents.entries[3].checksum);
    fs_err::write(&remembered, text.replacen(&sum, "\"checksum\":5", 1)).unwrap();
    let cache = DeltaCache::at(Layout::at(desk.path("layers")), desk.path("deltas"));
    assert_ne!(cache.contents(&layer.digest).unwrap(), contents);
    let packed = cache.pack(&layer, DeltaPlan::whole(layer.size), &[]).unwrap();
    assert_eq!(cache.invalidate(&layer.digest, &packed).unwrap(), []);
    assert_eq!(cache.contents(&layer.digest).unwrap(), contents);

    let mut bytes = fs_err::read(cache.layout.blob(&layer.digest)).unwrap();
    bytes[5_000] ^= 1;
    fs_err::write(cache.layout.blob(&layer.digest), bytes).unwrap();
    assert_eq!(cache.invalidate(&layer.digest, &packed).unwrap(), std::slice::from_ref(&layer.digest));
    assert!(!cache.layout.blob(&layer.digest).exists());
    assert!(!remembered.exists());
}
