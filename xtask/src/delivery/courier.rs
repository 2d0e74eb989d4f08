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
mod checksums;
mod consignment;
mod contents;
mod depot;
mod lowest;
mod parcel;
mod recipe;
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
use crate::timeline::{How, Lane, Phase};
use crate::{process, timeline, ui};

use super::Route;
use agent::{Agent, Begun, Look, Made, Refusal};
use consignment::{Consignment, Item};

pub use depot::{Depot, prune};

/// Memory that the robot has to spare, twice what making a layer takes there.
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
pub struct Courier<'a> {
    route: &'a Route<'a>,
    arrivals: &'a dyn Arrivals,
}

/// Hears of images that the robot's registry has got, of layers that have arrived, while others are on their way.
pub trait Arrivals: Sync {
    /// There will be some.
    fn soon(&self);

    /// One is there.
    fn arrived(&self, image: &Partial);
}

/// Where nobody wants to know.
pub struct Unheard;

impl Arrivals for Unheard {
    fn soon(&self) {}

    fn arrived(&self, _image: &Partial) {}
}

/// How a layer came to the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carriage {
    /// By what way.
    pub how: How,
    /// Bytes that travelled for it.
    pub sent: u64,
}

/// What the courier brought.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// The images, as far as their layers are known.
    pub images: Vec<Exported>,
    /// Their layers, by digest; those that are missing here are left to the push.
    pub layers: BTreeMap<Digest, Carriage>,
    /// Bytes that went to the robot.
    pub sent: u64,
}

impl Carried {
    /// How a layer of an image travels that comes after the images whose layers were `seen`; none where the push
    /// carries it. A layer travels once, whichever images have it.
    pub fn way<'a>(&self, layer: &'a Layer, seen: &mut BTreeSet<&'a str>) -> Option<Carriage> {
        if seen.insert(&layer.digest) {
            self.layers.get(&layer.digest).cloned()
        } else {
            Some(Carriage { how: How::There, sent: 0 })
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
pub enum Way<'a> {
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
    pub carried: Carried,
    /// Bytes that would be said besides the parcels.
    pub talk: u64,
    /// Why the push would carry everything, if it would.
    pub why_push: Option<String>,
}

impl<'a> Courier<'a> {
    /// The courier on a route.
    pub fn of(route: &'a Route<'a>) -> Self {
        Self { route, arrivals: &Unheard }
    }

    /// The same, telling what arrives as soon as it has.
    pub fn telling(self, arrivals: &'a dyn Arrivals) -> Self {
        Self { arrivals, ..self }
    }

    /// The project's repository.
    fn repository(&self) -> &'a str {
        &self.route.workspace.project.name
    }

    /// Says what [`Courier::carry`] would do, and changes nothing on the robot. Parcels are made.
    ///
    /// # Errors
    /// Fails when the connection is gone, the robot has no room for the layers, or layers on this machine cannot
    /// be read.
    pub fn forecast(&self, built: &[&Built], way: Way<'_>) -> Result<Forecast> {
        let images = self.export(built)?;
        let mut agent = match way {
            Way::Running => Some(Agent::start(self.route.session)?),
            Way::Stopped(image) => Some(Agent::start_in(self.route.session, image)?),
            Way::Absent => None,
        };
        let look = match &mut agent {
            Some(agent) => agent.look(self.repository())?,
            None => Look { memory: u64::MAX, disk: u64::MAX, ..Look::default() },
        };
        let mut consignment = Consignment::new(self, agent.as_mut(), &look, &images)?;
        if let Some(why) = consignment.excess(&look) {
            return Err(self.full(Refusal { kind: FULL.to_owned(), why }));
        }
        let why_push = Self::shortage(&look);
        let mut forecast = Forecast { why_push, ..Forecast::default() };
        forecast.carried.images = images;
        let there = [consignment.there(), consignment.attachable()].concat();
        forecast.carried.layers =
            there.into_iter().map(|layer| (layer, Carriage { how: How::There, sent: 0 })).collect();
        if forecast.why_push.is_some() {
            return Ok(forecast);
        }
        forecast.talk = match &agent {
            Some(agent) => agent.sent(),
            None => agent::opening(self.repository())?,
        };
        if !consignment.items().is_empty() {
            let (owner, layers, keep) = (self.route.depot.owner()?, consignment.layers(), consignment.keep());
            forecast.talk += agent::beginning(&owner, self.repository(), &layers, keep.as_deref());
        }
        for item in consignment.items() {
            let carriage = item.carriage()?;
            let arrived = look.spools.get(&item.packed.parcel.name).copied().unwrap_or_default();
            let sent = carriage.sent.saturating_sub(arrived);
            forecast.talk += agent::overhead(&item.order(self.repository()), &item.packed.parcel.name, sent);
            drop(forecast.carried.layers.insert(item.layer.digest.clone(), Carriage { sent, ..carriage }));
        }
        Ok(forecast)
    }

    /// What the robot has too little of for a courier to work there.
    fn shortage(look: &Look) -> Option<String> {
        (look.memory < MEMORY)
            .then(|| format!("the robot has only {} of memory to spare", ui::bytes(look.memory)))
    }

    /// Brings what the robot lacks of these images. What it cannot bring is left to the push, with a warning.
    ///
    /// # Errors
    /// Fails when the robot is gone for good or has no room for the layers, or the run is interrupted.
    pub fn carry(&self, tunnel: &Tunnel<'_>, built: &[&Built]) -> Result<Carried> {
        if !layout::can_export(self.route.builder) {
            if !built.is_empty() {
                // The push compresses them itself: as good as it gets there, and nothing to be warned of each time.
                ui::step(
                    self.route.session.robot(),
                    &format!("{}: the push carries whole layers", why_not(self.route.builder)),
                );
            }
            return Ok(Carried::default());
        }
        let mut carried = Carried::default();
        for tries in 1.. {
            let Err(error) = self.try_to_carry(tunnel, built, &mut carried) else { break };
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
        Ok(carried)
    }

    fn leave(&self, why: &str) {
        ui::warn(self.route.session.robot(), &format!("{why}: the push carries whole layers"));
    }

    fn try_to_carry(&self, tunnel: &Tunnel<'_>, built: &[&Built], carried: &mut Carried) -> Result<()> {
        let _turn = self.route.depot.turn(self.route.session.robot())?;
        let (exported, agent) = std::thread::scope(|scope| {
            // The robot is looked at while BuildKit writes what it has built.
            let looking = scope.spawn(|| self.look());
            let exported = self.export(built);
            (exported, looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        carried.images = exported?;
        let (mut agent, look) = agent?;
        let preparing =
            timeline::span(Lane::robot(self.route.session.robot()), Phase::Prepare, "compare layers");
        let mut consignment = Consignment::new(self, Some(&mut agent), &look, &carried.images)?;
        drop(preparing);
        for layer in consignment.there() {
            // An earlier try may have brought it.
            let there = Carriage { how: How::There, sent: 0 };
            let _carriage = carried.layers.entry(layer.clone()).or_insert(there);
        }
        if consignment.is_empty() {
            carried.sent += agent.sent();
            return Ok(());
        }
        if let Some(shortage) = Self::shortage(&look) {
            anyhow::bail!(shortage);
        }
        if let Some(why) = consignment.excess(&look) {
            return Err(self.full(Refusal { kind: FULL.to_owned(), why }));
        }
        let mut span =
            timeline::span(Lane::robot(self.route.session.robot()), Phase::Transfer, "send layers");
        let result = self.send(tunnel, agent, &mut consignment, carried);
        span.sent(carried.sent);
        result
    }

    fn export(&self, built: &[&Built]) -> Result<Vec<Exported>> {
        self.route.progress.waiting("reading the layers of the images");
        let _span = timeline::span(Lane::robot(self.route.session.robot()), Phase::Prepare, "export layers");
        built.iter().map(|built| self.route.depot.layout.export(self.route.builder, built)).collect()
    }

    fn look(&self) -> Result<(Agent, Look)> {
        let _span = timeline::span(Lane::robot(self.route.session.robot()), Phase::Connect, "look at layers");
        let mut agent = Agent::start(self.route.session)?;
        let look = agent.look(self.repository())?;
        Ok((agent, look))
    }

    /// Sends until everything has arrived or been left to the push, however often the connection breaks off.
    fn send(
        &self,
        tunnel: &Tunnel<'_>,
        first: Agent,
        consignment: &mut Consignment,
        carried: &mut Carried,
    ) -> Result<()> {
        let mut connected = Some(first);
        let mut tries = 0;
        while !consignment.is_empty() {
            let mut agent = match connected.take() {
                Some(agent) => agent,
                None => self.reconnect(tunnel)?,
            };
            let outcome = self.converse(&mut agent, consignment, carried);
            carried.sent += agent.sent();
            let Err(error) = outcome else { continue };
            process::check_interrupted()?;
            let refusal = error.downcast_ref::<Refusal>();
            let is_stale = refusal.is_some_and(|refusal| refusal.kind == STALE);
            if let Some(refusal) = refusal.filter(|_| !is_stale) {
                self.refused(refusal, consignment)?;
                continue;
            }
            if consignment.has_failed() {
                return Err(error);
            }
            // Only a connection that gets nothing across is worth giving up.
            tries = if consignment.arrived_since() { 0 } else { tries + 1 };
            if tries == TRIES {
                return Err(error);
            }
            if !consignment.is_empty() {
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
        let back = process::poll("the robot's courier to answer", *reconnect, || {
            tunnel.ensure_open()?;
            self.look()
        });
        back.map(|(agent, _look)| agent).map_err(|error| {
            explained(error, |error| {
                let gone = Failure::unreachable(format!("`{robot}` does not come back"));
                gone.hint(KEPT).because(error).into()
            })
        })
    }

    /// One connection's worth of work.
    fn converse(
        &self,
        agent: &mut Agent,
        consignment: &mut Consignment,
        carried: &mut Carried,
    ) -> Result<()> {
        let owner = self.route.depot.owner()?;
        let (layers, keep) = (consignment.layers(), consignment.keep());
        let Begun { held, spools } = agent.begin(&owner, self.repository(), &layers, keep.as_deref())?;
        // A connection may break off when all of a layer has arrived, and the robot makes it all the same.
        for item in consignment.made_meanwhile(&held) {
            drop(carried.layers.insert(item.layer.digest.clone(), item.carriage()?));
        }
        let suspects = consignment.take_suspects();
        if !suspects.is_empty() {
            let sizes =
                suspects.iter().filter_map(|digest| self.route.depot.layout.blob(digest).metadata().ok());
            let bytes = sizes.map(|metadata| metadata.len()).sum();
            let damaged = agent.check(&suspects, bytes)?.len();
            if damaged > 0 {
                let text = format!("{damaged} damaged layers were removed from its registry");
                ui::warn(self.route.session.robot(), &text);
            }
        }
        self.route.progress.doing("sending layers", consignment.expected());
        self.route.progress.set(consignment.arrived(&spools));
        while let Some(layer) = consignment.to_attach() {
            agent.attach(self.repository(), &layer)?;
            consignment.attached();
            let _carriage = carried.layers.entry(layer).or_insert(Carriage { how: How::There, sent: 0 });
        }
        let items = consignment.items().to_vec();
        if items.iter().any(|item| item.image.is_some()) {
            self.arrivals.soon();
        }
        let mut told = 0;
        let result = items.iter().try_for_each(|item| {
            let offset = spools.get(&item.packed.parcel.name).copied().unwrap_or_default();
            let order = item.order(self.repository());
            agent.send(&order, &item.packed.parcel, offset, &mut |count, made| {
                if let Some(total) = consignment.expected() {
                    self.route.progress.expect(total);
                }
                self.route.progress.advance(count);
                let images = items.iter().take(made).skip(told).filter_map(|item| item.image.as_ref());
                images.for_each(|image| self.arrivals.arrived(image));
                told = told.max(made);
            })
        });
        if result.is_err() {
            agent.hang_up();
        }
        // Whatever became of the sending: what has been made has been made, and a refusal is in the answers.
        for item in &items {
            match agent.made(item.layer.size) {
                Ok(made) => self.tell(&item.layer, made),
                // Where it was this machine that hung up, the reason is here and not there.
                Err(error) if error.is::<Refusal>() => return Err(error),
                Err(error) => return Err(result.err().unwrap_or(error)),
            }
            consignment.done(&item.layer.digest);
            carried.layers.insert(item.layer.digest.clone(), item.carriage()?);
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
    fn refused(&self, refusal: &Refusal, consignment: &mut Consignment) -> Result<()> {
        let Some(item) = consignment.items().first().cloned() else { return Err(refusal.clone().into()) };
        match refusal.kind.as_str() {
            // The parcel is begun anew; a robot that goes on disagreeing is left to the push.
            "spool" if consignment.retry(None) => Ok(()),
            // What an earlier connection left there may have been damaged since, say by a power cut.
            "digest" | "parcel" if consignment.begin_anew() => Ok(()),
            "digest" | "basis" | "parcel" => {
                let damaged = self.route.depot.distrust(&item.layer.digest, &item.packed)?;
                if damaged.contains(&item.layer.digest) {
                    anyhow::bail!("a layer on this machine was damaged; it will be exported again");
                }
                if damaged.is_empty() && refusal.kind == "digest" {
                    consignment.suspect(&item.packed.bases);
                }
                if consignment.retry(Some(self.route.depot)) {
                    ui::warn(self.route.session.robot(), &format!("{refusal}: the layer is sent whole"));
                    return Ok(());
                }
                self.leave(&refusal.to_string());
                consignment.drop_first();
                Ok(())
            }
            FULL => Err(self.full(refusal.clone())),
            "memory" | "busy" | "system" => Err(refusal.clone().into()),
            _ => {
                self.leave(&refusal.to_string());
                consignment.drop_first();
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
        let (mut agent, _look) = self.look()?;
        let _begun = agent.begin(&self.route.depot.owner()?, self.repository(), &[], None)?;
        let sizes: BTreeMap<&Digest, u64> = blobs.iter().map(|blob| (&blob.digest, blob.size)).collect();
        let digests: Vec<Digest> = sizes.keys().map(|digest| (*digest).clone()).collect();
        Ok(agent.check(&digests, sizes.values().sum())?.len())
    }
}

/// Whether the robot has no room.
pub fn is_full(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<Refusal>()).any(|refusal| refusal.kind == FULL)
}

impl Item {
    fn carriage(&self) -> Result<Carriage> {
        let how = match self.packed.bases.first() {
            Some(basis) => How::Patch { basis: basis.to_string() },
            None => How::Whole,
        };
        Ok(Carriage { how, sent: self.packed.parcel.size()? })
    }
}

/// Why the layers of what a builder builds cannot be had as they are.
fn why_not(builder: Builder) -> &'static str {
    match builder {
        Builder::Engine { .. } => "this machine's engine keeps images in the classic store",
        Builder::Container => "this machine's engine runs in a virtual machine",
    }
}
