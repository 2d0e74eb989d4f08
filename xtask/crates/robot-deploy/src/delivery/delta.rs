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
//! - queue: the layers to send to one robot (`queue.rs`), each with the delta chosen for it (`plans.rs`);
//! - agent: `registry_agent.py`, which makes layers from delta files in the registry's container
//!   (`agent.rs`, its commands and answers in `agent/protocol.rs`);
//! - spool: a file on the robot with the part of a delta file that has arrived.
//!
//! The registry then lacks only the manifest and the configuration of an image. A delta transfer that
//! fails costs time and never correctness: the agent adds a layer to the registry only under the digest that
//! it computed, and `docker push` sends the layers that are missing. The exception is a robot without room
//! for the layers: it is sent nothing, because the push would fill its disk.

mod agent;
mod cache;
mod forecast;
mod plans;
mod queue;
mod send;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use parking_lot::Mutex;

use crate::digest::Digest;
use crate::error::{Exit, Failure, Result, exit_of};
use crate::image::export;
use crate::image::layout::{self, Exported, Layer};
use crate::image::oci::Descriptor;
use crate::image::{Builder, Built};
use crate::robot::{Session, Tunnel};
use crate::timeline::{Lane, Phase, Transport};
use crate::{timeline, ui};

use super::Route;
use super::retry::retrying;
use agent::{Agent, Inventory, Refusal, RefusalKind};
use queue::Queue;
use send::Sending;

pub(crate) use cache::{DeltaCache, prune};
pub(super) use forecast::RegistryAccess;

/// Bytes of memory that the robot has to spare at least: twice the amount that making a layer takes.
const MIN_MEMORY: u64 = 200_000_000;

/// Delta transfer to one robot.
#[derive(Clone, Copy)]
pub(super) struct Transfer<'a> {
    route: &'a Route<'a>,
}

/// Way of one layer to the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerReport {
    pub how: Transport,
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

/// The robot's agent, started while the images are being built.
#[derive(Debug, Default)]
pub(crate) struct EarlyAgent(Mutex<Option<Agent>>);

impl EarlyAgent {
    /// Starts the agent, if the robot's registry runs, and asks it for its layers. Does not wait for the answer.
    ///
    /// The robot is not locked, so the answer may be out of date when it is used. That costs bytes, and never
    /// correctness: [`Agent::begin`] and `docker push` look again.
    pub(crate) fn start(session: &Session, repository: &str) -> Self {
        let started = Agent::start(session).and_then(|mut agent| {
            agent.request_inventory(repository)?;
            Ok(agent)
        });
        // Without it, the agent is started when it is needed, and errors are reported then.
        Self(Mutex::new(started.ok()))
    }

    /// Takes the agent and its list of layers, unless it has failed.
    fn take(&self) -> Option<(Agent, Inventory)> {
        let mut agent = self.0.lock().take()?;
        let inventory = agent.requested_inventory().ok()?;
        Some((agent, inventory))
    }
}

impl<'a> Transfer<'a> {
    pub(super) fn new(route: &'a Route<'a>) -> Self {
        Self { route }
    }

    fn robot(&self) -> &'a str {
        self.route.session.robot()
    }

    fn repository(&self) -> &'a str {
        &self.route.workspace.project.name
    }

    /// Starts a span in the robot's lane of the timeline.
    fn span(&self, phase: Phase, name: &str) -> timeline::Guard {
        timeline::span(Lane::robot(self.robot()), phase, name)
    }

    /// Sends the layers of these images that the robot lacks, after [`Transfer::export`]. Layers that cannot be sent
    /// are left to `docker push`, with a warning.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] if the robot cannot be reached again, [`Exit::Interrupted`], or an error for
    /// which [`is_full`] is true. Everything else is a warning.
    pub(super) fn send_layers(
        &self,
        tunnel: &Tunnel<'_>,
        built: &[&Built],
        exported: Result<Vec<Exported>>,
    ) -> Result<TransferReport> {
        if !layout::can_export(self.route.builder) {
            if !built.is_empty() {
                // Not a warning: this machine can do no better, and it would be repeated at every deploy.
                let reason = no_export_reason(self.route.builder);
                ui::step(self.robot(), &format!("{reason}: `docker push` sends whole layers"));
            }
            return Ok(TransferReport::default());
        }
        let mut report = TransferReport::default();
        // The connection may also drop before the first layer is sent.
        let again = "the connection dropped: comparing layers again";
        let sent = exported.and_then(|images| {
            report.images = images;
            retrying(tunnel, again, || self.try_send_layers(tunnel, &mut report))
        });
        match sent {
            Err(error)
                if !matches!(exit_of(&error), Exit::Interrupted | Exit::Unreachable) && !is_full(&error) =>
            {
                self.warn_of_push(&format!("{error:#}"));
            }
            result => result?,
        }
        Ok(report)
    }

    /// Warns that `docker push` has to send what the delta transfer does not.
    fn warn_of_push(&self, why: &str) {
        ui::warn(self.robot(), &format!("{why}: `docker push` sends whole layers"));
    }

    fn try_send_layers(&self, tunnel: &Tunnel<'_>, report: &mut TransferReport) -> Result<()> {
        let _lock = self.route.cache.lock(self.robot())?;
        let (mut agent, inventory) = self.connect()?;
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
        self.check_disk(&mut queue, &inventory)?;
        let mut span = self.span(Phase::Transfer, "send layers");
        let (began, before) = (Instant::now(), report.sent);
        let result = Sending { transfer: self, tunnel, queue, report }.run(agent);
        self.route.digest_cache.record_speed(self.robot(), report.sent - before, began.elapsed());
        span.sent(report.sent);
        result
    }

    /// Fails if the layers of the queue do not fit on the robot.
    fn check_disk(&self, queue: &mut Queue, inventory: &Inventory) -> Result<()> {
        match queue.disk_shortage(inventory) {
            Some(why) => Err(self.disk_full(Refusal { kind: RefusalKind::Disk, why })),
            None => Ok(()),
        }
    }

    /// Reads the layers of these images out of the engine, which needs no robot. None where that is not possible.
    pub(super) fn export(&self, built: &[&Built]) -> Result<Vec<Exported>> {
        if built.is_empty() || !layout::can_export(self.route.builder) {
            return Ok(Vec::new());
        }
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
        if let Some(early) = self.route.early.take() {
            return Ok(early);
        }
        let mut agent = Agent::start(self.route.session)?;
        let inventory = agent.inventory(self.repository())?;
        Ok((agent, inventory))
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

/// Describes why the layers of a builder cannot be exported uncompressed.
fn no_export_reason(builder: Builder) -> &'static str {
    match builder {
        Builder::Engine { .. } => "this machine's engine keeps images in the classic store",
        Builder::Container => "this machine's engine runs in a virtual machine",
    }
}
