//! What one robot is to be brought: the layers that it lacks, each packed as the smallest parcel there is.

use std::collections::{BTreeMap, BTreeSet};

use super::Courier;
use super::agent::{Agent, Held, Look, Order, short};
use super::depot::{Candidate, Depot, Packed};
use super::lowest;
use super::recipe::{Recipe, Step};
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
pub struct Item {
    /// The layer.
    pub layer: Layer,
    /// How it travels.
    pub packed: Packed,
    /// An image of the layers up to this one, for the robot to unpack while others are on their way.
    pub image: Option<Partial>,
    /// Whether it has been packed anew after the robot could make nothing of it.
    retried: bool,
    /// Bytes of it that nothing on the robot is known to resemble.
    new: u64,
    /// Whether a part of it was on the robot before; none once that has been given up.
    resumed: Option<bool>,
}

impl Item {
    /// What the robot is told of it.
    pub fn order<'a>(&'a self, repository: &'a str) -> Order<'a> {
        let Self { layer, packed, image, .. } = self;
        let (layer, size) = (&layer.digest, layer.size);
        Order { repository, layer, size, bases: &packed.bases, image: image.as_ref() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Consignment {
    items: Vec<Item>,
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

impl Consignment {
    /// Compares what the images need with what the robot has. Parcels are made in the background from here on.
    ///
    /// # Errors
    /// Fails when layers on this machine cannot be read, or the connection is gone.
    pub fn new(
        courier: &Courier<'_>,
        agent: Option<&mut Agent>,
        look: &Look,
        images: &[Exported],
    ) -> Result<Self> {
        let depot = courier.route.depot;
        let mut layers: Vec<&Layer> = Vec::new();
        for layer in images.iter().flat_map(|image| &image.layers) {
            if !layers.iter().any(|known| known.digest == layer.digest) {
                layers.push(layer);
            }
        }
        let mut consignment = Self {
            items: Vec::new(),
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
            match is_whole(&look.held, layer) {
                Some(held) if held.linked => consignment.there.push(layer.digest.clone()),
                Some(_) => consignment.attach.push(layer.digest.clone()),
                None => missing.push(layer),
            }
        }
        depot.layout.touch(images.iter().flat_map(|image| &image.layers).map(|layer| &layer.digest));
        if missing.is_empty() {
            return Ok(consignment);
        }
        let mut candidates = depot.candidates(look);
        depot.layout.touch(candidates.iter().map(|candidate| &candidate.digest));
        let made_by = depot.layout.histories();
        let mut recipes = Vec::new();
        for layer in &missing {
            recipes.push(depot.recipe(layer, &candidates, &made_by)?);
        }
        // Layers of machines other than this one: worth a question where much would be sent.
        if recipes.iter().map(new_bytes).sum::<u64>() > WORTH_ASKING
            && let Some(agent) = agent
            && ask_about_others(agent, look, &mut candidates)?
        {
            for (recipe, layer) in recipes.iter_mut().zip(&missing) {
                if new_bytes(recipe) > WORTH_ASKING {
                    *recipe = depot.recipe(layer, &candidates, &made_by)?;
                }
            }
        }
        for (mut recipe, layer) in recipes.into_iter().zip(missing) {
            // What an earlier run has begun is finished, unless there is a shorter way by now.
            if let Some((begun, bytes)) = depot.begun(layer, &look.spools, &candidates, &made_by)?
                && new_bytes(&begun).saturating_sub(bytes) <= new_bytes(&recipe)
            {
                recipe = begun;
            }
            let new = new_bytes(&recipe);
            let packed = depot.pack(layer, recipe, &candidates)?;
            let (layer, resumed) = (layer.clone(), Some(false));
            consignment.items.push(Item { layer, packed, image: None, retried: false, new, resumed });
        }
        consignment.add_images(depot, images)?;
        Ok(consignment)
    }

    /// Adds images of lowest layers to the layers that complete one, where those that follow will take their time.
    fn add_images(&mut self, depot: &Depot, images: &[Exported]) -> Result<()> {
        let there = [self.there.as_slice(), &self.attach].concat();
        let items: Vec<(&Layer, u64)> = self.items.iter().map(|item| (&item.layer, item.new)).collect();
        let found = lowest::find(images, &there, &items);
        for (item, lowest) in self.items.iter_mut().zip(found) {
            item.image = lowest.map(|(image, layers)| depot.layout.partial(image, layers)).transpose()?;
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
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The digests of those.
    pub fn layers(&self) -> Vec<&str> {
        self.items.iter().map(|item| item.layer.digest.as_str()).collect()
    }

    /// Takes those off the list that the robot holds by now.
    pub fn made_meanwhile(&mut self, held: &BTreeMap<String, Held>) -> Vec<Item> {
        let items = std::mem::take(&mut self.items);
        let made: Vec<Item>;
        (made, self.items) = items.into_iter().partition(|item| is_whole(held, &item.layer).is_some());
        self.attach.extend(made.iter().map(|item| item.layer.digest.clone()));
        self.done += made.len();
        made
    }

    /// Whether there is nothing left to do.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.attach.is_empty()
    }

    /// The parcels whose unfinished transfers are all that may stay on the robot, where it has no room for others.
    pub fn keep(&self) -> Option<Vec<&str>> {
        self.is_tight.then(|| self.parcels().collect())
    }

    fn parcels(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|item| item.packed.parcel.name.as_str())
    }

    /// Why the layers do not fit on the robot, if they do not; finds out what has to go there, too.
    ///
    /// What has arrived of the parcels is a part of what they need. What others have left unfinished makes room.
    pub fn excess(&mut self, look: &Look) -> Option<String> {
        let layers: u64 = self.items.iter().map(|item| item.layer.size).sum();
        let parcel = |item: &Item| {
            let (size, is_known) = item.packed.parcel.size_so_far();
            if is_known { size } else { size.max(item.new / 2) }
        };
        let parcel = self.items.iter().map(parcel).max().unwrap_or_default();
        let own = number::sum(self.parcels().filter_map(|name| look.spools.get(name).copied()));
        self.is_tight = lack(look, layers, parcel, own).is_some();
        if !self.is_tight {
            return None;
        }
        lack(look, layers, parcel, number::sum(look.spools.values().copied()))
    }

    /// Bytes of all parcels, as it looks now; none before anything can be said.
    pub fn expected(&self) -> Option<u64> {
        let parts: Vec<_> = self.items.iter().map(|item| (item.new, item.packed.parcel.expected())).collect();
        expected(&parts)
    }

    /// Bytes of the parcels that are on the robot already, of its unfinished transfers.
    pub fn arrived(&mut self, spools: &BTreeMap<String, u64>) -> u64 {
        let mut bytes = 0;
        for item in &mut self.items {
            let spool = spools.get(&item.packed.parcel.name).copied().unwrap_or_default();
            item.resumed = item.resumed.map(|before| before || spool > 0);
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
        self.items.iter().any(|item| item.packed.parcel.has_failed())
    }

    /// A layer has been made on the robot.
    pub fn done(&mut self, digest: &str) {
        self.items.retain(|item| *item.layer.digest != *digest);
        self.done += 1;
    }

    /// Leaves the first layer to the push.
    pub fn drop_first(&mut self) {
        drop(self.items.remove(0));
    }

    /// Sends the first layer once more from its beginning, if a part of it was on the robot before; not a second
    /// time.
    pub fn begin_anew(&mut self) -> bool {
        self.items.first_mut().and_then(|item| item.resumed.take()).unwrap_or_default()
    }

    /// Tries the first layer once more, sent whole where a depot is given; not a second time.
    pub fn retry(&mut self, whole: Option<&Depot>) -> bool {
        let Some(item) = self.items.first_mut().filter(|item| !item.retried) else { return false };
        item.retried = true;
        let Some(depot) = whole else { return true };
        match depot.pack(&item.layer, Recipe::whole(item.layer.size), &[]) {
            Ok(packed) => {
                item.packed = packed;
                item.new = item.layer.size;
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
fn lack(look: &Look, layers: u64, parcel: u64, spools: u64) -> Option<String> {
    let disk = look.disk.saturating_add(look.parts).saturating_add(spools);
    let engine = layers.saturating_mul(look.copies);
    let words = |whose: &str, free: u64, needed: u64| {
        let (free, needed) = (ui::bytes(free), ui::bytes(needed));
        format!("{whose} has {free} free, the new layers need {needed} there")
    };
    let shared = layers.saturating_add(engine.max(parcel));
    if look.shared {
        return (disk < shared).then(|| words("its disk", disk, shared));
    }
    if disk < layers + parcel {
        return Some(words("its registry's disk", disk, layers + parcel));
    }
    (look.engine < engine).then(|| words("its engine's disk", look.engine, engine))
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
fn is_whole(held: &BTreeMap<String, Held>, layer: &Layer) -> Option<Held> {
    held.get(short(&layer.digest)).filter(|held| held.size == layer.size).copied()
}

/// Bytes of a layer that nothing on the robot is known to resemble.
fn new_bytes(recipe: &Recipe) -> u64 {
    let new = recipe.steps.iter().map(|step| match step {
        Step::Copy(_) => 0,
        Step::Frame { prefix, made } => {
            let resembling: u64 = prefix.iter().map(|piece| piece.range.end - piece.range.start).sum();
            (made.end - made.start).saturating_sub(resembling)
        }
    });
    new.sum()
}

/// Asks what is in layers that this machine does not have. Tells whether there are any.
fn ask_about_others(agent: &mut Agent, look: &Look, candidates: &mut Vec<Candidate>) -> Result<bool> {
    let known: BTreeSet<String> = candidates.iter().map(|one| short(&one.digest).to_owned()).collect();
    let unknown: BTreeMap<&String, u64> = look
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
    use super::super::agent::Look;
    use super::{expected, lack};

    #[test]
    fn what_an_interrupted_transfer_left_is_room_for_the_next() {
        let look = Look { disk: 250, shared: true, copies: 1, ..Look::default() };
        assert_eq!(lack(&look, 100, 150, 0), None);
        assert!(lack(&look, 200, 0, 149).unwrap().contains("its disk has"));
        assert_eq!(lack(&look, 200, 0, 150), None);
        assert_eq!(lack(&Look { parts: 100, ..look.clone() }, 200, 0, 50), None);
        let twice = Look { copies: 2, ..look };
        assert!(lack(&twice, 100, 0, 49).is_some() && lack(&twice, 100, 0, 50).is_none());
    }

    #[test]
    fn numbers_of_a_robot_may_be_anything() {
        let most = u64::MAX;
        let look = Look { disk: most, parts: most, copies: most, shared: true, ..Look::default() };
        assert_eq!(lack(&look, 100, most, most), None);
        let look = Look { disk: most, parts: most, copies: most, ..Look::default() };
        assert!(lack(&look, 100, 1, most).unwrap().contains("its engine's disk"));
    }

    #[test]
    fn an_engine_with_a_disk_of_its_own_gains_nothing_by_it() {
        let look = Look { disk: 100, engine: 300, copies: 2, ..Look::default() };
        assert!(lack(&look, 100, 50, 49).unwrap().contains("its registry's disk"));
        assert_eq!(lack(&look, 100, 50, 50), None);
        assert!(lack(&look, 151, 0, 1_000).unwrap().contains("its engine's disk"));
        // Where nothing can be known, there is no end of room.
        assert_eq!(lack(&Look { disk: u64::MAX, parts: 1, copies: 0, ..Look::default() }, 9, 9, 9), None);
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
