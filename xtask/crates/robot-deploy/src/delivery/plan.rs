//! Plan of a delivery: the layers that it would send, and about how many bytes, without sending any of them.
//!
//! Layers are compared and deltas encoded as for a delivery, which then finds them in the cache: a plan is no
//! extra work for the deploy that follows. So the bytes of layers are exact; the few kilobytes of requests
//! beside them are estimated.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Route;
use super::delta::{LayerReport, RegistryAccess, Transfer};
use crate::error::Result;
use crate::image::Built;
use crate::image::layout::{self, Exported};
use crate::number;
use crate::process::{self, Cmd};
use crate::robot::{registry, survey};
use crate::robot_side::Script;
use crate::robot_side::lines::{self, plan as word};
use crate::timeline::Transport;

/// Bytes besides layers and what describes an image, about: the registry agent with its requests; the requests for an
/// image; those of `docker push` for a layer.
const OTHER_BYTES: (u64, u64, u64) = (6_500, 1_400, 1_300);

/// Plan for one robot, as `--json` prints it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Plan {
    pub robot: String,
    pub images: Vec<Image>,
    /// Bytes of layers to send.
    pub layer_bytes: u64,
    /// Other bytes to send, about: the registry agent, requests of pushes, manifests, the release.
    pub other_bytes: u64,
    /// Bytes of the registry's image, which is sent to each robot once.
    pub registry_bytes: u64,
    /// All bytes to send.
    pub bytes: u64,
    /// Speed of the last large delivery to the robot, if there was one.
    pub bytes_per_second: Option<u64>,
    /// Duration of the transfer at that speed.
    pub seconds: Option<f64>,
    /// Additional bytes on the robot's disk.
    pub disk_needed: u64,
    /// Free bytes on the robot's disk.
    pub disk_free: u64,
    /// Services that would be started or restarted.
    pub restarts: Vec<String>,
    /// Services that would be stopped and removed, because the release does not have them.
    pub removed: Vec<String>,
    /// Services that would continue to run.
    pub stays: Vec<String>,
    /// Reasons why the plan is not exact.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Image {
    /// The image's name in `robots.toml`.
    pub image: String,
    pub digest: String,
    /// True if the robot's engine has the image.
    pub there: bool,
    /// The layers, lowest first; empty if the robot's engine has the image.
    pub layers: Vec<Layer>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Layer {
    pub digest: String,
    /// The instruction that made the layer.
    pub created_by: String,
    pub size: u64,
    /// The way to the robot: `there`, `patch`, `whole`, `push`.
    pub how: &'static str,
    /// The layer that a patch refers to.
    pub basis: Option<String>,
    /// Bytes to send.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct RobotState {
    /// Hash of each service that was started.
    started: BTreeMap<String, String>,
    registry: String,
    is_classic: bool,
    free: u64,
}

impl RobotState {
    fn query(route: &Route<'_>) -> Result<Self> {
        let args = [route.workspace.project.name.as_str(), registry::CONTAINER, route.registry_image];
        let text = route.session.script(Script::Plan, &args).read()?;
        let mut state = Self::default();
        for line in lines::read(&text) {
            match line[..] {
                [word::STARTED, service, hash] => {
                    state.started.insert(survey::label(service), survey::label(hash));
                }
                [word::REGISTRY, registry] => registry.clone_into(&mut state.registry),
                [word::STORE, store] => state.is_classic = store == "classic",
                [word::FREE, kilobytes] => state.free = number::kibibytes(kilobytes).unwrap_or_default(),
                _ => {}
            }
        }
        Ok(state)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    /// Hash of each service's configuration: the service is restarted when it changes.
    pub hashes: BTreeMap<String, String>,
    /// The services that end by themselves.
    pub jobs: BTreeSet<String>,
    /// Bytes of the release to send; 0 if the robot runs the release, so that nothing would be done.
    pub archive: u64,
}

pub(crate) fn plan(route: &Route<'_>, built: &[Built], services: &Services) -> Result<Plan> {
    let state = RobotState::query(route)?;
    let mut plan = Plan {
        robot: route.session.robot().to_owned(),
        images: built.iter().map(|built| image(route, built)).collect(),
        disk_free: state.free,
        removed: removed(&route.survey.containers, services),
        ..Plan::default()
    };
    let pairs = built.iter().zip(&plan.images);
    let lacking: Vec<&Built> = pairs.filter(|(_, image)| !image.there).map(|(built, _)| built).collect();
    if !lacking.is_empty() {
        plan.add_layers(route, &lacking, &state)?;
    }
    plan.add_services(&route.survey.containers, &state, services);
    plan.other_bytes += services.archive;
    plan.bytes = plan.layer_bytes + plan.other_bytes + plan.registry_bytes;
    plan.bytes_per_second = route.digest_cache.speed(route.session.robot());
    #[expect(clippy::cast_precision_loss, reason = "seconds are shown with two digits")]
    let seconds = |speed: u64| plan.bytes as f64 / speed.max(1) as f64;
    plan.seconds = plan.bytes_per_second.map(seconds);
    Ok(plan)
}

fn image(route: &Route<'_>, built: &Built) -> Image {
    Image {
        image: built.spec.image.clone(),
        digest: built.id.digest().to_owned(),
        there: super::on_robot(route.workspace, route.survey, route.digest_cache, built).is_some(),
        layers: Vec::new(),
    }
}

/// Returns whether a service runs, or is a job that has succeeded.
fn runs(containers: &[survey::Container], services: &Services, service: &str) -> bool {
    containers.iter().any(|container| {
        let has_ended = services.jobs.contains(service) && container.ended_well();
        container.service == service && (container.state == "running" || has_ended)
    })
}

/// Returns the running services that the release does not have, if the robot would activate the release.
fn removed(containers: &[survey::Container], services: &Services) -> Vec<String> {
    let is_removed = |container: &&survey::Container| {
        services.archive > 0
            && container.state != "exited"
            && !services.hashes.contains_key(&container.service)
    };
    let names: BTreeSet<&String> =
        containers.iter().filter(is_removed).map(|container| &container.service).collect();
    names.into_iter().cloned().collect()
}

impl Plan {
    /// Divides the services of the release into those that stay and those that are restarted.
    fn add_services(&mut self, containers: &[survey::Container], state: &RobotState, services: &Services) {
        for (service, hash) in &services.hashes {
            let is_same = state.started.get(service) == Some(hash);
            let stays = is_same && runs(containers, services, service);
            let names = if stays { &mut self.stays } else { &mut self.restarts };
            names.push(service.clone());
        }
    }

    fn add_layers(&mut self, route: &Route<'_>, lacking: &[&Built], state: &RobotState) -> Result<()> {
        // Layers are exported and deltas encoded for it, in files that a dry run must not write.
        process::outcome_needed()?;
        if state.registry == "absent" {
            self.registry_bytes =
                Cmd::new("cat").feed(&Cmd::new("docker").args(["save", route.registry_image]))?;
        }
        if !layout::can_export(route.builder) {
            self.notes.push(
                "this machine's engine keeps images in the classic store: layers and their bytes are known only \
                 after a push"
                    .to_owned(),
            );
            return Ok(());
        }
        let registry = self.registry_access(route, state);
        let forecast = Transfer::new(route).forecast(lacking, registry)?;
        let fallback = &forecast.fallback_reason;
        let note = |why: &String| format!("{why}: `docker push` sends whole layers, compressed");
        self.notes.extend(fallback.as_ref().map(note));
        let (agent_bytes, image_bytes, layer_bytes) = OTHER_BYTES;
        self.other_bytes += agent_bytes;
        let mut seen = BTreeSet::new();
        for (built, exported) in lacking.iter().zip(&forecast.report.images) {
            let layers = exported.layers.iter().map(|layer| {
                let pushed = || LayerReport { how: Transport::Push, sent: layer.size };
                Layer::of(layer, forecast.report.report_for(layer, &mut seen).unwrap_or_else(pushed))
            });
            let layers: Vec<Layer> = layers.collect();
            let (manifest, config) = route.cache.layout.manifest_and_config(&exported.digest)?;
            self.other_bytes += image_bytes + (manifest.len() + config.len()) as u64;
            if layers.iter().any(|layer| layer.how == "push") {
                self.other_bytes += layer_bytes * exported.layers.len() as u64;
            }
            self.add_image(built, exported, layers, state.is_classic);
        }
        Ok(())
    }

    /// Access to the data of the robot's registry, with a note where that makes the plan inexact.
    fn registry_access<'a>(&mut self, route: &Route<'a>, state: &RobotState) -> RegistryAccess<'a> {
        match state.registry.as_str() {
            "running" => return RegistryAccess::Running,
            "stopped" => return RegistryAccess::Stopped(route.registry_image),
            "absent" if !route.survey.images.is_empty() => self.notes.push(
                "the robot's registry was started by another version of xtask: its layers are known only after \
                 it has been replaced, so a deploy may send less than planned"
                    .to_owned(),
            ),
            _ => {}
        }
        RegistryAccess::Absent
    }

    /// Sets the layers of an image, and adds the bytes that they take on the way and on the robot's disk.
    fn add_image(&mut self, built: &Built, exported: &Exported, layers: Vec<Layer>, is_classic: bool) {
        let Some(image) = self.images.iter_mut().find(|image| image.image == built.spec.image) else {
            return;
        };
        for layer in layers.iter().filter(|layer| layer.how != "there") {
            self.layer_bytes += layer.bytes;
            self.disk_needed += layer.size * if is_classic { 2 } else { 3 };
        }
        image.digest = exported.digest.to_string();
        image.layers = layers;
    }
}

impl Layer {
    fn of(layer: &layout::Layer, report: LayerReport) -> Self {
        let (how, basis) = match report.how {
            Transport::There => ("there", None),
            Transport::Patch { basis } => ("patch", Some(basis)),
            Transport::Whole => ("whole", None),
            Transport::Push => ("push", None),
        };
        let (digest, created_by) = (layer.digest.to_string(), layer.created_by.clone());
        Self { digest, created_by, size: layer.size, how, basis, bytes: report.sent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_service_without_a_release_is_removed() {
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
        // A robot that runs the release is left alone.
        assert_eq!(removed(&containers, &Services { archive: 0, ..services }), [""; 0]);
    }
}
