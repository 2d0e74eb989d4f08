//! Delta cache: the layers on this machine, their indexes, and the deltas made from them. The robots of one
//! deploy share it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use parking_lot::Mutex;

use super::agent::Inventory;
use crate::config::Workspace;
use crate::digest::Digest;
use crate::error::Result;
use crate::files;
use crate::image::layout::{self, Layer, Layout};
use crate::{process, ui};
use layer_delta::file::{DeltaFile, Inputs, NAME};
use layer_delta::index::LayerIndex;
use layer_delta::plan::{Basis, DeltaPlan};

/// Version of the encoding. Raised when the same plan encodes to other bytes.
const FORMAT: &str = "1";

/// Most bytes of delta files on this machine's disk. They are kept to resume transfers that broke off.
const MAX_DELTAS: u64 = 1_000_000_000;

/// Most bytes of indexes on this machine's disk.
const MAX_INDEXES: u64 = 100_000_000;

/// Longest wait for the lock: another deploy may be sending half a gigabyte over a bad Wi-Fi.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Smallest layer, in bytes, whose index is kept on disk.
const MIN_KEPT: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct DeltaCache {
    pub layout: Layout,
    dir: Utf8PathBuf,
    state: Mutex<State>,
    /// True once the deploy has ended, so that no further deltas are needed.
    over: Arc<AtomicBool>,
    encoder: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    deltas: BTreeMap<String, Arc<DeltaFile>>,
    indexes: HashMap<Digest, Arc<LayerIndex>>,
    /// None once the deploy has ended.
    work: Option<Sender<Work>>,
}

type Work = (Arc<DeltaFile>, Inputs, tempfile::NamedTempFile);

/// A layer on a robot that may become a basis.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub digest: Digest,
    pub index: Arc<LayerIndex>,
    /// True if the layer is on this machine as well.
    pub is_here: bool,
}

/// A delta, and the layers on the robot that it refers to.
#[derive(Clone, Debug)]
pub(crate) struct PackedDelta {
    /// May still be being encoded.
    pub delta: Arc<DeltaFile>,
    /// Empty if the layer is sent whole.
    pub bases: Vec<Digest>,
}

impl DeltaCache {
    pub(crate) fn open(workspace: &Workspace) -> Self {
        let state = workspace.state_dir();
        adopt_old_names(&state);
        Self::at(Layout::of(workspace), state.join("deltas"))
    }

    /// Opens a cache that keeps its deltas in `dir`, and indexes beside it.
    pub(crate) fn at(layout: Layout, dir: Utf8PathBuf) -> Self {
        let (work, queue) = channel::<Work>();
        let (deltas_dir, over) = (dir.clone(), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        // One delta at a time, each on all cores: the first one is ready soonest.
        let encoder = std::thread::spawn(move || {
            for (delta, inputs, target) in queue {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                delta.encode(&inputs, target, &deltas_dir);
            }
        });
        let state = State { deltas: BTreeMap::new(), indexes: HashMap::new(), work: Some(work) };
        Self { layout, dir, state: Mutex::new(state), over, encoder: Some(encoder) }
    }

    /// Random id of this workspace. Agents on robots have it, so that each workspace recognises its own.
    pub(crate) fn owner(&self) -> Result<String> {
        // Threads of several robots may need the id at the same time, and all have to get the same one.
        let _guard = self.state.lock();
        let path = self.dir.with_file_name("owner");
        if let Ok(owner) = fs_err::read_to_string(&path)
            && owner.len() == 16
        {
            return Ok(owner);
        }
        let owner = files::random()?[..16].to_owned();
        files::replace(&path, &owner)?;
        Ok(owner)
    }

    /// Locks a robot against other deploys of this workspace, which would end each other's agents as left
    /// behind by a cut connection. Waits for the lock, which is released when the file is dropped.
    pub(crate) fn lock(&self, robot: &str) -> Result<File> {
        let lock = files::lock_file(&self.dir.with_file_name("locks").join(robot))?;
        if lock.try_lock().is_err() {
            ui::step(robot, "waiting for another deploy of this workspace");
            process::poll("another deploy of this workspace to end", LOCK_TIMEOUT, || Ok(lock.try_lock()?))?;
        }
        Ok(lock)
    }

    /// Returns the index of a layer on this machine.
    pub(crate) fn index(&self, digest: &Digest) -> Result<Arc<LayerIndex>> {
        if let Some(index) = self.state.lock().indexes.get(digest) {
            return Ok(Arc::clone(index));
        }
        let layer = self.layout.blob(digest);
        let size = fs_err::metadata(&layer)?.len();
        let path = self.index_path(digest);
        let kept: Option<LayerIndex> =
            fs_err::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        // An index that covers another size is damaged. Used, it would make a large delta, not a wrong layer.
        let index = match kept.filter(|index| index.covers(size)) {
            Some(index) => Arc::new(index),
            None => {
                let index = LayerIndex::read(&layer)?;
                if size >= MIN_KEPT {
                    files::replace(&path, &serde_json::to_string(&index)?)?;
                }
                Arc::new(index)
            }
        };
        self.state.lock().indexes.insert(digest.clone(), Arc::clone(&index));
        Ok(index)
    }

    fn index_path(&self, digest: &Digest) -> Utf8PathBuf {
        self.dir.with_file_name("indexes").join(digest.hex())
    }

    fn remove_index(&self, digest: &Digest) -> Result<()> {
        self.state.lock().indexes.remove(digest);
        let path = self.index_path(digest);
        if path.exists() {
            fs_err::remove_file(path)?;
        }
        Ok(())
    }

    /// Returns the layers that are both on this machine and on the robot, with the same size.
    pub(crate) fn candidates(&self, inventory: &Inventory) -> Vec<Candidate> {
        let digests = self.layout.blobs().into_iter();
        digests.filter_map(|digest| self.candidate(digest, inventory)).collect()
    }

    fn candidate(&self, digest: Digest, inventory: &Inventory) -> Option<Candidate> {
        let remote = inventory.get(&digest)?;
        let here = self.layout.blob(&digest).metadata().ok()?;
        if remote.size != here.len() {
            return None;
        }
        Some(Candidate { index: self.index(&digest).ok()?, digest, is_here: true })
    }

    /// Plans how to make a layer from the candidates. `made_by` has the instruction that made each layer.
    pub(crate) fn plan(
        &self,
        layer: &Layer,
        candidates: &[Candidate],
        made_by: &BTreeMap<Digest, String>,
    ) -> Result<DeltaPlan> {
        if candidates.is_empty() {
            return Ok(DeltaPlan::whole(layer.size));
        }
        let bases: Vec<Basis<'_>> = candidates
            .iter()
            .map(|Candidate { digest, index, is_here }| Basis {
                index,
                same_instruction: made_by.get(digest).is_some_and(|made_by| *made_by == layer.created_by),
                is_here: *is_here,
            })
            .collect();
        let plan = DeltaPlan::new(self.index(&layer.digest)?.as_ref(), &bases);
        // The same plan for all robots, whichever candidates they have, so that they share the delta.
        Ok(if plan.is_whole() { DeltaPlan::whole(layer.size) } else { plan })
    }

    /// Returns the delta of a plan, and encodes it in the background unless that has been done or has begun.
    pub(crate) fn pack(
        &self,
        layer: &Layer,
        plan: DeltaPlan,
        candidates: &[Candidate],
    ) -> Result<PackedDelta> {
        let used: Vec<&Candidate> = plan.bases.iter().map(|number| &candidates[*number]).collect();
        let bases: Vec<Digest> = used.iter().map(|candidate| candidate.digest.clone()).collect();
        let name = delta_name(layer, &bases, &plan);
        let mut state = self.state.lock();
        if let Some(delta) = state.deltas.get(&name) {
            return Ok(PackedDelta { delta: Arc::clone(delta), bases });
        }
        let delta = match DeltaFile::open(&self.dir, &name, process::check_interrupted) {
            Some(delta) => Arc::new(delta),
            None => {
                let (delta, target) = DeltaFile::create(&self.dir, &name, process::check_interrupted)?;
                files::replace(
                    &self.digests_path(&name),
                    &[std::slice::from_ref(&layer.digest), &*bases].concat().join("\n"),
                )?;
                let delta = Arc::new(delta);
                let paths = used
                    .iter()
                    .map(|candidate| candidate.is_here.then(|| self.layout.blob(&candidate.digest)));
                let inputs = Inputs { layer: self.layout.blob(&layer.digest), bases: paths.collect(), plan };
                if let Some(work) = &state.work {
                    // The receiver lives as long as this cache.
                    work.send((Arc::clone(&delta), inputs, target)).ok();
                }
                delta
            }
        };
        state.deltas.insert(name, Arc::clone(&delta));
        Ok(PackedDelta { delta, bases })
    }

    /// Returns the plan of a transfer that broke off in an earlier run, and the size of its spool on the
    /// robot. A new plan could differ and make another delta, because layers that arrived then are candidates
    /// now.
    pub(crate) fn resumable_plan(
        &self,
        layer: &Layer,
        spools: &BTreeMap<String, u64>,
        candidates: &[Candidate],
        made_by: &BTreeMap<Digest, String>,
    ) -> Result<Option<(DeltaPlan, u64)>> {
        for (spool, bytes) in spools {
            let digests = fs_err::read_to_string(self.digests_path(spool)).unwrap_or_default();
            let Some(bases) = digests.strip_prefix(layer.digest.as_str()) else { continue };
            let bases: Vec<&str> = bases.split_whitespace().collect();
            let places: Vec<usize> = (0..candidates.len())
                .filter(|place| bases.contains(&candidates[*place].digest.as_str()))
                .collect();
            let offered: Vec<Candidate> = places.iter().map(|place| candidates[*place].clone()).collect();
            let mut plan = self.plan(layer, &offered, made_by)?;
            plan.bases = plan.bases.iter().map(|number| places[*number]).collect();
            let bases: Vec<Digest> =
                plan.bases.iter().map(|place| candidates[*place].digest.clone()).collect();
            if delta_name(layer, &bases, &plan) == *spool {
                return Ok(Some((plan, *bytes)));
            }
        }
        Ok(None)
    }

    /// File with the digests of a delta's layer and of its bases, one a line.
    fn digests_path(&self, delta: &str) -> Utf8PathBuf {
        self.dir.join(format!("{delta}.order"))
    }

    /// Removes a delta that did not make its layer, the indexes of the layer and of its bases, and those of
    /// these layers that are damaged on this machine. Returns the digests of the damaged ones.
    pub(crate) fn invalidate(&self, layer: &Digest, packed: &PackedDelta) -> Result<Vec<Digest>> {
        self.state.lock().deltas.remove(&packed.delta.name);
        let path = self.dir.join(&packed.delta.name);
        if path.exists() {
            fs_err::remove_file(path)?;
        }
        let mut damaged = Vec::new();
        for digest in packed.bases.iter().chain([layer]) {
            self.remove_index(digest)?;
            if self.layout.blob(digest).exists() && !self.layout.is_intact(digest)? {
                self.layout.discard(digest)?;
                damaged.push(digest.clone());
            }
        }
        Ok(damaged)
    }

    /// Removes the least recently used layers, deltas and indexes beyond the limits. A deploy to a robot
    /// counts as a use of the layers that the robot has.
    pub(crate) fn evict(&self) {
        let indexes = self.dir.with_file_name("indexes");
        let results = [
            self.layout.evict(layout::LIMIT),
            files::evict(&self.dir, MAX_DELTAS),
            files::evict(&indexes, MAX_INDEXES),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            // Only a warning: the deploy itself has succeeded.
            ui::warn("clean-up", &format!("{error:#}"));
        }
    }
}

/// Removes the layers of a workspace that are not in `images`, which are digests of manifests, and all
/// deltas. Returns the number of bytes removed; none if a deploy is exporting layers.
pub(crate) fn prune(workspace: &Workspace, images: &BTreeSet<Digest>) -> Result<Option<u64>> {
    let Some(layers) = Layout::of(workspace).retain(images)? else { return Ok(None) };
    Ok(Some(layers + files::evict(&workspace.state_dir().join("deltas"), 0)?))
}

/// Name of a delta: a hash of everything that decides on its bytes.
fn delta_name(layer: &Layer, bases: &[Digest], plan: &DeltaPlan) -> String {
    let library = zstd::zstd_safe::version_number();
    let name = format!("{FORMAT} {library} {} {bases:?} {:?}", layer.digest, plan.ops);
    Digest::of(name).hex()[..NAME].to_owned()
}

/// Gives their names to the files that earlier versions of xtask left. A file that cannot be renamed is made again. A
/// transfer that one of these versions began resumes only if its delta has no basis: other deltas had other names.
fn adopt_old_names(state: &Utf8Path) {
    for (old, new) in [("parcels", "deltas"), ("contents", "indexes"), ("courier-owner", "owner")] {
        if !state.join(new).exists() {
            fs_err::rename(state.join(old), state.join(new)).unwrap_or_default();
        }
    }
}

impl Drop for DeltaCache {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.state.lock().work = None;
        if let Some(encoder) = self.encoder.take() {
            // A panic has been printed by its thread.
            encoder.join().ok();
        }
    }
}
