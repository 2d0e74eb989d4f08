//! Chooses the delta of each missing layer: from layers that the robot has, of this machine or of others.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{Agent, Inventory, short};
use super::cache::{Candidate, DeltaCache, PackedDelta};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::layout::Layer;
use layer_delta::plan::{DeltaPlan, Op};

/// New bytes from which on the robot is asked for the indexes of layers that this machine does not have.
const MIN_NEW_BYTES: u64 = 2 << 20;

/// Smallest layer, in bytes, whose index the robot is asked for.
const MIN_FOREIGN_LAYER: u64 = 64 << 10;

/// Most entries that are read of such indexes.
const MAX_FOREIGN_ENTRIES: usize = 1 << 20;

/// Plans the deltas of all missing layers and starts to encode them. Returns each with its layer and the layer's
/// bytes without a counterpart in layers of the robot.
pub(super) fn pack_all<'a>(
    cache: &DeltaCache,
    agent: Option<&mut Agent>,
    inventory: &Inventory,
    missing: Vec<&'a Layer>,
) -> Result<Vec<(&'a Layer, PackedDelta, u64)>> {
    let made_by = cache.layout.histories();
    let mut candidates = cache.candidates(inventory);
    cache.layout.touch(candidates.iter().map(|candidate| &candidate.digest));
    let plans = plan_all(cache, agent, inventory, &missing, &mut candidates, &made_by)?;
    let mut packed = Vec::new();
    for (mut plan, layer) in plans.into_iter().zip(missing) {
        // A transfer that an earlier run has begun is finished, unless the new plan needs fewer bytes.
        if let Some((resumable, bytes)) =
            cache.resumable_plan(layer, &inventory.spools, &candidates, &made_by)?
            && new_bytes(&resumable).saturating_sub(bytes) <= new_bytes(&plan)
        {
            plan = resumable;
        }
        let new_bytes = new_bytes(&plan);
        packed.push((layer, cache.pack(layer, plan, &candidates)?, new_bytes));
    }
    Ok(packed)
}

/// Plans the deltas of all missing layers.
fn plan_all(
    cache: &DeltaCache,
    agent: Option<&mut Agent>,
    inventory: &Inventory,
    missing: &[&Layer],
    candidates: &mut Vec<Candidate>,
    made_by: &BTreeMap<Digest, String>,
) -> Result<Vec<DeltaPlan>> {
    let plan = |layer: &&Layer, candidates: &[Candidate]| cache.plan(layer, candidates, made_by);
    let mut plans = missing.iter().map(|layer| plan(layer, candidates)).collect::<Result<Vec<_>>>()?;
    // Layers that other machines have sent may be better bases. The robot has to read them for their indexes,
    // which is worth it only where much would be sent.
    if plans.iter().map(new_bytes).sum::<u64>() > MIN_NEW_BYTES
        && let Some(agent) = agent
        && add_foreign_layers(agent, inventory, candidates)?
    {
        for (known, layer) in plans.iter_mut().zip(missing) {
            if new_bytes(known) > MIN_NEW_BYTES {
                *known = plan(layer, candidates)?;
            }
        }
    }
    Ok(plans)
}

/// Bytes of a layer without a counterpart in layers of the robot.
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

/// Asks the robot for the indexes of layers that this machine does not have, and adds them to the candidates.
/// Returns whether there are any.
fn add_foreign_layers(
    agent: &mut Agent,
    inventory: &Inventory,
    candidates: &mut Vec<Candidate>,
) -> Result<bool> {
    let known: BTreeSet<String> =
        candidates.iter().map(|candidate| short(&candidate.digest).to_owned()).collect();
    let unknown: BTreeMap<&String, u64> = inventory
        .blobs
        .iter()
        .filter(|(name, blob)| blob.size >= MIN_FOREIGN_LAYER && !known.contains(*name))
        .map(|(name, blob)| (name, blob.size))
        .collect();
    let (mut found, mut entries) = (false, 0);
    for (name, size) in unknown {
        let (digest, index) = agent.index(name, size)?;
        entries += index.entries.len();
        if entries > MAX_FOREIGN_ENTRIES {
            break;
        }
        if !index.entries.is_empty() {
            found = true;
            candidates.push(Candidate { digest, index: index.into(), is_here: false });
        }
    }
    Ok(found)
}
