//! Sends the queue of one robot through registry agents.

use std::collections::BTreeMap;

use super::agent::{Agent, MakeStats, Refusal, RefusalKind, Started};
use super::queue::{Job, Queue};
use super::{LayerReport, Transfer, TransferReport};
use crate::delivery::retry::Retries;
use crate::error::{Failure, Result};
use crate::image::layout::Layer;
use crate::robot::{Endpoint, Tunnel};
use crate::{image, process, ui};

/// A queue that is being sent.
pub(super) struct Sending<'a> {
    pub transfer: &'a Transfer<'a>,
    pub tunnel: &'a Tunnel<'a>,
    pub queue: Queue,
    pub report: &'a mut TransferReport,
}

impl Sending<'_> {
    /// Sends until every job is done or left to `docker push`, and reconnects each time the connection drops.
    pub(super) fn run(&mut self, mut agent: Agent) -> Result<()> {
        let mut retries = Retries { tunnel: self.tunnel, failed: 0 };
        loop {
            let outcome = self.send_through(&mut agent);
            self.report.sent += agent.sent();
            // Before the next agent, which would have to end this one.
            drop(agent);
            if let Err(error) = outcome {
                self.handle_error(error, &mut retries)?;
            }
            if self.queue.is_empty() {
                return Ok(());
            }
            agent = self.reconnect()?;
        }
    }

    /// Decides what the end of a connection to an agent means; returns if another connection may help.
    fn handle_error(&mut self, error: anyhow::Error, retries: &mut Retries<'_>) -> Result<()> {
        process::check_interrupted()?;
        match error.downcast_ref::<Refusal>() {
            Some(refusal) if refusal.kind != RefusalKind::Stale => return self.handle_refusal(refusal),
            _ if self.queue.has_failed() => return Err(error),
            _ if self.queue.made_progress() => retries.failed = 0,
            _ => {}
        }
        if self.queue.is_empty() {
            return Ok(());
        }
        retries.reconnect(error, false, "the connection dropped: the transfer resumes where it stopped")
    }

    /// Starts another agent after the connection broke off or the agent refused.
    fn reconnect(&self) -> Result<Agent> {
        let Endpoint { robot, reconnect, .. } = self.transfer.route.session.endpoint();
        let connected = process::poll("the registry agent to answer", *reconnect, || {
            // Without its registry the robot can take nothing, not even from `docker push`.
            self.tunnel.ensure_open()?;
            self.transfer.connect()
        });
        connected.map(|(agent, _inventory)| agent).map_err(|error| {
            let gone = Failure::unreachable(format!("cannot reconnect to `{robot}`"));
            gone.caused_by(error)
        })
    }

    /// Sends as much of the queue as one connection allows.
    fn send_through(&mut self, agent: &mut Agent) -> Result<()> {
        let Transfer { route, .. } = *self.transfer;
        let Started { blobs, spools } = self.begin(agent)?;
        // An agent whose connection drops after all of a delta has arrived still makes the layer.
        for job in self.queue.take_finished(&blobs) {
            self.report.layers.insert(job.layer.digest.clone(), job.report()?);
        }
        self.remove_suspects(agent)?;
        route.progress.doing("sending layers", self.queue.expected_bytes());
        route.progress.set(self.queue.update_arrived(&spools));
        while let Some(layer) = self.queue.next_to_attach() {
            agent.attach(self.transfer.repository(), &layer)?;
            self.queue.finish_attach();
            self.report.layers.entry(layer).or_insert(LayerReport::PRESENT);
        }
        let jobs = self.queue.jobs().to_vec();
        let sent = self.send_jobs(agent, &jobs, &spools);
        if sent.is_err() {
            agent.close();
        }
        self.wait_made(agent, &jobs, sent)
    }

    fn begin(&self, agent: &mut Agent) -> Result<Started> {
        let owner = self.transfer.route.cache.owner()?;
        let (layers, keep) = (self.queue.layer_digests(), self.queue.deltas_to_keep());
        agent.begin(&owner, self.transfer.repository(), &layers, keep.as_deref())
    }

    /// Has the agent remove suspect layers that are damaged.
    fn remove_suspects(&mut self, agent: &mut Agent) -> Result<()> {
        let suspects = self.queue.take_suspects();
        if suspects.is_empty() {
            return Ok(());
        }
        let layout = &self.transfer.route.cache.layout;
        let sizes = suspects.iter().filter_map(|digest| layout.blob(digest).metadata().ok());
        let bytes = sizes.map(|metadata| metadata.len()).sum();
        let damaged = agent.remove_damaged(&suspects, bytes)?.len();
        if damaged > 0 {
            let text = format!("{damaged} damaged layers were removed from its registry");
            ui::warn(self.transfer.robot(), &text);
        }
        Ok(())
    }

    /// Sends the delta files of `jobs` and shows progress.
    fn send_jobs(&self, agent: &mut Agent, jobs: &[Job], spools: &BTreeMap<String, u64>) -> Result<()> {
        let progress = self.transfer.route.progress;
        jobs.iter().try_for_each(|job| {
            let offset = spools.get(&job.packed.delta.name).copied().unwrap_or_default();
            let request = job.request(self.transfer.repository());
            agent.send(request, &job.packed.delta, offset, &mut |count| {
                if let Some(total) = self.queue.expected_bytes() {
                    progress.expect(total);
                }
                progress.advance(count);
            })
        })
    }

    /// Waits until the agent has made the layers of `jobs`. Also after an error of `sent`: the answers tell
    /// which layers have been made, and why one was refused.
    fn wait_made(&mut self, agent: &mut Agent, jobs: &[Job], sent: Result<()>) -> Result<()> {
        for job in jobs {
            match agent.wait_made(job.layer.size) {
                Ok(stats) => self.print_make_stats(&job.layer, stats),
                Err(error) if error.is::<Refusal>() => return Err(error),
                // Where this machine ended the connection, its own error is the reason, not the agent's end.
                Err(error) => return Err(sent.err().unwrap_or(error)),
            }
            self.queue.finish(&job.layer.digest);
            self.report.layers.insert(job.layer.digest.clone(), job.report()?);
        }
        sent
    }

    /// Prints the memory and the reads that a layer took on the robot, in verbose mode.
    fn print_make_stats(&self, layer: &Layer, stats: MakeStats) {
        if crate::mode::verbose() {
            let [size, memory, read] = [layer.size, stats.memory, stats.read].map(ui::bytes);
            let name = image::short(&layer.digest);
            let text =
                format!("made layer {name} of {size} with {memory} of memory, reading {read} of others");
            ui::step(self.transfer.robot(), &text);
        }
    }

    /// Sends the first layer of the queue again where that can help, and else leaves it to `docker push`.
    ///
    /// # Errors
    /// The refusal itself if it would hold for the other layers, too.
    fn handle_refusal(&mut self, refusal: &Refusal) -> Result<()> {
        if self.queue.jobs().is_empty() {
            return Err(refusal.clone().into());
        }
        match refusal.kind {
            // The same delta file, from its beginning. A second refusal leaves the layer to `docker push`.
            RefusalKind::Spool if self.queue.retry_first(None) => Ok(()),
            // The spool of an earlier connection may have been damaged since, for example by a power cut.
            RefusalKind::Digest | RefusalKind::Delta if self.queue.restart_first() => Ok(()),
            RefusalKind::Digest | RefusalKind::Basis | RefusalKind::Delta
                if self.can_send_whole(refusal)? =>
            {
                ui::warn(self.transfer.robot(), &format!("{refusal}: the layer is sent whole"));
                Ok(())
            }
            RefusalKind::Disk => Err(self.transfer.disk_full(refusal.clone())),
            RefusalKind::Memory | RefusalKind::Busy | RefusalKind::System => Err(refusal.clone().into()),
            _ => {
                self.transfer.warn_of_push(&refusal.to_string());
                self.queue.skip_first();
                Ok(())
            }
        }
    }

    /// Invalidates what a delta was encoded from that did not make the layer, and has the layer sent whole.
    /// Returns false if that was tried before.
    fn can_send_whole(&mut self, refusal: &Refusal) -> Result<bool> {
        let Some(Job { layer, packed, .. }) = self.queue.jobs().first().cloned() else { return Ok(false) };
        let cache = self.transfer.route.cache;
        let damaged = cache.invalidate(&layer.digest, &packed)?;
        if damaged.contains(&layer.digest) {
            anyhow::bail!("a layer on this machine was damaged; it will be exported again");
        }
        if damaged.is_empty() && refusal.kind == RefusalKind::Digest {
            self.queue.suspect(&packed.bases);
        }
        Ok(self.queue.retry_first(Some(cache)))
    }
}
