//! What a delivery would send, to the byte, without sending any of it.
//!
//! The layers are compared and the parcels made as for a delivery, which then finds them: a plan costs a deploy
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::Route;
use super::delta::{self, LayerReport, Transfer};
use crate::error::Result;
use crate::image::{Built, layout};
use crate::number;
use crate::process::{self, Cmd};
use crate::robot::{Session, registry, survey};
use crate::timeline::Transport;

/// How long the link's speed is measured.
const PROBE: Duration = Duration::from_secs(1);

/// The most that is sent to measure it.
const PROBE_BYTES: usize = 16 << 20;

/// What would become of a robot.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// The robot.
    pub robot: String,
    /// Its images.
    pub images: Vec<Image>,
    /// Bytes of layers that would travel.
    pub layer_bytes: u64,
    /// Bytes that would be said besides: the courier's program, the push's requests, manifests, the release.
    pub other_bytes: u64,
    /// Bytes that the registry's image takes, which a robot is brought once.
    pub registry_bytes: u64,
    /// All of these.
    pub bytes: u64,
    /// What the link carries, measured just now.
    pub bytes_per_second: u64,
    /// How long the bytes take on it.
    pub seconds: f64,
    /// Bytes that the robot's disk would hold more.
    pub disk_needed: u64,
    /// Bytes that are free there.
    pub disk_free: u64,
    /// Services that would be started, or stopped and started.
    pub restarts: Vec<String>,
    /// Services that would be stopped and removed: the release has them no more.
    pub removed: Vec<String>,
    /// Services that would go on running.
    pub stays: Vec<String>,
    /// What keeps the plan from being exact.
    pub notes: Vec<String>,
}

/// An image of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Its name in `robots.toml`.
    pub image: String,
    /// The digest that it is built with.
    pub digest: String,
    /// Whether the robot's engine has it.
    pub there: bool,
    /// Its layers, lowest first; nothing of an image that is there.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Its digest.
    pub digest: String,
    /// The instruction that made it.
    pub created_by: String,
    /// Bytes of it.
    pub size: u64,
    /// Transport it would travel: `there`, `patch`, `whole`, `push`.
    pub how: &'static str,
    /// The layer that a patch refers to.
    pub basis: Option<String>,
    /// Bytes that would travel.
    pub bytes: u64,
}

/// What the robot says of itself.
#[derive(Debug, Default)]
struct Answers {
    started: BTreeMap<String, String>,
    registry: String,
    is_classic: bool,
    free: u64,
}

impl Answers {
    fn ask(route: &Route<'_>) -> Result<Self> {
        let args = [route.workspace.project.name.as_str(), registry::CONTAINER, route.registry_image];
        let text = route.session.script(include_str!("scripts/plan.sh"), &args).read()?;
        let mut answers = Self::default();
        for line in text.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["started", service, hash] => {
                    drop(answers.started.insert(survey::label(service), survey::label(hash)));
                }
                ["registry", state] => state.clone_into(&mut answers.registry),
                ["store", store] => answers.is_classic = store == "classic",
                ["free", kilobytes] => answers.free = number::kibibytes(kilobytes).unwrap_or_default(),
                _ => {}
            }
        }
        Ok(answers)
    }
}

/// What the release says of the services, for those who know it: a hash for each, and the bytes of the archive.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// What each service is; it is restarted when this changes.
    pub hashes: BTreeMap<String, String>,
    /// The services that may have ended.
    pub jobs: BTreeSet<String>,
    /// Bytes that are sent to go over to the release; 0 where the robot runs it and nothing would be done.
    pub archive: u64,
}

/// Plans a delivery.
///
/// # Errors
/// Fails when the connection is gone or layers on this machine cannot be read.
pub fn plan(route: &Route<'_>, built: &[Built], services: &Services) -> Result<Plan> {
    let answers = Answers::ask(route)?;
    let image = |built: &Built| Image {
        image: built.wanted.image.clone(),
        digest: built.id.digest().to_owned(),
        there: super::is_there(route, built).is_some(),
        layers: Vec::new(),
    };
    let mut plan = Plan {
        robot: route.session.robot().to_owned(),
        images: built.iter().map(image).collect(),
        disk_free: answers.free,
        removed: removed(&route.survey.containers, services),
        ..Plan::default()
    };
    let pairs = built.iter().zip(&plan.images);
    let lacking: Vec<&Built> = pairs.filter(|(_, image)| !image.there).map(|(built, _)| built).collect();
    if !lacking.is_empty() {
        plan.add_layers(route, &lacking, &answers)?;
    }
    let runs = |service: &String| {
        route.survey.containers.iter().any(|container| {
            let has_ended = services.jobs.contains(service) && container.ended_well();
            container.service == *service && (container.state == "running" || has_ended)
        })
    };
    let same =
        |(service, hash): &(&String, &String)| answers.started.get(*service) == Some(*hash) && runs(service);
    let (stays, restarts): (Vec<_>, Vec<_>) = services.hashes.iter().partition(same);
    let names =
        |some: Vec<(&String, &String)>| some.into_iter().map(|(service, _)| service.clone()).collect();
    (plan.stays, plan.restarts) = (names(stays), names(restarts));
    plan.other_bytes += services.archive;
    plan.bytes = plan.layer_bytes + plan.other_bytes + plan.registry_bytes;
    plan.bytes_per_second = speed(route.session)?;
    #[expect(clippy::cast_precision_loss, reason = "seconds are shown with two digits")]
    {
        plan.seconds = plan.bytes as f64 / plan.bytes_per_second.max(1) as f64;
    }
    Ok(plan)
}

/// The services that run and are none of a release that the robot would go over to.
fn removed(containers: &[survey::Container], services: &Services) -> Vec<String> {
    let is_over = |container: &&survey::Container| {
        services.archive > 0
            && container.state != "exited"
            && !services.hashes.contains_key(&container.service)
    };
    let names: BTreeSet<&String> =
        containers.iter().filter(is_over).map(|container| &container.service).collect();
    names.into_iter().cloned().collect()
}

impl Plan {
    fn add_layers(&mut self, route: &Route<'_>, lacking: &[&Built], answers: &Answers) -> Result<()> {
        if answers.registry == "absent" {
            self.registry_bytes = Cmd::new("docker").args(["save", route.registry_image]).count_output()?;
        }
        if !layout::can_export(route.builder) {
            self.notes.push(
                "this machine's engine keeps images in the classic store: their layers, and the bytes of \
                 them, are known only once they are pushed"
                    .to_owned(),
            );
            return Ok(());
        }
        let transfer = Transfer::of(route);
        let registry = match answers.registry.as_str() {
            "running" => delta::RegistryAccess::Running,
            "stopped" => delta::RegistryAccess::Stopped(route.registry_image),
            "absent" if !route.survey.images.is_empty() => {
                self.notes.push(
                    "the robot's registry is of another version of xtask: what it holds is known only once it \
                     has been replaced, so less than this may travel"
                        .to_owned(),
                );
                delta::RegistryAccess::Absent
            }
            _ => delta::RegistryAccess::Absent,
        };
        let forecast = transfer.forecast(lacking, registry)?;
        self.notes
            .extend(forecast.why_push.map(|why| format!("{why}: the push carries whole layers, compressed")));
        let mut seen = BTreeSet::new();
        for (built, exported) in lacking.iter().zip(&forecast.report.images) {
            let Some(image) = self.images.iter_mut().find(|image| image.image == built.wanted.image) else {
                continue;
            };
            image.digest = exported.digest.to_string();
            for layer in &exported.layers {
                let pushed = || LayerReport { how: Transport::Push, sent: layer.size };
                let LayerReport { how, sent } =
                    forecast.report.report_for(layer, &mut seen).unwrap_or_else(pushed);
                if how != Transport::There {
                    self.layer_bytes += sent;
                    self.disk_needed += layer.size * if answers.is_classic { 2 } else { 3 };
                }
                let (how, basis) = match how {
                    Transport::There => ("there", None),
                    Transport::Patch { basis } => ("patch", Some(basis)),
                    Transport::Whole => ("whole", None),
                    Transport::Push => ("push", None),
                };
                let (digest, created_by) = (layer.digest.to_string(), layer.created_by.clone());
                image.layers.push(Layer { digest, created_by, size: layer.size, how, basis, bytes: sent });
            }
            self.other_bytes += exported.own_bytes + route.digest_cache.push_overhead(exported.layers.len());
        }
        self.other_bytes += forecast.overhead;
        Ok(())
    }
}

/// Bytes per second that the connection carries: measured, by sending some that are thrown away.
fn speed(session: &Session) -> Result<u64> {
    let (_child, mut words, answers) =
        session.command(["sh", "-c", "cat >/dev/null; echo done"]).converse()?;
    // Bytes that no link compresses: each differs from what was before.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let chunk: Vec<u8> = (0..8192).flat_map(|_| noise()).collect();
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < PROBE && sent < PROBE_BYTES {
        words.write_all(&chunk).context("measure the link")?;
        sent += chunk.len();
    }
    drop(words);
    let mut answer = String::new();
    let _bytes =
        answers.take(process::LINE as u64).read_to_string(&mut answer).context("measure the link")?;
    anyhow::ensure!(answer.ends_with("done\n"), "the connection ended while the link was measured");
    let micros = began.elapsed().as_micros().max(1);
    Ok(u64::try_from(sent as u128 * 1_000_000 / micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_the_release_has_no_more_is_removed() {
        let container = |service: &str, state: &str| survey::Container {
            service: service.to_owned(),
            state: state.to_owned(),
            reference: String::new(),
            image_id: String::new(),
            exit_code: 0,
            started: String::new(),
            health: String::new(),
            restarts: 0,
            hash: String::new(),
        };
        let containers = [
            container("radio", "restarting"),
            container("camera", "running"),
            container("lidar", "running"),
            container("lidar", "running"),
            container("setup", "exited"),
        ];
        let hashes = [("camera".to_owned(), String::new())].into();
        let services = Services { hashes, archive: 100, ..Services::default() };
        assert_eq!(removed(&containers, &services), ["lidar", "radio"]);
        // Where the robot runs the release, nothing is done to it.
        assert_eq!(removed(&containers, &Services { archive: 0, ..services }), [""; 0]);
    }
}
