//! What the robots of one deploy share: the layers on this machine, and the parcels that are made of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8PathBuf;

use super::agent::Inventory;
use super::file::{DeltaFile, Inputs, NAME};
use super::index::LayerIndex;
use super::plan::{Basis, DeltaPlan};
use crate::config::Workspace;
use crate::digest::Digest;
use crate::error::Result;
use crate::files;
use crate::image::layout::{self, Layer, Layout};
use crate::{process, ui};

/// Raised when the same recipe makes other bytes.
const FORMAT: &str = "1";

/// Bytes that parcels may take on this machine's disk. They are kept for transfers that broke off.
const DELTAS: u64 = 1_000_000_000;

/// Bytes that what is known of layers may take.
const CONTENTS: u64 = 100_000_000;

/// How long another deploy may take: half a gigabyte over a bad Wi-Fi.
const TURN: Duration = Duration::from_secs(30 * 60);

/// Layers smaller than this are looked into again rather than remembered.
const REMEMBERED: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct DeltaCache {
    /// The layers.
    pub layout: Layout,
    dir: Utf8PathBuf,
    state: Mutex<State>,
    /// Nobody waits for parcels any more.
    over: Arc<AtomicBool>,
    maker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    deltas: BTreeMap<String, Arc<DeltaFile>>,
    contents: HashMap<Digest, Arc<LayerIndex>>,
    /// None once the deploy is over.
    orders: Option<Sender<Work>>,
}

type Work = (Arc<DeltaFile>, Inputs, tempfile::NamedTempFile);

/// A layer that a robot has and that may help to make another.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its digest.
    pub digest: Digest,
    /// What is in it.
    pub contents: Arc<LayerIndex>,
    /// Whether its bytes are on this machine.
    pub is_here: bool,
}

/// A parcel, and the layers on the robot that it refers to.
#[derive(Clone, Debug)]
pub struct PackedDelta {
    /// The parcel; it may still be in the making.
    pub delta: Arc<DeltaFile>,
    /// Digests; none where the layer is sent whole.
    pub bases: Vec<Digest>,
}

impl DeltaCache {
    /// Opens the depot of a workspace.
    pub fn open(workspace: &Workspace) -> Self {
        let state = workspace.state_dir();
        for (old, new) in [("parcels", "deltas"), ("contents", "indexes"), ("courier-owner", "owner")] {
            // Names of earlier versions. A file that cannot be renamed is made again.
            if !state.join(new).exists() {
                fs_err::rename(state.join(old), state.join(new)).unwrap_or_default();
            }
        }
        Self::at(Layout::of(workspace), state.join("deltas"))
    }

    /// A depot of these layers that keeps its parcels in `dir`.
    pub fn at(layout: Layout, dir: Utf8PathBuf) -> Self {
        let (orders, work) = channel::<Work>();
        let (kept, over) = (dir.clone(), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        // One parcel at a time, each on all cores: who waits for the first gets it soonest.
        let maker = std::thread::spawn(move || {
            for (delta, inputs, target) in work {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                delta.make(&inputs, target, &kept);
            }
        });
        let state = State { deltas: BTreeMap::new(), contents: HashMap::new(), orders: Some(orders) };
        Self { layout, dir, state: Mutex::new(state), over, maker: Some(maker) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who the agents of this workspace belong to: a word that no other machine has.
    ///
    /// # Errors
    /// Fails when it cannot be kept.
    pub fn owner(&self) -> Result<String> {
        // Robots are served at the same time, and one word is to come of it.
        let _one_at_a_time = self.state();
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

    /// Waits until no other deploy of this workspace delivers to a robot; the result's end is the end of the turn.
    /// Two of them would take each other for what a cut connection left behind.
    ///
    /// # Errors
    /// Fails when it takes longer than a delivery can, or the run is interrupted.
    pub fn lock(&self, robot: &str) -> Result<File> {
        let dir = self.dir.with_file_name("locks");
        fs_err::create_dir_all(&dir)?;
        let lock = File::create(dir.join(robot)).context("wait for other deploys")?;
        if lock.try_lock().is_err() {
            ui::step(robot, "waiting for another deploy of this workspace");
            process::poll("another deploy of this workspace to end", TURN, || Ok(lock.try_lock()?))?;
        }
        Ok(lock)
    }

    /// What is in a layer that is on this machine.
    ///
    /// # Errors
    /// Fails when it cannot be read.
    pub fn contents(&self, digest: &Digest) -> Result<Arc<LayerIndex>> {
        if let Some(contents) = self.state().contents.get(digest) {
            return Ok(Arc::clone(contents));
        }
        let layer = self.layout.blob(digest);
        let size = fs_err::metadata(&layer)?.len();
        let remembered = self.remembered(digest);
        let known = fs_err::read(&remembered).ok().and_then(|text| serde_json::from_slice(&text).ok());
        // What is remembered of a layer that was other then would make a bad recipe: costly, not wrong.
        let known = known.filter(|contents: &LayerIndex| contents.cover(size));
        let contents = match known {
            Some(contents) => Arc::new(contents),
            None => {
                let contents = LayerIndex::read(&layer)?;
                if size >= REMEMBERED {
                    files::replace(&remembered, &serde_json::to_string(&contents)?)?;
                }
                Arc::new(contents)
            }
        };
        drop(self.state().contents.insert(digest.clone(), Arc::clone(&contents)));
        Ok(contents)
    }

    /// Where the contents of a layer are remembered.
    fn remembered(&self, digest: &Digest) -> Utf8PathBuf {
        self.dir.with_file_name("indexes").join(digest.hex())
    }

    /// Forgets what is known of a layer's contents.
    fn remove(&self, digest: &Digest) -> Result<()> {
        drop(self.state().contents.remove(digest));
        let remembered = self.remembered(digest);
        if remembered.exists() {
            fs_err::remove_file(remembered)?;
        }
        Ok(())
    }

    /// The layers on this machine that a robot has, too. What cannot be read here, or has another size on
    /// either side, is of no use.
    pub fn candidates(&self, inventory: &Inventory) -> Vec<Candidate> {
        let same_size = |digest: &Digest| {
            let held = inventory.get(digest)?;
            let here = self.layout.blob(digest).metadata().ok()?;
            (held.size == here.len()).then_some(())
        };
        let here = self.layout.blobs().into_iter().filter(|digest| same_size(digest).is_some());
        let candidate = |digest: Digest| {
            Some(Candidate { contents: self.contents(&digest).ok()?, digest, is_here: true })
        };
        here.filter_map(candidate).collect()
    }

    /// Transport a layer is best made of others.
    ///
    /// # Errors
    /// Fails when the layer cannot be read.
    pub fn plan(
        &self,
        layer: &Layer,
        candidates: &[Candidate],
        made_by: &BTreeMap<Digest, String>,
    ) -> Result<DeltaPlan> {
        if candidates.is_empty() {
            return Ok(DeltaPlan::whole(layer.size));
        }
        let basis = |candidate: &'_ Candidate| {
            made_by.get(&candidate.digest).is_some_and(|op| *op == layer.created_by)
        };
        let bases: Vec<Basis<'_>> = candidates
            .iter()
            .map(|one| Basis { contents: &one.contents, same_history: basis(one), is_here: one.is_here })
            .collect();
        let plan = DeltaPlan::new(self.contents(&layer.digest)?.as_ref(), &bases);
        // The same parcel for all robots, whatever else they have.
        Ok(if plan.is_whole() { DeltaPlan::whole(layer.size) } else { plan })
    }

    /// The parcel for a layer; it is made in the background unless it is there or in the making.
    ///
    /// # Errors
    /// Fails when no file can be made for it.
    pub fn pack(&self, layer: &Layer, plan: DeltaPlan, candidates: &[Candidate]) -> Result<PackedDelta> {
        let used: Vec<&Candidate> = plan.bases.iter().map(|number| &candidates[*number]).collect();
        let bases: Vec<Digest> = used.iter().map(|candidate| candidate.digest.clone()).collect();
        let name = name(layer, &bases, &plan);
        let mut state = self.state();
        if let Some(delta) = state.deltas.get(&name) {
            return Ok(PackedDelta { delta: Arc::clone(delta), bases });
        }
        let delta = match DeltaFile::kept(&self.dir, &name) {
            Some(delta) => Arc::new(delta),
            None => {
                let (delta, target) = DeltaFile::empty(&self.dir, &name)?;
                files::replace(
                    &self.request(&name),
                    &[std::slice::from_ref(&layer.digest), &*bases].concat().join("\n"),
                )?;
                let delta = Arc::new(delta);
                let path = |one: &&Candidate| one.is_here.then(|| self.layout.blob(&one.digest));
                let bases = used.iter().map(path).collect();
                let inputs = Inputs { layer: self.layout.blob(&layer.digest), bases, plan };
                if let Some(orders) = &state.orders {
                    // The maker lives as long as this.
                    drop(orders.send((Arc::clone(&delta), inputs, target)));
                }
                delta
            }
        };
        drop(state.deltas.insert(name, Arc::clone(&delta)));
        Ok(PackedDelta { delta, bases })
    }

    /// The recipe of a transfer that broke off in an earlier run, and the bytes of it that the robot has. The
    /// layers that arrived then are bases now, and would make it another parcel.
    ///
    /// # Errors
    /// Fails when the layer cannot be read.
    pub fn begun(
        &self,
        layer: &Layer,
        spools: &BTreeMap<String, u64>,
        candidates: &[Candidate],
        made_by: &BTreeMap<Digest, String>,
    ) -> Result<Option<(DeltaPlan, u64)>> {
        for (spool, bytes) in spools {
            let request = fs_err::read_to_string(self.request(spool)).unwrap_or_default();
            let Some(bases) = request.strip_prefix(layer.digest.as_str()) else { continue };
            let bases: Vec<&str> = bases.split_whitespace().collect();
            let places: Vec<usize> = (0..candidates.len())
                .filter(|place| bases.contains(&candidates[*place].digest.as_str()))
                .collect();
            let offered: Vec<Candidate> = places.iter().map(|place| candidates[*place].clone()).collect();
            let mut plan = self.plan(layer, &offered, made_by)?;
            plan.bases = plan.bases.iter().map(|number| places[*number]).collect();
            let bases: Vec<Digest> =
                plan.bases.iter().map(|place| candidates[*place].digest.clone()).collect();
            if name(layer, &bases, &plan) == *spool {
                return Ok(Some((plan, *bytes)));
            }
        }
        Ok(None)
    }

    /// Where it is kept what a parcel makes out of what: digests, one a line.
    fn request(&self, delta: &str) -> Utf8PathBuf {
        self.dir.join(format!("{delta}.order"))
    }

    /// Forgets a parcel that did not make what it should, what was remembered of the layers it was made of, and
    /// those of them that are not what they should be. Gives the digests of those.
    ///
    /// # Errors
    /// Fails when a damaged file cannot be removed.
    pub fn invalidate(&self, layer: &Digest, packed: &PackedDelta) -> Result<Vec<Digest>> {
        drop(self.state().deltas.remove(&packed.delta.name));
        let path = self.dir.join(&packed.delta.name);
        if path.exists() {
            fs_err::remove_file(path)?;
        }
        let mut damaged = Vec::new();
        for digest in packed.bases.iter().chain([layer]) {
            self.remove(digest)?;
            if self.layout.blob(digest).exists() && !self.layout.is_intact(digest)? {
                self.layout.discard(digest)?;
                damaged.push(digest.clone());
            }
        }
        Ok(damaged)
    }

    /// Removes what was not used for longest, where it has become too much: layers that a robot has were used
    /// when it was last delivered to.
    pub fn evict(&self) {
        let contents = self.dir.with_file_name("indexes");
        let results = [
            self.layout.evict(layout::LIMIT),
            files::evict(&self.dir, DELTAS),
            files::evict(&contents, CONTENTS),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            // The deploy is done: a file too many is no reason to call it failed.
            ui::warn("clean-up", &format!("{error:#}"));
        }
    }
}

/// Removes from a workspace what deploys of these images do not need, named by the digests of their manifests: other
/// layers, and parcels of transfers that broke off. Gives the bytes that went, or none while a deploy is at work.
///
/// # Errors
/// Fails when it cannot be read or removed.
pub fn prune(workspace: &Workspace, images: &BTreeSet<Digest>) -> Result<Option<u64>> {
    let Some(layers) = Layout::of(workspace).retain(images)? else { return Ok(None) };
    Ok(Some(layers + files::evict(&workspace.state_dir().join("deltas"), 0)?))
}

/// What a parcel is called.
fn name(layer: &Layer, bases: &[Digest], plan: &DeltaPlan) -> String {
    let library = zstd::zstd_safe::version_number();
    let name = format!("{FORMAT} {library} {} {bases:?} {:?}", layer.digest, plan.ops);
    Digest::of(name).hex()[..NAME].to_owned()
}

impl Drop for DeltaCache {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.state().orders = None;
        if let Some(maker) = self.maker.take() {
            // A maker that panicked has said so.
            drop(maker.join());
        }
    }
}
