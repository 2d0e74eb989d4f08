//! What one robot is to be brought: the layers that it lacks, each packed as the smallest parcel there is.

use std::collections::{BTreeMap, BTreeSet};

use super::Transfer;
use super::agent::{Agent, Inventory, MakeRequest, RemoteBlob, short};
use super::cache::{Candidate, DeltaCache, PackedDelta};
use super::plan::{DeltaPlan, Op};
use super::prefix;
use crate::digest::Digest;
use crate::error::Result;
use crate::image::layout::{Exported, Layer};
use crate::image::partial::Partial;
use crate::{number, ui};

/// Bytes that have to be new before it is worth asking what is in the layers of other people's machines.
const WORTH_ASKING: u64 = 2 << 20;

/// Other people's layers that are too small to be asked about.
const TOO_SMALL: u64 = 64 << 10;

/// Files of other people's layers that are looked through.
const FILES: usize = 1 << 20;

/// A layer on its way.
#[derive(Clone, Debug)]
pub struct Job {
    /// The layer.
    pub layer: Layer,
    /// Transport it travels.
    pub packed: PackedDelta,
    /// An image of the layers up to this one, for the robot to unpack while others are on their way.
    pub image: Option<Partial>,
    /// Whether it has been packed anew after the robot could make nothing of it.
    retried: bool,
    /// Bytes of it that nothing on the robot is known to resemble.
    new: u64,
    /// Whether a part of it was on the robot before; none once that has been given up.
    resumed: Option<bool>,
}

impl Job {
    /// What the robot is told of it.
    pub fn request<'a>(&'a self, repository: &'a str) -> MakeRequest<'a> {
        let Self { layer, packed, image, .. } = self;
        let (layer, size) = (&layer.digest, layer.size);
        MakeRequest { repository, layer, size, bases: &packed.bases, image: image.as_ref() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    jobs: Vec<Job>,
    attach: Vec<Digest>,
    /// Layers on the robot out of which another could not be made.
    suspects: Vec<Digest>,
    there: Vec<Digest>,
    /// Whether the layers fit only where unfinished transfers of others make room.
    is_tight: bool,
    /// Bytes of unfinished transfers that the robot had at the last look, and before that.
    arrived: (u64, u64),
    done: usize,
    done_before: usize,
}

impl Queue {
    /// Compares what the images need with what the robot has. Parcels are made in the background from here on.
    ///
    /// # Errors
    /// Fails when layers on this machine cannot be read, or the connection is gone.
    pub fn new(
        transfer: &Transfer<'_>,
        agent: Option<&mut Agent>,
        inventory: &Inventory,
        images: &[Exported],
    ) -> Result<Self> {
        let cache = transfer.route.cache;
        let mut layers: Vec<&Layer> = Vec::new();
        for layer in images.iter().flat_map(|image| &image.layers) {
            if !layers.iter().any(|known| known.digest == layer.digest) {
                layers.push(layer);
            }
        }
        let mut queue = Self {
            jobs: Vec::new(),
            attach: Vec::new(),
            suspects: Vec::new(),
            there: Vec::new(),
            is_tight: false,
            arrived: (0, 0),
            done: 0,
            done_before: 0,
        };
        let mut missing = Vec::new();
        for layer in layers {
            match is_whole(&inventory.held, layer) {
                Some(held) if held.linked => queue.there.push(layer.digest.clone()),
                Some(_) => queue.attach.push(layer.digest.clone()),
                None => missing.push(layer),
            }
        }
        cache.layout.touch(images.iter().flat_map(|image| &image.layers).map(|layer| &layer.digest));
        if missing.is_empty() {
            return Ok(queue);
        }
        let mut candidates = cache.candidates(inventory);
        cache.layout.touch(candidates.iter().map(|candidate| &candidate.digest));
        let made_by = cache.layout.histories();
        let mut plans = Vec::new();
        for layer in &missing {
            plans.push(cache.plan(layer, &candidates, &made_by)?);
        }
        // Layers of machines other than this one: worth a question where much would be sent.
        if plans.iter().map(new_bytes).sum::<u64>() > WORTH_ASKING
            && let Some(agent) = agent
            && ask_about_others(agent, inventory, &mut candidates)?
        {
            for (plan, layer) in plans.iter_mut().zip(&missing) {
                if new_bytes(plan) > WORTH_ASKING {
                    *plan = cache.plan(layer, &candidates, &made_by)?;
                }
            }
        }
        for (mut plan, layer) in plans.into_iter().zip(missing) {
            // What an earlier run has begun is finished, unless there is a shorter way by now.
            if let Some((begun, bytes)) = cache.begun(layer, &inventory.spools, &candidates, &made_by)?
                && new_bytes(&begun).saturating_sub(bytes) <= new_bytes(&plan)
            {
                plan = begun;
            }
            let new = new_bytes(&plan);
            let packed = cache.pack(layer, plan, &candidates)?;
            let (layer, resumed) = (layer.clone(), Some(false));
            queue.jobs.push(Job { layer, packed, image: None, retried: false, new, resumed });
        }
        queue.add_images(cache, images)?;
        Ok(queue)
    }

    /// Adds images of lowest layers to the layers that complete one, where those that follow will take their time.
    fn add_images(&mut self, cache: &DeltaCache, images: &[Exported]) -> Result<()> {
        let there = [self.there.as_slice(), &self.attach].concat();
        let jobs: Vec<(&Layer, u64)> = self.jobs.iter().map(|job| (&job.layer, job.new)).collect();
        let found = prefix::find(images, &there, &jobs);
        for (job, prefix) in self.jobs.iter_mut().zip(found) {
            job.image = prefix.map(|(image, layers)| cache.layout.partial(image, layers)).transpose()?;
        }
        Ok(())
    }

    /// Layers that are where they are needed.
    pub fn there(&self) -> &[Digest] {
        &self.there
    }

    /// Layers that the robot has under other repositories.
    pub fn attachable(&self) -> &[Digest] {
        &self.attach
    }

    /// One of those.
    pub fn to_attach(&self) -> Option<Digest> {
        self.attach.last().cloned()
    }

    /// That one is under this repository, too.
    pub fn attached(&mut self) {
        drop(self.attach.pop());
    }

    /// Has these layers looked at on the robot.
    pub fn suspect(&mut self, layers: &[Digest]) {
        self.suspects.extend_from_slice(layers);
    }

    /// Layers to be looked at on the robot; they are given once.
    pub fn take_suspects(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.suspects)
    }

    /// Layers that are on their way.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// The digests of those.
    pub fn layers(&self) -> Vec<&str> {
        self.jobs.iter().map(|job| job.layer.digest.as_str()).collect()
    }

    /// Takes those off the list that the robot holds by now.
    pub fn made_meanwhile(&mut self, held: &BTreeMap<String, RemoteBlob>) -> Vec<Job> {
        let jobs = std::mem::take(&mut self.jobs);
        let made: Vec<Job>;
        (made, self.jobs) = jobs.into_iter().partition(|job| is_whole(held, &job.layer).is_some());
        self.attach.extend(made.iter().map(|job| job.layer.digest.clone()));
        self.done += made.len();
        made
    }

    /// Whether there is nothing left to do.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.attach.is_empty()
    }

    /// The parcels whose unfinished transfers are all that may stay on the robot, where it has no room for others.
    pub fn keep(&self) -> Option<Vec<&str>> {
        self.is_tight.then(|| self.deltas().collect())
    }

    fn deltas(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|job| job.packed.delta.name.as_str())
    }

    /// Why the layers do not fit on the robot, if they do not; finds out what has to go there, too.
    ///
    /// What has arrived of the parcels is a part of what they need. What others have left unfinished makes room.
    pub fn excess(&mut self, inventory: &Inventory) -> Option<String> {
        let layers: u64 = self.jobs.iter().map(|job| job.layer.size).sum();
        let delta = |job: &Job| {
            let (size, is_known) = job.packed.delta.size_so_far();
            if is_known { size } else { size.max(job.new / 2) }
        };
        let delta = self.jobs.iter().map(delta).max().unwrap_or_default();
        let own = number::sum(self.deltas().filter_map(|name| inventory.spools.get(name).copied()));
        self.is_tight = lack(inventory, layers, delta, own).is_some();
        if !self.is_tight {
            return None;
        }
        lack(inventory, layers, delta, number::sum(inventory.spools.values().copied()))
    }

    /// Bytes of all parcels, as it looks now; none before anything can be said.
    pub fn expected(&self) -> Option<u64> {
        let parts: Vec<_> = self.jobs.iter().map(|job| (job.new, job.packed.delta.expected())).collect();
        expected(&parts)
    }

    /// Bytes of the parcels that are on the robot already, of its unfinished transfers.
    pub fn arrived(&mut self, spools: &BTreeMap<String, u64>) -> u64 {
        let mut bytes = 0;
        for job in &mut self.jobs {
            let spool = spools.get(&job.packed.delta.name).copied().unwrap_or_default();
            job.resumed = job.resumed.map(|before| before || spool > 0);
            bytes = number::sum([bytes, spool]);
        }
        self.arrived = (bytes, self.arrived.0);
        bytes
    }

    /// Whether anything arrived between the last two looks, or layers were made, since this was asked last.
    pub fn arrived_since(&mut self) -> bool {
        let progress = self.arrived.0 > self.arrived.1 || self.done > self.done_before;
        self.done_before = self.done;
        // Who does not even come to a look finds nothing new.
        self.arrived.1 = self.arrived.0;
        progress
    }

    /// Whether a parcel cannot be made.
    pub fn has_failed(&self) -> bool {
        self.jobs.iter().any(|job| job.packed.delta.has_failed())
    }

    /// A layer has been made on the robot.
    pub fn done(&mut self, digest: &str) {
        self.jobs.retain(|job| *job.layer.digest != *digest);
        self.done += 1;
    }

    /// Leaves the first layer to the push.
    pub fn drop_first(&mut self) {
        drop(self.jobs.remove(0));
    }

    /// Sends the first layer once more from its beginning, if a part of it was on the robot before; not a second
    /// time.
    pub fn begin_anew(&mut self) -> bool {
        self.jobs.first_mut().and_then(|job| job.resumed.take()).unwrap_or_default()
    }

    /// Tries the first layer once more, sent whole where a depot is given; not a second time.
    pub fn retry(&mut self, whole: Option<&DeltaCache>) -> bool {
        let Some(job) = self.jobs.first_mut().filter(|job| !job.retried) else { return false };
        job.retried = true;
        let Some(cache) = whole else { return true };
        match cache.pack(&job.layer, DeltaPlan::whole(job.layer.size), &[]) {
            Ok(packed) => {
                job.packed = packed;
                job.new = job.layer.size;
                true
            }
            Err(_) => false,
        }
    }
}

/// Why so many bytes of layers, and of the largest parcel, do not fit on a robot, if they do not. `spools` are bytes of
/// unfinished transfers that count as free there, as those of unfinished layers do.
///
/// Its registry keeps each layer once, uncompressed, beside the parcel that is being worked off. Then
/// its engine keeps the unpacked files, and in a containerd store the layer as well.
fn lack(inventory: &Inventory, layers: u64, delta: u64, spools: u64) -> Option<String> {
    let disk = inventory.disk.saturating_add(inventory.parts).saturating_add(spools);
    let engine = layers.saturating_mul(inventory.copies);
    let words = |whose: &str, free: u64, needed: u64| {
        let (free, needed) = (ui::bytes(free), ui::bytes(needed));
        format!("{whose} has {free} free, the new layers need {needed} there")
    };
    let shared = layers.saturating_add(engine.max(delta));
    if inventory.shared {
        return (disk < shared).then(|| words("its disk", disk, shared));
    }
    if disk < layers + delta {
        return Some(words("its registry's disk", disk, layers + delta));
    }
    (inventory.engine < engine).then(|| words("its engine's disk", inventory.engine, engine))
}

/// What parts come to of which some have a size and all a measure: the others are taken to be like those.
fn expected(parts: &[(u64, Option<u64>)]) -> Option<u64> {
    let known = parts.iter().filter_map(|(measure, size)| Some((*measure, (*size)?)));
    let (measure, size) =
        known.fold((0, 0), |(measures, sizes), (measure, size)| (measures + measure, sizes + size));
    let rest: u64 = parts.iter().filter(|(_, size)| size.is_none()).map(|(measure, _)| measure).sum();
    if rest == 0 {
        return Some(size);
    }
    let others = (u128::from(rest) * u128::from(size)).checked_div(measure.into())?;
    Some(size + u64::try_from(others).ok()?)
}

/// A layer among the blobs of a robot, if all of it is there.
fn is_whole(held: &BTreeMap<String, RemoteBlob>, layer: &Layer) -> Option<RemoteBlob> {
    held.get(short(&layer.digest)).filter(|held| held.size == layer.size).copied()
}

/// Bytes of a layer that nothing on the robot is known to resemble.
fn new_bytes(plan: &DeltaPlan) -> u64 {
    let new = plan.ops.iter().map(|op| match op {
        Op::Copy(_) => 0,
        Op::Frame { prefix, made } => {
            let resembling: u64 = prefix.iter().map(|span| span.range.end - span.range.start).sum();
            (made.end - made.start).saturating_sub(resembling)
        }
    });
    new.sum()
}

/// Asks what is in layers that this machine does not have. Tells whether there are any.
fn ask_about_others(
    agent: &mut Agent,
    inventory: &Inventory,
    candidates: &mut Vec<Candidate>,
) -> Result<bool> {
    let known: BTreeSet<String> = candidates.iter().map(|one| short(&one.digest).to_owned()).collect();
    let unknown: BTreeMap<&String, u64> = inventory
        .held
        .iter()
        .filter(|(name, held)| held.size >= TOO_SMALL && !known.contains(*name))
        .map(|(name, held)| (name, held.size))
        .collect();
    let (mut found, mut files) = (false, 0);
    for (name, size) in unknown {
        let (digest, contents) = agent.contents(name, size)?;
        files += contents.entries.len();
        if files > FILES {
            break;
        }
        if !contents.entries.is_empty() {
            found = true;
            candidates.push(Candidate { digest, contents: contents.into(), is_here: false });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::agent::Inventory;
    use super::{expected, lack};

    #[test]
    fn what_an_interrupted_transfer_left_is_room_for_the_next() {
        let inventory = Inventory { disk: 250, shared: true, copies: 1, ..Inventory::default() };
        assert_eq!(lack(&inventory, 100, 150, 0), None);
        assert!(lack(&inventory, 200, 0, 149).unwrap().contains("its disk has"));
        assert_eq!(lack(&inventory, 200, 0, 150), None);
        assert_eq!(lack(&Inventory { parts: 100, ..inventory.clone() }, 200, 0, 50), None);
        let twice = Inventory { copies: 2, ..inventory };
        assert!(lack(&twice, 100, 0, 49).is_some() && lack(&twice, 100, 0, 50).is_none());
    }

    #[test]
    fn numbers_of_a_robot_may_be_anything() {
        let most = u64::MAX;
        let inventory =
            Inventory { disk: most, parts: most, copies: most, shared: true, ..Inventory::default() };
        assert_eq!(lack(&inventory, 100, most, most), None);
        let inventory = Inventory { disk: most, parts: most, copies: most, ..Inventory::default() };
        assert!(lack(&inventory, 100, 1, most).unwrap().contains("its engine's disk"));
    }

    #[test]
    fn an_engine_with_a_disk_of_its_own_gains_nothing_by_it() {
        let inventory = Inventory { disk: 100, engine: 300, copies: 2, ..Inventory::default() };
        assert!(lack(&inventory, 100, 50, 49).unwrap().contains("its registry's disk"));
        assert_eq!(lack(&inventory, 100, 50, 50), None);
        assert!(lack(&inventory, 151, 0, 1_000).unwrap().contains("its engine's disk"));
        // Where nothing can be known, there is no end of room.
        assert_eq!(
            lack(&Inventory { disk: u64::MAX, parts: 1, copies: 0, ..Inventory::default() }, 9, 9, 9),
            None
        );
    }

    #[test]
    fn what_is_not_known_is_taken_to_be_like_what_is() {
        assert_eq!(expected(&[(100, Some(40)), (50, Some(30))]), Some(70));
        assert_eq!(expected(&[(100, Some(40)), (50, None)]), Some(60));
        assert_eq!(expected(&[(100, None)]), None);
        assert_eq!(expected(&[(0, Some(12)), (50, None)]), None);
        assert_eq!(expected(&[]), Some(0));
    }
}
