//! Delivery by the robot's own registry, which is the default: push through the tunnel, pull on the robot.
//!
//! A delta transfer sends the layers that the registry lacks. An image of which it then has all layers is completed with
//! its manifest; of another one `docker push` sends the missing layers. `docker push` begins a layer again when the
//! connection drops, so the push is repeated over a new connection; layers that have arrived are not sent again.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::delta::{Transfer, TransferReport};
use super::retry::retrying;
use super::stats::TransferStats;
use super::{Delivered, Delivery, Route, pull as pulling};
use crate::error::{Exit, Failure, Result, exit_of};
use crate::image::layout::Exported;
use crate::image::oci::Descriptor;
use crate::image::push::{Layers, Push};
use crate::image::{Built, ImageId, layout};
use crate::parallel;
use crate::robot::registry::{self, PushedManifest};
use crate::robot::{Endpoint, Session, Survey, Tunnel, tunnel};
use crate::robot_side::Script;
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// Most bytes of layers to push that are not worth a compressed connection.
const MAX_UNCOMPRESSED: u64 = 100_000;

/// Brings the images that the robot's engine lacks to the robot.
///
/// # Errors
/// After an error, images and containers that the robot had are unchanged, and layers that arrived are not
/// sent again.
pub(crate) fn deliver(route: &Route<'_>, built: &[Built]) -> Result<Delivery> {
    let session = route.session;
    route.progress.waiting("checking its registry");
    let lane = || Lane::robot(session.robot());
    let mut delivery = Delivery::default();
    let mut lacking: Vec<&Built> = Vec::new();
    for built in built {
        // An image in the robot's engine need not be in its registry, too: it is not pulled.
        match super::on_robot(route.workspace, route.survey, route.digest_cache, built) {
            Some(there) => delivery.images.push(there),
            None => lacking.push(built),
        }
    }
    delivery.images_there = delivery.images.len();
    let before = delivery.images.clone();
    // The layers are read out of the engine meanwhile.
    let export = || Transfer::new(route).export(&lacking);
    let (exported, prepared) = parallel::both(export, || {
        let _span = timeline::span(lane(), Phase::Registry, "registry and tunnel");
        let began = Instant::now();
        let registry_bytes = registry::ensure(session, route.registry_image)?;
        route.digest_cache.record_speed(session.robot(), registry_bytes, began.elapsed());
        anyhow::Ok((Tunnel::open(session, tunnel::PORT)?, registry_bytes))
    });
    let (tunnel, registry_bytes) = prepared?;
    delivery.cost.sent = registry_bytes;
    fill_registry(route, &tunnel, &lacking, exported, &mut delivery)?;
    route.progress.doing("pulling from its registry", None);
    let _span = timeline::span(lane(), Phase::Pull, "pull");
    let project = &route.workspace.project.name;
    let pull = |images: &[Delivered]| pull_lacking(session, project, route.survey, images);
    if let Err(error) = pull(&delivery.images) {
        delivery.images = before;
        remove_damaged(route, &tunnel, &lacking, error)?;
        fill_registry(route, &tunnel, &lacking, export(), &mut delivery)?;
        pull(&delivery.images)?;
    }
    Ok(delivery)
}

/// Removes damaged blobs of these images, which the robot could not pull, from its registry: the registry's data
/// may have been damaged, for example by a power cut.
///
/// # Errors
/// `error`, unless that explains it.
fn remove_damaged(
    route: &Route<'_>,
    tunnel: &Tunnel<'_>,
    images: &[&Built],
    error: anyhow::Error,
) -> Result<()> {
    if matches!(exit_of(&error), Exit::Interrupted | Exit::Unreachable) {
        return Err(error);
    }
    tunnel.reopen()?;
    let blobs = |built: &&Built| Ok(manifest(tunnel, &route.workspace.project.name, built)?.blobs);
    let blobs: Result<Vec<Vec<Descriptor>>> = images.iter().map(blobs).collect();
    match blobs.and_then(|blobs| Transfer::new(route).remove_damaged(&blobs.concat())) {
        Ok(0) | Err(_) => Err(error),
        Ok(count) => {
            let text = format!("damaged in its registry: {}; sending again", ui::count(count, "layer"));
            ui::warn(route.session.robot(), &text);
            Ok(())
        }
    }
}

/// Fills the robot's registry: by delta transfer, and by `docker push` for the rest.
fn fill_registry(
    route: &Route<'_>,
    tunnel: &Tunnel<'_>,
    lacking: &[&Built],
    exported: Result<Vec<Exported>>,
    delivery: &mut Delivery,
) -> Result<()> {
    let report = Transfer::new(route).send_layers(tunnel, lacking, exported)?;
    let compressed = compressed_session(route, &report)?;
    let compressed = compressed.as_ref().map(|session| Tunnel::open(session, tunnel::PORT)).transpose()?;
    push_all(route, compressed.as_ref().unwrap_or(tunnel), lacking, &report, delivery)?;
    // During a push over the compressed connection the usual one may have dropped.
    if compressed.is_some() {
        delivery.cost.compressed = true;
        tunnel.reopen()?;
    }
    Ok(())
}

/// Pushes the images, and adds them and their cost to `delivery`.
fn push_all(
    route: &Route<'_>,
    tunnel: &Tunnel<'_>,
    images: &[&Built],
    report: &TransferReport,
    delivery: &mut Delivery,
) -> Result<()> {
    let cost = &mut delivery.cost;
    let start = tunnel.traffic().sent;
    let mut stats = TransferStats::new(route.session.robot(), report);
    for built in images {
        let (layers, manifest) = push_and_record(route, tunnel, built, report, &mut stats)?;
        cost.layers_sent += layers.sent;
        cost.layers_reused += layers.reused;
        cost.layer_bytes += manifest.layer_bytes;
        let reference = registry::reference(
            route.session.endpoint().registry_port,
            &route.workspace.project.name,
            &manifest.digest,
        );
        delivery.images.push(Delivered { image: built.spec.image.clone(), reference });
    }
    cost.sent += report.sent + tunnel.traffic().sent - start;
    cost.bytes_reused += match report.images.is_empty() {
        false => stats.reused(),
        // Without exported layers only their sum is known.
        true => cost.layer_bytes.saturating_sub(cost.sent),
    };
    Ok(())
}

/// Pushes one image, and records its bytes. Returns the layers by delta and by push.
fn push_and_record(
    route: &Route<'_>,
    tunnel: &Tunnel<'_>,
    built: &Built,
    report: &TransferReport,
    stats: &mut TransferStats<'_>,
) -> Result<(Layers, PushedManifest)> {
    let name = &built.spec.image;
    let before = tunnel.traffic().sent;
    let mut span = timeline::span(Lane::robot(route.session.robot()), Phase::Push, format!("push {name}"));
    let (pushed, manifest) = push(route, tunnel, built, report).with_context(|| format!("push `{name}`"))?;
    let sent = tunnel.traffic().sent - before;
    span.sent(sent);
    let (layers, by_delta) = stats.record(name, &manifest.digest, pushed, sent);
    print_pushed(route.progress, name, layers, by_delta + sent);
    Ok((layers, manifest))
}

/// Opens a compressing connection if `docker push` has to send uncompressed layers.
fn compressed_session(route: &Route<'_>, report: &TransferReport) -> Result<Option<Session>> {
    let is_worth_it = report.images.is_empty() || report.bytes_left_to_push() > MAX_UNCOMPRESSED;
    if !layout::can_export(route.builder) || !is_worth_it {
        return Ok(None);
    }
    Session::open(Endpoint { compressed: true, keep: Duration::ZERO, ..route.session.endpoint().clone() })
        .map(Some)
}

fn print_pushed(progress: &Progress, image: &str, layers: Layers, sent: u64) {
    let Layers { sent: new, reused } = layers;
    if layers == Layers::default() {
        return progress.done(&format!("pushed {image}: {} sent", ui::bytes(sent)));
    }
    progress.done(&format!(
        "pushed {image}: {}, {reused} reused, {} sent",
        ui::count(new, "new layer"),
        ui::bytes(sent)
    ));
}

/// Pushes one image, and verifies that the registry has the image that was built.
fn push(
    route: &Route<'_>,
    tunnel: &Tunnel<'_>,
    built: &Built,
    report: &TransferReport,
) -> Result<(Layers, PushedManifest)> {
    let repository = &route.workspace.project.name;
    let push = Push::new(route.builder, repository, built, tunnel.port())?;
    route.progress.doing(&format!("pushing {}", built.spec.image), None);
    let _watch = tunnel.watched_by(route.progress);
    let again = "the connection dropped: connected again, pushing again";
    let layers = match put(route, tunnel, built, report) {
        Some(layers) => layers,
        None => retrying(tunnel, again, || push.run())?,
    };
    let manifest = manifest(tunnel, repository, built)?;
    verify(built, &manifest)?;
    if let ImageId::Config(config) = &built.id {
        route.digest_cache.record_pushed(config, &manifest.digest);
    }
    Ok((layers, manifest))
}

/// Gives the registry an image all of whose layers it has: a manifest, a configuration and a tag. `None` if only
/// `docker push` can do it, which asks for each layer again.
fn put(route: &Route<'_>, tunnel: &Tunnel<'_>, built: &Built, report: &TransferReport) -> Option<Layers> {
    let ImageId::Manifest(digest) = &built.id else { return None };
    let image = report.images.iter().find(|image| *image.digest == **digest)?;
    if !image.layers.iter().all(|layer| report.layers.contains_key(&layer.digest)) {
        return None;
    }
    let (manifest, config) = route.cache.layout.manifest_and_config(&image.digest).ok()?;
    let repository = &route.workspace.project.name;
    tunnel.registry().put_image(repository, &built.spec.image, &manifest, &config).ok()?;
    Some(Layers { sent: 0, reused: image.layers.len() })
}

/// Reads what the registry has under the tag of an image.
fn manifest(tunnel: &Tunnel<'_>, repository: &str, built: &Built) -> Result<PushedManifest> {
    let again = "the connection dropped: connected again";
    retrying(tunnel, again, || tunnel.registry().manifest(repository, &built.spec.image))
}

/// Fails unless the registry has the digest that was built.
fn verify(built: &Built, manifest: &PushedManifest) -> Result<()> {
    let (arrived, expected) = match &built.id {
        ImageId::Manifest(digest) => (manifest.digest.as_str(), digest),
        ImageId::Config(digest) => (manifest.config.as_str(), digest),
    };
    if arrived == expected {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the robot's registry has {arrived} for `{}` instead of {expected}, which was built",
        built.reference
    ))
    .hint("another deploy may be pushing to the same robot: deploy again")
    .into())
}

/// Has the robot pull the images that it lacks from its own registry, and restore the names of older images
/// that newer ones have taken.
pub(crate) fn pull_lacking(
    session: &Session,
    project: &str,
    survey: &Survey,
    images: &[Delivered],
) -> Result<()> {
    let repository = registry::repository(session.endpoint().registry_port, project);
    let images = pulling::lacking(survey, &repository, project, images);
    if images.is_empty() {
        return Ok(());
    }
    let args = pulling::arguments(&images, &repository, project);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = session.script(Script::Pull, &args).run_for_output()?;
    pulling::check(session.robot(), &repository, &images, &output)
}
