//! The courier goes ahead of `docker push`: it brings the layers that the robot's registry lacks there, as
//! what changed between them and layers that the robot has.
//!
//! ```text
//! layout ─▶ contents ─▶ recipe ─▶ parcel ─▶ agent ══ ssh ══▶ courier.py ─▶ the registry's blobs
//! ```
//!
//! `docker push` then finds them and sends the manifest. Whatever keeps the courier from bringing a layer costs
//! time and never correctness: the robot lets the registry have a layer only under the digest that it
//! computed, and the push carries what is missing. Only a robot without room for the layers is brought nothing:
//! the push would fill its disk.

mod agent;
mod cache;
mod checksums;
mod file;
mod index;
mod plan;
mod prefix;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::error::{Exit, Failure, Result, exit_of, explained};
use crate::image::layout::{self, Exported, Layer};
use crate::image::oci::Descriptor;
use crate::image::partial::Partial;
use crate::image::{self, Builder, Built};
use crate::robot::{Endpoint, Tunnel};
use crate::timeline::{Lane, Phase, Transport};
use crate::{process, timeline, ui};

use super::Route;
use agent::{Agent, Inventory, Made, Refusal, Started};
use queue::{Job, Queue};

pub use cache::{DeltaCache, prune};

/// DigestCache that the robot has to spare, twice what making a layer takes there.
const MEMORY: u64 = 200_000_000;

/// What is true of a transfer that is given up.
const KEPT: &str = "what arrived is kept there for a day: the next deploy sends the rest";

/// How often a transfer may break off without having come any further.
const TRIES: u32 = 5;

/// What an agent calls it that there is no room left.
const FULL: &str = "disk";

/// What an agent calls it that one of an earlier connection is not to be ended yet, say because of a slow disk.
const STALE: &str = "stale";

/// A courier to one robot.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    route: &'a Route<'a>,
    observer: &'a dyn LayerObserver,
}

/// Hears of images that the robot's registry has got, of layers that have arrived, while others are on their way.
pub trait LayerObserver: Sync {
    /// There will be some.
    fn soon(&self);

    /// One is there.
    fn arrived(&self, image: &Partial);
}

/// Where nobody wants to know.
pub struct NoObserver;

impl LayerObserver for NoObserver {
    fn soon(&self) {}

    fn arrived(&self, _image: &Partial) {}
}

/// Transport a layer came to the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// By what way.
    pub how: Transport,
    /// Bytes that travelled for it.
    pub sent: u64,
}

/// What the courier brought.
#[derive(Clone, Debug, Default)]
pub struct TransferReport {
    /// The images, as far as their layers are known.
    pub images: Vec<Exported>,
    /// Their layers, by digest; those that are missing here are left to the push.
    pub layers: BTreeMap<Digest, LayerReport>,
    /// Bytes that went to the robot.
    pub sent: u64,
}

impl TransferReport {
    /// Transport a layer of an image travels that comes after the images whose layers were `seen`; none where the push
    /// carries it. A layer travels once, whichever images have it.
    pub fn report_for<'a>(&self, layer: &'a Layer, seen: &mut BTreeSet<&'a str>) -> Option<LayerReport> {
        if seen.insert(&layer.digest) {
            self.layers.get(&layer.digest).cloned()
        } else {
            Some(LayerReport { how: Transport::There, sent: 0 })
        }
    }

    /// Bytes of layers that the push has to carry.
    pub fn left(&self) -> u64 {
        let layers = self.images.iter().flat_map(|image| &image.layers);
        let left = layers.filter(|layer| !self.layers.contains_key(&layer.digest));
        left.map(|layer| (&layer.digest, layer.size)).collect::<BTreeMap<_, _>>().values().sum()
    }
}

/// Where the robot's registry can be looked into.
#[derive(Clone, Copy, Debug)]
pub enum RegistryAccess<'a> {
    /// It runs.
    Running,
    /// Its data is there, and this image of it.
    Stopped(&'a str),
    /// There is none.
    Absent,
}

/// What the courier would do.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// What it would bring.
    pub report: TransferReport,
    /// Bytes that would be said besides the parcels.
    pub overhead: u64,
    /// Why the push would carry everything, if it would.
    pub why_push: Option<String>,
}

impl<'a> Transfer<'a> {
    /// The courier on a route.
    pub fn of(route: &'a Route<'a>) -> Self {
        Self { route, observer: &NoObserver }
    }

    /// The same, telling what arrives as soon as it has.
    pub fn observed_by(self, observer: &'a dyn LayerObserver) -> Self {
        Self { observer, ..self }
    }

    /// The project's repository.
    fn repository(&self) -> &'a str {
        &self.route.workspace.project.name
    }

    /// Says what [`Transfer::carry`] would do, and changes nothing on the robot. Parcels are made.
    ///
    /// # Errors
    /// Fails when the connection is gone, the robot has no room for the layers, or layers on this machine cannot
    /// be read.
    pub fn forecast(&self, built: &[&Built], registry: RegistryAccess<'_>) -> Result<Forecast> {
        let images = self.export(built)?;
        let mut agent = match registry {
            RegistryAccess::Running => Some(Agent::start(self.route.session)?),
            RegistryAccess::Stopped(image) => Some(Agent::start_in(self.route.session, image)?),
            RegistryAccess::Absent => None,
        };
        let inventory = match &mut agent {
            Some(agent) => agent.inventory(self.repository())?,
            None => Inventory { memory: u64::MAX, disk: u64::MAX, ..Inventory::default() },
        };
        let mut queue = Queue::new(self, agent.as_mut(), &inventory, &images)?;
        if let Some(why) = queue.excess(&inventory) {
            return Err(self.full(Refusal { kind: FULL.to_owned(), why }));
        }
        let why_push = Self::shortage(&inventory);
        let mut forecast = Forecast { why_push, ..Forecast::default() };
        forecast.report.images = images;
        let there = [queue.there(), queue.attachable()].concat();
        forecast.report.layers =
            there.into_iter().map(|layer| (layer, LayerReport { how: Transport::There, sent: 0 })).collect();
        if forecast.why_push.is_some() {
            return Ok(forecast);
        }
        forecast.overhead = match &agent {
            Some(agent) => agent.sent(),
            None => agent::opening(self.repository())?,
        };
        if !queue.jobs().is_empty() {
            let (owner, layers, keep) = (self.route.cache.owner()?, queue.layers(), queue.keep());
            forecast.overhead += agent::beginning(&owner, self.repository(), &layers, keep.as_deref());
        }
        for job in queue.jobs() {
            let report = job.report()?;
            let arrived = inventory.spools.get(&job.packed.delta.name).copied().unwrap_or_default();
            let sent = report.sent.saturating_sub(arrived);
            forecast.overhead +=
                agent::overhead(&job.request(self.repository()), &job.packed.delta.name, sent);
            drop(forecast.report.layers.insert(job.layer.digest.clone(), LayerReport { sent, ..report }));
        }
        Ok(forecast)
    }

    /// What the robot has too little of for a courier to work there.
    fn shortage(inventory: &Inventory) -> Option<String> {
        (inventory.memory < MEMORY)
            .then(|| format!("the robot has only {} of memory to spare", ui::bytes(inventory.memory)))
    }

    /// Brings what the robot lacks of these images. What it cannot bring is left to the push, with a warning.
    ///
    /// # Errors
    /// Fails when the robot is gone for good or has no room for the layers, or the run is interrupted.
    pub fn carry(&self, tunnel: &Tunnel<'_>, built: &[&Built]) -> Result<TransferReport> {
        if !layout::can_export(self.route.builder) {
            if !built.is_empty() {
                // The push compresses them itself: as good as it gets there, and nothing to be warned of each time.
                ui::step(
                    self.route.session.robot(),
                    &format!("{}: the push carries whole layers", why_not(self.route.builder)),
                );
            }
            return Ok(TransferReport::default());
        }
        let mut report = TransferReport::default();
        for tries in 1.. {
            let Err(error) = self.try_to_carry(tunnel, built, &mut report) else { break };
            if matches!(exit_of(&error), Exit::Interrupted | Exit::Unreachable) || is_full(&error) {
                return Err(error);
            }
            // A connection may drop while the robot is looked at as well as later.
            if tries == TRIES || !tunnel.reopen(KEPT)? {
                self.leave(&format!("{error:#}"));
                break;
            }
            ui::warn(self.route.session.robot(), "the connection dropped: looking at its layers again");
        }
        Ok(report)
    }

    fn leave(&self, why: &str) {
        ui::warn(self.route.session.robot(), &format!("{why}: the push carries whole layers"));
    }

    fn try_to_carry(&self, tunnel: &Tunnel<'_>, built: &[&Built], report: &mut TransferReport) -> Result<()> {
        let _turn = self.route.cache.lock(self.route.session.robot())?;
        let (exported, agent) = std::thread::scope(|scope| {
            // The robot is looked at while BuildKit writes what it has built.
            let looking = scope.spawn(|| self.inventory());
            let exported = self.export(built);
            (exported, looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        report.images = exported?;
        let (mut agent, inventory) = agent?;
        let preparing =
            timeline::span(Lane::robot(self.route.session.robot()), Phase::Prepare, "compare layers");
        let mut queue = Queue::new(self, Some(&mut agent), &inventory, &report.images)?;
        drop(preparing);
        for layer in queue.there() {
            // An earlier try may have brought it.
            let there = LayerReport { how: Transport::There, sent: 0 };
            let _report = report.layers.entry(layer.clone()).or_insert(there);
        }
        if queue.is_empty() {
            report.sent += agent.sent();
            return Ok(());
        }
        if let Some(shortage) = Self::shortage(&inventory) {
            anyhow::bail!(shortage);
        }
        if let Some(why) = queue.excess(&inventory) {
            return Err(self.full(Refusal { kind: FULL.to_owned(), why }));
        }
        let mut span =
            timeline::span(Lane::robot(self.route.session.robot()), Phase::Transfer, "send layers");
        let result = self.send(tunnel, agent, &mut queue, report);
        span.sent(report.sent);
        result
    }

    fn export(&self, built: &[&Built]) -> Result<Vec<Exported>> {
        self.route.progress.waiting("reading the layers of the images");
        let _span = timeline::span(Lane::robot(self.route.session.robot()), Phase::Prepare, "export layers");
        built.iter().map(|built| self.route.cache.layout.export(self.route.builder, built)).collect()
    }

    fn inventory(&self) -> Result<(Agent, Inventory)> {
        let _span = timeline::span(Lane::robot(self.route.session.robot()), Phase::Connect, "look at layers");
        let mut agent = Agent::start(self.route.session)?;
        let inventory = agent.inventory(self.repository())?;
        Ok((agent, inventory))
    }

    /// Sends until everything has arrived or been left to the push, however often the connection breaks off.
    fn send(
        &self,
        tunnel: &Tunnel<'_>,
        first: Agent,
        queue: &mut Queue,
        report: &mut TransferReport,
    ) -> Result<()> {
        let mut connected = Some(first);
        let mut tries = 0;
        while !queue.is_empty() {
            let mut agent = match connected.take() {
                Some(agent) => agent,
                None => self.reconnect(tunnel)?,
            };
            let outcome = self.converse(&mut agent, queue, report);
            report.sent += agent.sent();
            let Err(error) = outcome else { continue };
            process::check_interrupted()?;
            let refusal = error.downcast_ref::<Refusal>();
            let is_stale = refusal.is_some_and(|refusal| refusal.kind == STALE);
            if let Some(refusal) = refusal.filter(|_| !is_stale) {
                self.refused(refusal, queue)?;
                continue;
            }
            if queue.has_failed() {
                return Err(error);
            }
            // Only a connection that gets nothing across is worth giving up.
            tries = if queue.arrived_since() { 0 } else { tries + 1 };
            if tries == TRIES {
                return Err(error);
            }
            if !queue.is_empty() {
                let text = match is_stale {
                    true => format!("{error}: asking once more"),
                    false => "the connection dropped: the transfer goes on where it stopped".to_owned(),
                };
                ui::warn(self.route.session.robot(), &text);
            }
        }
        Ok(())
    }

    /// Looks again after the connection broke off, or the agent gave up.
    fn reconnect(&self, tunnel: &Tunnel<'_>) -> Result<Agent> {
        let Endpoint { robot, reconnect, .. } = self.route.session.endpoint();
        // Without its registry a robot can take nothing, from the push neither.
        tunnel.reopen(KEPT)?;
        let back = process::poll("the registry agent to answer", *reconnect, || {
            tunnel.ensure_open()?;
            self.inventory()
        });
        back.map(|(agent, _look)| agent).map_err(|error| {
            explained(error, |error| {
                let gone = Failure::unreachable(format!("`{robot}` does not come back"));
                gone.hint(KEPT).because(error).into()
            })
        })
    }

    /// One connection's worth of work.
    fn converse(&self, agent: &mut Agent, queue: &mut Queue, report: &mut TransferReport) -> Result<()> {
        let owner = self.route.cache.owner()?;
        let (layers, keep) = (queue.layers(), queue.keep());
        let Started { held, spools } = agent.begin(&owner, self.repository(), &layers, keep.as_deref())?;
        // A connection may break off when all of a layer has arrived, and the robot makes it all the same.
        for job in queue.made_meanwhile(&held) {
            drop(report.layers.insert(job.layer.digest.clone(), job.report()?));
        }
        let suspects = queue.take_suspects();
        if !suspects.is_empty() {
            let sizes =
                suspects.iter().filter_map(|digest| self.route.cache.layout.blob(digest).metadata().ok());
            let bytes = sizes.map(|metadata| metadata.len()).sum();
            let damaged = agent.check(&suspects, bytes)?.len();
            if damaged > 0 {
                let text = format!("{damaged} damaged layers were removed from its registry");
                ui::warn(self.route.session.robot(), &text);
            }
        }
        self.route.progress.doing("sending layers", queue.expected());
        self.route.progress.set(queue.arrived(&spools));
        while let Some(layer) = queue.to_attach() {
            agent.attach(self.repository(), &layer)?;
            queue.attached();
            let _report =
                report.layers.entry(layer).or_insert(LayerReport { how: Transport::There, sent: 0 });
        }
        let jobs = queue.jobs().to_vec();
        if jobs.iter().any(|job| job.image.is_some()) {
            self.observer.soon();
        }
        let mut told = 0;
        let result = jobs.iter().try_for_each(|job| {
            let offset = spools.get(&job.packed.delta.name).copied().unwrap_or_default();
            let request = job.request(self.repository());
            agent.send(&request, &job.packed.delta, offset, &mut |count, made| {
                if let Some(total) = queue.expected() {
                    self.route.progress.expect(total);
                }
                self.route.progress.advance(count);
                let images = jobs.iter().take(made).skip(told).filter_map(|job| job.image.as_ref());
                images.for_each(|image| self.observer.arrived(image));
                told = told.max(made);
            })
        });
        if result.is_err() {
            agent.hang_up();
        }
        // Whatever became of the sending: what has been made has been made, and a refusal is in the answers.
        for job in &jobs {
            match agent.made(job.layer.size) {
                Ok(made) => self.tell(&job.layer, made),
                // Where it was this machine that hung up, the reason is here and not there.
                Err(error) if error.is::<Refusal>() => return Err(error),
                Err(error) => return Err(result.err().unwrap_or(error)),
            }
            queue.done(&job.layer.digest);
            report.layers.insert(job.layer.digest.clone(), job.report()?);
        }
        result
    }

    /// For those who wonder what a robot has to spare.
    fn tell(&self, layer: &Layer, made: Made) {
        if process::mode().verbose {
            let [size, memory, read] = [layer.size, made.memory, made.read].map(ui::bytes);
            let name = image::short(&layer.digest);
            let text =
                format!("made layer {name} of {size} with {memory} of memory, reading {read} of others");
            ui::step(self.route.session.robot(), &text);
        }
    }

    /// What the robot refuses to make is packed anew where that can help, and else left to the push.
    fn refused(&self, refusal: &Refusal, queue: &mut Queue) -> Result<()> {
        let Some(job) = queue.jobs().first().cloned() else { return Err(refusal.clone().into()) };
        match refusal.kind.as_str() {
            // The parcel is begun anew; a robot that goes on disagreeing is left to the push.
            "spool" if queue.retry(None) => Ok(()),
            // What an earlier connection left there may have been damaged since, say by a power cut.
            "digest" | "delta" if queue.begin_anew() => Ok(()),
            "digest" | "basis" | "delta" => {
                let damaged = self.route.cache.invalidate(&job.layer.digest, &job.packed)?;
                if damaged.contains(&job.layer.digest) {
                    anyhow::bail!("a layer on this machine was damaged; it will be exported again");
                }
                if damaged.is_empty() && refusal.kind == "digest" {
                    queue.suspect(&job.packed.bases);
                }
                if queue.retry(Some(self.route.cache)) {
                    ui::warn(self.route.session.robot(), &format!("{refusal}: the layer is sent whole"));
                    return Ok(());
                }
                self.leave(&refusal.to_string());
                queue.drop_first();
                Ok(())
            }
            FULL => Err(self.full(refusal.clone())),
            "memory" | "busy" | "system" => Err(refusal.clone().into()),
            _ => {
                self.leave(&refusal.to_string());
                queue.drop_first();
                Ok(())
            }
        }
    }

    fn full(&self, why: Refusal) -> anyhow::Error {
        let robot = self.route.session.robot();
        Failure::failed(format!("`{robot}` has no room for the new layers"))
            .hint(format!("`cargo xtask ssh --robot {robot} -- docker system df` shows what takes the room"))
            .hint(format!(
                "`cargo xtask ssh --robot {robot} -- docker image prune --all` removes images that no container uses"
            ))
            .because(why)
            .into()
    }

    /// Removes those of these blobs from the robot's registry that are damaged there; gives their number.
    ///
    /// # Errors
    /// Fails when the connection is gone.
    pub fn check(&self, blobs: &[Descriptor]) -> Result<usize> {
        let (mut agent, _look) = self.inventory()?;
        let _begun = agent.begin(&self.route.cache.owner()?, self.repository(), &[], None)?;
        let sizes: BTreeMap<&Digest, u64> = blobs.iter().map(|blob| (&blob.digest, blob.size)).collect();
        let digests: Vec<Digest> = sizes.keys().map(|digest| (*digest).clone()).collect();
        Ok(agent.check(&digests, sizes.values().sum())?.len())
    }
}

/// Whether the robot has no room.
pub fn is_full(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<Refusal>()).any(|refusal| refusal.kind == FULL)
}

impl Job {
    fn report(&self) -> Result<LayerReport> {
        let how = match self.packed.bases.first() {
            Some(basis) => Transport::Patch { basis: basis.to_string() },
            None => Transport::Whole,
        };
        Ok(LayerReport { how, sent: self.packed.delta.size()? })
    }
}

/// Why the layers of what a builder builds cannot be had as they are.
fn why_not(builder: Builder) -> &'static str {
    match builder {
        Builder::Engine { .. } => "this machine's engine keeps images in the classic store",
        Builder::Container => "this machine's engine runs in a virtual machine",
    }
}
