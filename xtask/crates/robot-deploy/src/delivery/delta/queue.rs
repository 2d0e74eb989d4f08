//! Transfer queue of one robot: the layers that it lacks, each with its smallest delta.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{Agent, Inventory, MakeRequest, RemoteBlob, short};
use super::cache::{DeltaCache, PackedDelta};
use super::plans;
use super::{LayerReport, Transfer, space};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::layout::{Exported, Layer};
use crate::number;
use crate::timeline::Transport;
use layer_delta::plan::DeltaPlan;

/// A layer to send.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub layer: Layer,
    pub packed: PackedDelta,
    /// True if the layer was sent again after the robot had refused to make the layer.
    retried: bool,
    /// Bytes of the layer without a counterpart in layers of the robot.
    new_bytes: u64,
    /// True if a part of the delta was on the robot before this run; none once that part has been given up.
    resumed: Option<bool>,
}

impl Job {
    pub(super) fn request<'a>(&'a self, repository: &'a str) -> MakeRequest<'a> {
        let Self { layer, packed, .. } = self;
        MakeRequest { repository, layer: &layer.digest, size: layer.size, bases: &packed.bases }
    }

    /// The report of the layer once it has been sent.
    pub(super) fn report(&self) -> Result<LayerReport> {
        let how = match self.packed.bases.first() {
            Some(basis) => Transport::Patch { basis: basis.to_string() },
            None => Transport::Whole,
        };
        Ok(LayerReport { how, sent: self.packed.delta.size()? })
    }
}

/// Layers to send to one robot.
#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: Vec<Job>,
    attach: Vec<Digest>,
    /// Bases on the robot from which a layer could not be made.
    suspects: Vec<Digest>,
    present: Vec<Digest>,
    /// True if the layers fit only after spools of other deltas are removed.
    is_tight: bool,
    /// Bytes of the jobs' spools when the robot was asked last, and the time before.
    arrived: (u64, u64),
    done: usize,
    done_before: usize,
}

impl Queue {
    /// Compares the layers of the images with those of the robot, and starts to encode deltas in the
    /// background.
    pub(super) fn new(
        transfer: &Transfer<'_>,
        agent: Option<&mut Agent>,
        inventory: &Inventory,
        images: &[Exported],
    ) -> Result<Self> {
        let cache = transfer.route.cache;
        let mut queue = Self::default();
        let missing = queue.sort_out(images, inventory);
        cache.layout.touch(images.iter().flat_map(|image| &image.layers).map(|layer| &layer.digest));
        if missing.is_empty() {
            return Ok(queue);
        }
        for (layer, packed, new_bytes) in plans::pack_all(cache, agent, inventory, missing)? {
            let (layer, resumed) = (layer.clone(), Some(false));
            queue.jobs.push(Job { layer, packed, retried: false, new_bytes, resumed });
        }
        Ok(queue)
    }

    /// Notes which layers the robot has; returns those that it lacks, each once.
    fn sort_out<'a>(&mut self, images: &'a [Exported], inventory: &Inventory) -> Vec<&'a Layer> {
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        for layer in images.iter().flat_map(|image| &image.layers) {
            if !seen.insert(&layer.digest) {
                continue;
            }
            match complete_blob(&inventory.blobs, layer) {
                Some(blob) if blob.linked => self.present.push(layer.digest.clone()),
                Some(_) => self.attach.push(layer.digest.clone()),
                None => missing.push(layer),
            }
        }
        missing
    }

    /// Layers that the project's repository on the robot has.
    pub(super) fn present(&self) -> &[Digest] {
        &self.present
    }

    /// Layers that the robot has, but not in the project's repository.
    pub(super) fn attachable(&self) -> &[Digest] {
        &self.attach
    }

    /// The next layer to attach to the project's repository.
    pub(super) fn next_to_attach(&self) -> Option<Digest> {
        self.attach.last().cloned()
    }

    /// Removes the layer of [`Queue::next_to_attach`].
    pub(super) fn finish_attach(&mut self) {
        self.attach.pop();
    }

    /// Marks layers on the robot as possibly damaged.
    pub(super) fn suspect(&mut self, layers: &[Digest]) {
        self.suspects.extend_from_slice(layers);
    }

    /// Takes the layers that may be damaged on the robot.
    pub(super) fn take_suspects(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.suspects)
    }

    /// The layers still to be sent, in order.
    pub(super) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// The digests of the layers still to be sent.
    pub(super) fn layer_digests(&self) -> Vec<&str> {
        self.jobs.iter().map(|job| job.layer.digest.as_str()).collect()
    }

    /// Takes the jobs whose layers the robot has by now.
    pub(super) fn take_finished(&mut self, blobs: &BTreeMap<String, RemoteBlob>) -> Vec<Job> {
        let jobs = std::mem::take(&mut self.jobs);
        let finished: Vec<Job>;
        (finished, self.jobs) = jobs.into_iter().partition(|job| complete_blob(blobs, &job.layer).is_some());
        self.attach.extend(finished.iter().map(|job| job.layer.digest.clone()));
        self.done += finished.len();
        finished
    }

    /// Returns whether no layer is left to send or to attach.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.attach.is_empty()
    }

    /// The deltas whose spools may stay on the robot, if all others have to be removed to make room.
    pub(super) fn deltas_to_keep(&self) -> Option<Vec<&str>> {
        self.is_tight.then(|| self.delta_names().collect())
    }

    fn delta_names(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|job| job.packed.delta.name.as_str())
    }

    /// Describes why the layers do not fit on the robot, if they do not. Also decides whether spools of other
    /// deltas have to be removed there.
    ///
    /// The jobs' own spools count as free space, because they are a part of the deltas that need it.
    pub(super) fn disk_shortage(&mut self, inventory: &Inventory) -> Option<String> {
        let layers: u64 = self.jobs.iter().map(|job| job.layer.size).sum();
        let delta = self.jobs.iter().map(estimated_size).max().unwrap_or_default();
        let own = number::sum(self.delta_names().filter_map(|name| inventory.spools.get(name).copied()));
        self.is_tight = space::shortage(inventory, layers, delta, own).is_some();
        if !self.is_tight {
            return None;
        }
        space::shortage(inventory, layers, delta, number::sum(inventory.spools.values().copied()))
    }

    /// Expected bytes of all deltas; none while nothing is known.
    pub(super) fn expected_bytes(&self) -> Option<u64> {
        let parts: Vec<_> =
            self.jobs.iter().map(|job| (job.new_bytes, job.packed.delta.expected_size())).collect();
        extrapolated(&parts)
    }

    /// Records how much of the deltas the robot has in its spools; returns the sum in bytes.
    pub(super) fn update_arrived(&mut self, spools: &BTreeMap<String, u64>) -> u64 {
        let mut bytes = 0;
        for job in &mut self.jobs {
            let spool = spools.get(&job.packed.delta.name).copied().unwrap_or_default();
            job.resumed = job.resumed.map(|before| before || spool > 0);
            bytes = number::sum([bytes, spool]);
        }
        self.arrived = (bytes, self.arrived.0);
        bytes
    }

    /// Returns whether bytes arrived or layers were made since the last call.
    pub(super) fn made_progress(&mut self) -> bool {
        let progress = self.arrived.0 > self.arrived.1 || self.done > self.done_before;
        self.done_before = self.done;
        // A connection that drops before the spools are known again is not progress.
        self.arrived.1 = self.arrived.0;
        progress
    }

    /// Returns whether a delta could not be encoded.
    pub(super) fn has_failed(&self) -> bool {
        self.jobs.iter().any(|job| job.packed.delta.has_failed())
    }

    /// Removes the job of a layer that the robot has made.
    pub(super) fn finish(&mut self, digest: &str) {
        self.jobs.retain(|job| *job.layer.digest != *digest);
        self.done += 1;
    }

    /// Leaves the first layer to `docker push`.
    pub(super) fn skip_first(&mut self) {
        self.jobs.remove(0);
    }

    /// Has the first layer sent again from its beginning, if a part of its delta was on the robot before this run.
    /// Returns false otherwise, and at a second call.
    pub(super) fn restart_first(&mut self) -> bool {
        self.jobs.first_mut().and_then(|job| job.resumed.take()).unwrap_or_default()
    }

    /// Has the first layer sent again, whole if a cache is given. Returns false if it was sent again before, or
    /// cannot be.
    pub(super) fn retry_first(&mut self, whole: Option<&DeltaCache>) -> bool {
        let Some(job) = self.jobs.first_mut().filter(|job| !job.retried) else { return false };
        job.retried = true;
        let Some(cache) = whole else { return true };
        match cache.pack(&job.layer, DeltaPlan::whole(job.layer.size), &[]) {
            Ok(packed) => {
                job.packed = packed;
                job.new_bytes = job.layer.size;
                true
            }
            Err(_) => false,
        }
    }
}

/// Size of a job's delta, estimated as half of its new bytes while it is being encoded.
fn estimated_size(job: &Job) -> u64 {
    let (size, is_complete) = job.packed.delta.size_so_far();
    if is_complete { size } else { size.max(job.new_bytes / 2) }
}

/// Extrapolated total size of parts that each have a number of new bytes: parts of unknown size are assumed
/// to compress like the known ones.
fn extrapolated(parts: &[(u64, Option<u64>)]) -> Option<u64> {
    let known = parts.iter().filter_map(|(new, size)| Some((*new, (*size)?)));
    let (new, size) = known.fold((0, 0), |sums, (new, size)| (sums.0 + new, sums.1 + size));
    let rest: u64 = parts.iter().filter(|(_, size)| size.is_none()).map(|(new, _)| new).sum();
    if rest == 0 {
        return Some(size);
    }
    let others = (u128::from(rest) * u128::from(size)).checked_div(new.into())?;
    Some(size + u64::try_from(others).ok()?)
}

/// Returns a layer's blob in the robot's registry, if it has the layer's size.
fn complete_blob(blobs: &BTreeMap<String, RemoteBlob>, layer: &Layer) -> Option<RemoteBlob> {
    blobs.get(short(&layer.digest)).filter(|blob| blob.size == layer.size).copied()
}

#[cfg(test)]
mod tests {
    use super::extrapolated;

    #[test]
    fn unknown_sizes_are_assumed_to_be_like_known_ones() {
        assert_eq!(extrapolated(&[(100, Some(40)), (50, Some(30))]), Some(70));
        assert_eq!(extrapolated(&[(100, Some(40)), (50, None)]), Some(60));
        assert_eq!(extrapolated(&[(100, None)]), None);
        assert_eq!(extrapolated(&[(0, Some(12)), (50, None)]), None);
        assert_eq!(extrapolated(&[]), Some(0));
    }
}
