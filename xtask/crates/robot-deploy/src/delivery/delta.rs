//! Delta transfer: brings the layers that a robot's registry lacks onto the robot before `docker push` runs,
//! each as the difference to layers that the robot has.
//!
//! ```text
//! layout ─▶ index ─▶ plan ─▶ delta file ─▶ agent.rs ══ ssh ══▶ registry_agent.py ─▶ the registry's blobs
//! ```
//!
//! Glossary:
//! - layer: the uncompressed tar archive of an image's layer, named by its digest;
//! - basis: a layer on the robot that a new layer is made from;
//! - index: the entries of a layer's archive, with positions and checksums (`index.rs`);
//! - plan: the operations, copies and frames, that make a layer from its bases (`plan.rs`);
//! - delta file: an encoded plan, the bytes that are sent (`file.rs`);
//! - cache: the layers, indexes and delta files on this machine (`cache.rs`);
//! - queue: the layers to send to one robot (`queue.rs`);
//! - agent: `registry_agent.py`, which makes layers from delta files in the registry's container
//!   (`agent.rs`);
//! - spool: a file on the robot with the part of a delta file that has arrived;
//! - prefix image: an image of the lowest layers of another image, for an early pull (`prefix.rs`).
//!
//! `docker push` then finds the layers in the registry and sends only the manifest. A delta transfer that
//! fails costs time and never correctness: the agent adds a layer to the registry only under the digest that
//! it computed, and `docker push` sends the layers that are missing. The exception is a robot without room
//! for the layers: it is sent nothing, because the push would fill its disk.

mod agent;
mod cache;
mod prefix;
mod queue;

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::error::{Exit, Failure, Result, exit_of, explained};
use crate::image::export;
use crate::image::layout::{self, Exported, Layer};
use crate::image::oci::Descriptor;
use crate::image::prefix_image::PrefixImage;
use crate::image::{self, Builder, Built};
use crate::robot::{Endpoint, Tunnel};
use crate::timeline::{Lane, Phase, Transport};
use crate::{parallel, process, timeline, ui};

use super::Route;
use agent::{Agent, Command, Inventory, MakeStats, Refusal, RefusalKind, Started};
use queue::{Job, Queue};

pub(crate) use cache::{DeltaCache, prune};

/// Bytes of memory that the robot has to spare at least: twice the amount that making a layer takes.
const MIN_MEMORY: u64 = 200_000_000;

/// Hint of a transfer that is given up.
const KEPT_HINT: &str = "what arrived is kept on the robot for a day: the next deploy sends the rest";

/// Most connections in a row that may drop without any progress.
const TRIES: u32 = 5;

/// Delta transfer to one robot.
#[derive(Clone, Copy)]
pub(super) struct Transfer<'a> {
    route: &'a Route<'a>,
    observer: &'a dyn LayerObserver,
}

/// Observer of prefix images that become complete in the robot's registry while other layers are still being
/// sent.
pub(super) trait LayerObserver: Sync {
    /// At least one prefix image will follow.
    fn prefix_expected(&self);

    /// The registry has all layers of a prefix image.
    fn prefix_arrived(&self, image: &PrefixImage);
}

/// Ignores all prefix images.
pub(super) struct NoObserver;

impl LayerObserver for NoObserver {
    fn prefix_expected(&self) {}

    fn prefix_arrived(&self, _image: &PrefixImage) {}
}

/// Way of one layer to the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerReport {
    pub how: Transport,
    /// Bytes sent for the layer.
    pub sent: u64,
}

impl LayerReport {
    /// Report of a layer that the robot had before.
    const PRESENT: Self = Self { how: Transport::There, sent: 0 };
}

/// Result of a delta transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct TransferReport {
    /// The exported images; none where the layers could not be exported.
    pub images: Vec<Exported>,
    /// The layers in the robot's registry, by digest; `docker push` sends the others.
    pub layers: BTreeMap<Digest, LayerReport>,
    /// All bytes sent to the robot.
    pub sent: u64,
}

impl TransferReport {
    /// Returns the report of one image's layer; none where `docker push` sends the layer. `seen` has the
    /// layers of the images before: a layer travels once, even if several images have it.
    pub(super) fn report_for<'a>(
        &self,
        layer: &'a Layer,
        seen: &mut BTreeSet<&'a str>,
    ) -> Option<LayerReport> {
        if seen.insert(&layer.digest) {
            self.layers.get(&layer.digest).cloned()
        } else {
            Some(LayerReport::PRESENT)
        }
    }

    /// Bytes of the layers that `docker push` has to send.
    pub(super) fn bytes_left_to_push(&self) -> u64 {
        let layers = self.images.iter().flat_map(|image| &image.layers);
        let left = layers.filter(|layer| !self.layers.contains_key(&layer.digest));
        left.map(|layer| (&layer.digest, layer.size)).collect::<BTreeMap<_, _>>().values().sum()
    }
}

/// Access to the data of the robot's registry.
#[derive(Clone, Copy, Debug)]
pub(super) enum RegistryAccess<'a> {
    Running,
    /// The registry does not run. Its data is there, and so is its image, which has this name.
    Stopped(&'a str),
    /// The robot has no data of a registry, or no image to read them with.
    Absent,
}

/// Forecast of a delta transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct Forecast {
    /// The report that the transfer would give.
    pub report: TransferReport,
    /// Bytes that would be sent besides the delta files.
    pub overhead: u64,
    /// The reason why `docker push` would send all layers, if it would.
    pub fallback_reason: Option<String>,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(route: &'a Route<'a>) -> Self {
        Self { route, observer: &NoObserver }
    }

    /// Replaces the observer.
    pub(super) fn observed_by(self, observer: &'a dyn LayerObserver) -> Self {
        Self { observer, ..self }
    }

    fn robot(&self) -> &'a str {
        self.route.session.robot()
    }

    /// The project's repository.
    fn repository(&self) -> &'a str {
        &self.route.workspace.project.name
    }

    /// Starts a span in the robot's lane of the timeline.
    fn span(&self, phase: Phase, name: &str) -> timeline::Guard {
        timeline::span(Lane::robot(self.robot()), phase, name)
    }

    /// Forecasts [`Transfer::send_layers`]. Nothing changes on the robot; delta files are encoded, for the
    /// transfer that follows.
    ///
    /// # Errors
    /// An error for which [`is_full`] is true if the robot has no room for the layers.
    pub(super) fn forecast(&self, built: &[&Built], registry: RegistryAccess<'_>) -> Result<Forecast> {
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
        if let Some(why) = queue.disk_shortage(&inventory) {
            return Err(self.disk_full(Refusal { kind: RefusalKind::Disk, why }));
        }
        let fallback_reason = memory_shortage(&inventory);
        let mut forecast = Forecast { fallback_reason, ..Forecast::default() };
        forecast.report.images = images;
        let present = [queue.present(), queue.attachable()].concat();
        forecast.report.layers = present.into_iter().map(|layer| (layer, LayerReport::PRESENT)).collect();
        if forecast.fallback_reason.is_some() {
            return Ok(forecast);
        }
        forecast.overhead = match &agent {
            Some(agent) => agent.sent(),
            None => agent::start_bytes(self.repository())?,
        };
        if !queue.jobs().is_empty() {
            let (owner, layers, keep) =
                (self.route.cache.owner()?, queue.layer_digests(), queue.deltas_to_keep());
            let (repository, layers, keep) = (self.repository(), &layers[..], keep.as_deref());
            forecast.overhead += Command::Begin { owner: &owner, repository, layers, keep }.bytes();
        }
        for job in queue.jobs() {
            let report = job.report()?;
            let arrived = inventory.spools.get(&job.packed.delta.name).copied().unwrap_or_default();
            let sent = report.sent.saturating_sub(arrived);
            forecast.overhead +=
                agent::send_overhead(job.request(self.repository()), &job.packed.delta.name, sent);
            forecast.report.layers.insert(job.layer.digest.clone(), LayerReport { sent, ..report });
        }
        Ok(forecast)
    }

    /// Sends the layers of these images that the robot lacks. Layers that cannot be sent are left to
    /// `docker push`, with a warning.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] if the robot cannot be reached again, [`Exit::Interrupted`], or an error for
    /// which [`is_full`] is true. Everything else is a warning.
    pub(super) fn send_layers(&self, tunnel: &Tunnel<'_>, built: &[&Built]) -> Result<TransferReport> {
        if !layout::can_export(self.route.builder) {
            if !built.is_empty() {
                // Not a warning: this machine can do no better, and it would be repeated at every deploy.
                let reason = no_export_reason(self.route.builder);
                ui::step(self.robot(), &format!("{reason}: `docker push` sends whole layers"));
            }
            return Ok(TransferReport::default());
        }
        let mut report = TransferReport::default();
        for tries in 1.. {
            let Err(error) = self.try_send_layers(tunnel, built, &mut report) else { break };
            if matches!(exit_of(&error), Exit::Interrupted | Exit::Unreachable) || is_full(&error) {
                return Err(error);
            }
            // The connection may also have dropped before the first layer was sent.
            if tries == TRIES || !tunnel.reopen(KEPT_HINT)? {
                self.warn_of_push(&format!("{error:#}"));
                break;
            }
            ui::warn(self.robot(), "the connection dropped: comparing layers again");
        }
        Ok(report)
    }

    /// Warns that `docker push` has to send what the delta transfer does not.
    fn warn_of_push(&self, why: &str) {
        ui::warn(self.robot(), &format!("{why}: `docker push` sends whole layers"));
    }

    fn try_send_layers(
        &self,
        tunnel: &Tunnel<'_>,
        built: &[&Built],
        report: &mut TransferReport,
    ) -> Result<()> {
        let _lock = self.route.cache.lock(self.robot())?;
        // The robot lists its layers while BuildKit exports the new ones.
        let (connected, exported) = parallel::both(|| self.connect(), || self.export(built));
        report.images = exported?;
        let (mut agent, inventory) = connected?;
        let comparing = self.span(Phase::Prepare, "compare layers");
        let mut queue = Queue::new(self, Some(&mut agent), &inventory, &report.images)?;
        drop(comparing);
        for layer in queue.present() {
            // Not `insert`: an earlier try may have sent the layer, and its report stays.
            report.layers.entry(layer.clone()).or_insert(LayerReport::PRESENT);
        }
        if queue.is_empty() {
            report.sent += agent.sent();
            return Ok(());
        }
        if let Some(shortage) = memory_shortage(&inventory) {
            anyhow::bail!(shortage);
        }
        if let Some(why) = queue.disk_shortage(&inventory) {
            return Err(self.disk_full(Refusal { kind: RefusalKind::Disk, why }));
        }
        let mut span = self.span(Phase::Transfer, "send layers");
        let result = self.send_queue(tunnel, agent, &mut queue, report);
        span.sent(report.sent);
        result
    }

    fn export(&self, built: &[&Built]) -> Result<Vec<Exported>> {
        self.route.progress.waiting("reading the layers of the images");
        let _span = self.span(Phase::Prepare, "export layers");
        built
            .iter()
            .map(|built| export::export(&self.route.cache.layout, self.route.builder, built))
            .collect()
    }

    /// Starts the agent and asks for its inventory.
    fn connect(&self) -> Result<(Agent, Inventory)> {
        let _span = self.span(Phase::Connect, "list layers");
        let mut agent = Agent::start(self.route.session)?;
        let inventory = agent.inventory(self.repository())?;
        Ok((agent, inventory))
    }

    /// Sends until every job is done or left to `docker push`, and reconnects each time the connection drops.
    fn send_queue(
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
            let outcome = self.send_through(&mut agent, queue, report);
            report.sent += agent.sent();
            let Err(error) = outcome else { continue };
            process::check_interrupted()?;
            let refusal = error.downcast_ref::<Refusal>();
            let is_stale = refusal.is_some_and(|refusal| refusal.kind == RefusalKind::Stale);
            if let Some(refusal) = refusal.filter(|_| !is_stale) {
                self.handle_refusal(refusal, queue)?;
                continue;
            }
            if queue.has_failed() {
                return Err(error);
            }
            // Only connections without any progress count.
            tries = if queue.made_progress() { 0 } else { tries + 1 };
            if tries == TRIES {
                return Err(error);
            }
            if !queue.is_empty() {
                let text = match is_stale {
                    true => format!("{error}: trying again"),
                    false => "the connection dropped: the transfer resumes where it stopped".to_owned(),
                };
                ui::warn(self.robot(), &text);
            }
        }
        Ok(())
    }

    /// Starts another agent after the connection broke off or the agent refused.
    fn reconnect(&self, tunnel: &Tunnel<'_>) -> Result<Agent> {
        let Endpoint { robot, reconnect, .. } = self.route.session.endpoint();
        // Without its registry the robot can take nothing, not even from `docker push`.
        tunnel.reopen(KEPT_HINT)?;
        let connected = process::poll("the registry agent to answer", *reconnect, || {
            tunnel.ensure_open()?;
            self.connect()
        });
        connected.map(|(agent, _inventory)| agent).map_err(|error| {
            explained(error, |error| {
                let gone = Failure::unreachable(format!("cannot reconnect to `{robot}`"));
                gone.hint(KEPT_HINT).because(error).into()
            })
        })
    }

    /// Sends as much of the queue as one connection allows.
    fn send_through(&self, agent: &mut Agent, queue: &mut Queue, report: &mut TransferReport) -> Result<()> {
        let owner = self.route.cache.owner()?;
        let (layers, keep) = (queue.layer_digests(), queue.deltas_to_keep());
        let Started { blobs, spools } = agent.begin(&owner, self.repository(), &layers, keep.as_deref())?;
        // An agent whose connection drops after all of a delta has arrived still makes the layer.
        for job in queue.take_finished(&blobs) {
            report.layers.insert(job.layer.digest.clone(), job.report()?);
        }
        self.remove_suspects(agent, queue)?;
        self.route.progress.doing("sending layers", queue.expected_bytes());
        self.route.progress.set(queue.update_arrived(&spools));
        while let Some(layer) = queue.next_to_attach() {
            agent.attach(self.repository(), &layer)?;
            queue.finish_attach();
            report.layers.entry(layer).or_insert(LayerReport::PRESENT);
        }
        let jobs = queue.jobs().to_vec();
        if jobs.iter().any(|job| job.prefix_image.is_some()) {
            self.observer.prefix_expected();
        }
        let result = self.send_jobs(agent, queue, &jobs, &spools);
        if result.is_err() {
            agent.close();
        }
        // Also after an error: the answers tell which layers have been made, and why one was refused.
        for job in &jobs {
            match agent.wait_made(job.layer.size) {
                Ok(stats) => self.print_make_stats(&job.layer, stats),
                Err(error) if error.is::<Refusal>() => return Err(error),
                // Where this machine ended the connection, its own error is the reason, not the agent's end.
                Err(error) => return Err(result.err().unwrap_or(error)),
            }
            queue.finish(&job.layer.digest);
            report.layers.insert(job.layer.digest.clone(), job.report()?);
        }
        result
    }

    /// Has the agent remove suspect layers that are damaged.
    fn remove_suspects(&self, agent: &mut Agent, queue: &mut Queue) -> Result<()> {
        let suspects = queue.take_suspects();
        if suspects.is_empty() {
            return Ok(());
        }
        let sizes = suspects.iter().filter_map(|digest| self.route.cache.layout.blob(digest).metadata().ok());
        let bytes = sizes.map(|metadata| metadata.len()).sum();
        let damaged = agent.remove_damaged(&suspects, bytes)?.len();
        if damaged > 0 {
            let text = format!("{damaged} damaged layers were removed from its registry");
            ui::warn(self.robot(), &text);
        }
        Ok(())
    }

    /// Sends the delta files of `jobs`, shows progress, and tells the observer of prefix images that are
    /// complete.
    fn send_jobs(
        &self,
        agent: &mut Agent,
        queue: &Queue,
        jobs: &[Job],
        spools: &BTreeMap<String, u64>,
    ) -> Result<()> {
        let mut observed = 0;
        jobs.iter().try_for_each(|job| {
            let offset = spools.get(&job.packed.delta.name).copied().unwrap_or_default();
            let request = job.request(self.repository());
            agent.send(request, &job.packed.delta, offset, &mut |count, made| {
                if let Some(total) = queue.expected_bytes() {
                    self.route.progress.expect(total);
                }
                self.route.progress.advance(count);
                let new = jobs.iter().take(made).skip(observed);
                new.filter_map(|job| job.prefix_image.as_ref())
                    .for_each(|image| self.observer.prefix_arrived(image));
                observed = observed.max(made);
            })
        })
    }

    /// Prints the memory and the reads that a layer took on the robot, in verbose mode.
    fn print_make_stats(&self, layer: &Layer, stats: MakeStats) {
        if crate::mode::verbose() {
            let [size, memory, read] = [layer.size, stats.memory, stats.read].map(ui::bytes);
            let name = image::short(&layer.digest);
            let text =
                format!("made layer {name} of {size} with {memory} of memory, reading {read} of others");
            ui::step(self.robot(), &text);
        }
    }

    /// Sends the first layer of the queue again where that can help, and else leaves it to `docker push`.
    ///
    /// # Errors
    /// The refusal itself if it would hold for the other layers, too.
    fn handle_refusal(&self, refusal: &Refusal, queue: &mut Queue) -> Result<()> {
        let Some(job) = queue.jobs().first().cloned() else { return Err(refusal.clone().into()) };
        match refusal.kind {
            // The same delta file, from its beginning. A second refusal leaves the layer to `docker push`.
            RefusalKind::Spool if queue.retry_first(None) => Ok(()),
            // The spool of an earlier connection may have been damaged since, for example by a power cut.
            RefusalKind::Digest | RefusalKind::Delta if queue.restart_first() => Ok(()),
            RefusalKind::Digest | RefusalKind::Basis | RefusalKind::Delta => {
                let damaged = self.route.cache.invalidate(&job.layer.digest, &job.packed)?;
                if damaged.contains(&job.layer.digest) {
                    anyhow::bail!("a layer on this machine was damaged; it will be exported again");
                }
                if damaged.is_empty() && refusal.kind == RefusalKind::Digest {
                    queue.suspect(&job.packed.bases);
                }
                if queue.retry_first(Some(self.route.cache)) {
                    ui::warn(self.robot(), &format!("{refusal}: the layer is sent whole"));
                    return Ok(());
                }
                self.warn_of_push(&refusal.to_string());
                queue.skip_first();
                Ok(())
            }
            RefusalKind::Disk => Err(self.disk_full(refusal.clone())),
            RefusalKind::Memory | RefusalKind::Busy | RefusalKind::System => Err(refusal.clone().into()),
            RefusalKind::Spool | RefusalKind::Stale | RefusalKind::Other => {
                self.warn_of_push(&refusal.to_string());
                queue.skip_first();
                Ok(())
            }
        }
    }

    fn disk_full(&self, why: Refusal) -> anyhow::Error {
        let robot = self.robot();
        Failure::failed(format!("`{robot}` has no room for the new layers"))
            .hint(format!("`cargo xtask ssh --robot {robot} -- docker system df` shows what uses the space"))
            .hint(format!(
                "`cargo xtask ssh --robot {robot} -- docker image prune --all` removes images that no container uses"
            ))
            .because(why)
            .into()
    }

    /// Removes those of `blobs` that are damaged in the robot's registry; returns their number.
    pub(super) fn remove_damaged(&self, blobs: &[Descriptor]) -> Result<usize> {
        let (mut agent, _inventory) = self.connect()?;
        agent.begin(&self.route.cache.owner()?, self.repository(), &[], None)?;
        let sizes: BTreeMap<&Digest, u64> = blobs.iter().map(|blob| (&blob.digest, blob.size)).collect();
        let digests: Vec<Digest> = sizes.keys().map(|digest| (*digest).clone()).collect();
        Ok(agent.remove_damaged(&digests, sizes.values().sum())?.len())
    }
}

/// Describes why the robot has too little memory for its agent, if it has.
fn memory_shortage(inventory: &Inventory) -> Option<String> {
    (inventory.memory < MIN_MEMORY)
        .then(|| format!("the robot has only {} of memory to spare", ui::bytes(inventory.memory)))
}

/// Returns whether the robot has no room for the new layers.
pub(crate) fn is_full(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Refusal>())
        .any(|refusal| refusal.kind == RefusalKind::Disk)
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

/// Describes why the layers of a builder cannot be exported uncompressed.
fn no_export_reason(builder: Builder) -> &'static str {
    match builder {
        Builder::Engine { .. } => "this machine's engine keeps images in the classic store",
        Builder::Container => "this machine's engine runs in a virtual machine",
    }
}
