//! Forecast of a delta transfer.

use super::agent::{Agent, Inventory};
use super::queue::Queue;
use super::{LayerReport, Transfer, TransferReport, memory_shortage};
use crate::error::Result;
use crate::image::Built;

/// Access to the data of the robot's registry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RegistryAccess<'a> {
    Running,
    /// The registry does not run. Its data is there, and so is its image, which has this name.
    Stopped(&'a str),
    /// The robot has no data of a registry, or no image to read them with.
    Absent,
}

/// Forecast of a delta transfer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forecast {
    /// The report that the transfer would give.
    pub report: TransferReport,
    /// The reason why `docker push` would send all layers, if it would.
    pub fallback_reason: Option<String>,
}

impl Transfer<'_> {
    /// Forecasts [`Transfer::send_layers`]. Nothing changes on the robot; delta files are encoded, for the
    /// transfer that follows.
    ///
    /// # Errors
    /// An error for which [`is_full`](super::is_full) is true if the robot has no room for the layers.
    pub(crate) fn forecast(&self, built: &[&Built], registry: RegistryAccess<'_>) -> Result<Forecast> {
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
        self.check_disk(&mut queue, &inventory)?;
        let present = [queue.present(), queue.attachable()].concat();
        let mut forecast = Forecast { fallback_reason: memory_shortage(&inventory), ..Forecast::default() };
        forecast.report.images = images;
        forecast.report.layers = present.into_iter().map(|layer| (layer, LayerReport::PRESENT)).collect();
        if forecast.fallback_reason.is_none() {
            for job in queue.jobs() {
                let report = job.report()?;
                let arrived = inventory.spools.get(&job.packed.delta.name).copied().unwrap_or_default();
                let sent = report.sent.saturating_sub(arrived);
                forecast.report.layers.insert(job.layer.digest.clone(), LayerReport { sent, ..report });
            }
        }
        Ok(forecast)
    }
}
