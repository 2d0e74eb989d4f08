//! The default way: push through the tunnel into the robot's own registry, pull from there.
//!
//! The courier goes ahead with the layers that the registry lacks. What it could not bring, the push does:
//! `docker push` starts a layer anew when the connection drops, so a dropped connection is established again
//! and the push repeated; layers that arrived are kept.

use anyhow::Context as _;

use super::delta::{LayerObserver, NoObserver, Transfer, TransferReport};
use super::early_pull;
use super::stats::TransferStats;
use super::{Delivered, Delivery, Route, pull as pulling};
use crate::digest::Digest;
use crate::error::{Exit, Failure, Result, exit_of};
use crate::image::oci::Descriptor;
use crate::image::push::{Layers, Push};
use crate::image::{Built, ImageId, layout};
use crate::process;
use crate::release::compose;
use crate::robot::registry::{self, PushedManifest};
use crate::robot::{Endpoint, Session, Survey, Tunnel, tunnel};
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// How often a push or a pull is tried while the connection keeps dropping.
const TRIES: u32 = 5;

/// What is left of a delivery whose connection is lost.
const KEPT: &str = "what arrived is kept there: the next deploy goes on from it";

/// Bytes of layers that are not worth a connection of their own.
const LITTLE: u64 = 100_000;

/// Brings images to the robot; those that its engine has already cost nothing.
///
/// # Errors
/// Fails when the connection, the registry, the push or the pull fails for good; what the robot had and
/// ran is untouched then, and what arrived is not sent again the next time.
pub fn deliver(route: &Route<'_>, built: &[Built]) -> Result<Delivery> {
    let session = route.session;
    route.progress.waiting("looking at its registry");
    let lane = || Lane::robot(session.robot());
    let preparing = timeline::span(lane(), Phase::Registry, "registry and tunnel");
    let registry_bytes = registry::ensure(session, route.registry_image)?;
    let tunnel = Tunnel::open(session, tunnel::PORT)?;
    drop(preparing);
    let mut delivery = Delivery::default();
    delivery.cost.sent = registry_bytes;
    let mut lacking: Vec<&Built> = Vec::new();
    for built in built {
        // What the robot's engine has need not be in its registry: nobody would pull it.
        match super::is_there(route, built) {
            Some(there) => delivery.images.push(there),
            None => lacking.push(built),
        }
    }
    delivery.images_there = delivery.images.len();
    let before = delivery.images.clone();
    let early = early_pull::while_sending(route, |observer| {
        bring(route, &tunnel, &lacking, &mut delivery, observer)
    })?;
    route.progress.doing("pulling from its registry", None);
    let _span = timeline::span(lane(), Phase::Pull, "pull");
    let pulled = pull(route, &tunnel, &delivery.images);
    drop(early);
    let Err(error) = pulled else { return Ok(delivery) };
    if matches!(exit_of(&error), Exit::Interrupted | Exit::Unreachable) {
        return Err(error);
    }
    // A registry's data may have been damaged, say by a power cut: what is, is removed and brought again.
    let damaged = match check(route, &tunnel, &lacking) {
        Ok(0) | Err(_) => return Err(error),
        Ok(count) => count,
    };
    ui::warn(session.robot(), &format!("{damaged} layers in its registry were damaged: bringing them again"));
    delivery.images = before;
    bring(route, &tunnel, &lacking, &mut delivery, &NoObserver)?;
    pull(route, &tunnel, &delivery.images)?;
    Ok(delivery)
}

/// Has the robot pull what it lacks, however often the connection breaks off: what it has pulled it keeps.
fn pull(route: &Route<'_>, tunnel: &Tunnel<'_>, images: &[Delivered]) -> Result<()> {
    let robot = route.session.robot();
    let project = &route.workspace.project.name;
    for tries in 1.. {
        let Err(error) = pull_lacking(route.session, project, route.survey, images) else { break };
        process::check_interrupted()?;
        if !tunnel.reopen(KEPT)? {
            return Err(error);
        }
        if tries == TRIES {
            let dropped = format!("the connection to `{robot}` drops again and again");
            return Err(Failure::unreachable(dropped).hint(KEPT).because(error).into());
        }
        ui::warn(robot, "the connection dropped: connected again, the robot goes on pulling");
    }
    Ok(())
}

/// Removes what is damaged in the robot's registry of these images; gives the number of blobs.
fn check(route: &Route<'_>, tunnel: &Tunnel<'_>, images: &[&Built]) -> Result<usize> {
    let mut blobs: Vec<Descriptor> = Vec::new();
    for built in images {
        let manifest = tunnel.registry().manifest(&route.workspace.project.name, &built.wanted.image)?;
        blobs.extend(manifest.blobs);
    }
    Transfer::of(route).check(&blobs)
}

/// Fills the robot's registry: the courier brings what it can, the push completes it.
fn bring(
    route: &Route<'_>,
    tunnel: &Tunnel<'_>,
    lacking: &[&Built],
    delivery: &mut Delivery,
    observer: &dyn LayerObserver,
) -> Result<()> {
    let report = if process::mode().dry_run {
        // What is printed is a script, and the push is right on its own.
        TransferReport::default()
    } else {
        Transfer::of(route).observed_by(observer).carry(tunnel, lacking)?
    };
    let cost = &mut delivery.cost;
    cost.sent += report.sent;
    let compressed = compressed_session(route, &report)?;
    let compressed = compressed.as_ref().map(|session| Tunnel::open(session, tunnel::PORT)).transpose()?;
    let (usual, tunnel) = (tunnel, compressed.as_ref().unwrap_or(tunnel));
    let start = tunnel.traffic().sent;
    cost.compressed |= compressed.is_some();
    let mut stats = TransferStats::new(route.session.robot(), &report);
    for built in lacking {
        let name = &built.wanted.image;
        let before = tunnel.traffic().sent;
        let mut span =
            timeline::span(Lane::robot(route.session.robot()), Phase::Push, format!("push {name}"));
        let (pushed, manifest) = push(route, tunnel, built).with_context(|| format!("push `{name}`"))?;
        let sent = tunnel.traffic().sent - before;
        span.sent(sent);
        if pushed.sent == 0
            && let Some(exported) = report.images.iter().find(|exported| *exported.digest == manifest.digest)
        {
            route
                .digest_cache
                .record_overhead(exported.layers.len(), sent.saturating_sub(exported.own_bytes));
        }
        let (layers, by_delta) = stats.record(name, &manifest.digest, pushed, sent);
        print_pushed(route.progress, name, layers, by_delta + sent);
        cost.layers_sent += layers.sent;
        cost.layers_reused += layers.reused;
        cost.layer_bytes += manifest.layer_bytes;
        let reference = compose::reference(&route.workspace.project.name, &manifest.digest);
        delivery.images.push(Delivered { image: name.clone(), reference });
    }
    cost.sent += tunnel.traffic().sent - start;
    cost.bytes_reused += match report.images.is_empty() {
        false => stats.reused(),
        // Who cannot look into layers knows their sum only.
        true => cost.layer_bytes.saturating_sub(cost.sent),
    };
    // Where the push had a connection of its own, this one may have been lost meanwhile.
    if compressed.is_some() {
        let _again = usual.reopen(KEPT)?;
    }
    Ok(())
}

/// A connection that compresses, where the push has to carry layers that are not.
fn compressed_session(route: &Route<'_>, report: &TransferReport) -> Result<Option<Session>> {
    let has_to = report.images.is_empty() || report.left() > LITTLE;
    if process::mode().dry_run || !layout::can_export(route.builder) || !has_to {
        return Ok(None);
    }
    Session::open(Endpoint { compressed: true, ..route.session.endpoint().clone() }).map(Some)
}

fn print_pushed(progress: &Progress, image: &str, layers: Layers, sent: u64) {
    if process::mode().dry_run {
        return;
    }
    let Layers { sent: new, reused } = layers;
    if layers == Layers::default() {
        return progress.done(&format!("pushed {image}: {} sent", ui::bytes(sent)));
    }
    progress.done(&format!("pushed {image}: {new} new layers, {reused} reused, {} sent", ui::bytes(sent)));
}

/// Pushes one image and makes sure that what arrived is what was built.
fn push(route: &Route<'_>, tunnel: &Tunnel<'_>, built: &Built) -> Result<(Layers, PushedManifest)> {
    let repository = &route.workspace.project.name;
    let push = Push::new(route.builder, repository, built, tunnel.port())?;
    route.progress.doing(&format!("pushing {}", built.wanted.image), None);
    let _watch = tunnel.watched_by(route.progress);
    let mut tries = 1;
    let layers = loop {
        match push.run() {
            Ok(layers) => break layers,
            Err(error) => {
                process::check_interrupted()?;
                // Only a lost connection is worth another try: everything else fails the same way again.
                if !tunnel.reopen(KEPT)? || tries == TRIES {
                    return Err(error);
                }
                tries += 1;
                ui::warn(route.session.robot(), "the connection dropped: connected again, pushing again");
            }
        }
    };
    if process::mode().dry_run {
        return Ok((layers, PushedManifest::unknown(&built.wanted.image)));
    }
    let manifest = tunnel.registry().manifest(repository, &built.wanted.image)?;
    verify(built, &manifest)?;
    if let ImageId::Config(config) = &built.id {
        route.digest_cache.record_pushed(config, &manifest.digest);
    }
    Ok((layers, manifest))
}

/// The digest in the registry against the digest built.
fn verify(built: &Built, manifest: &PushedManifest) -> Result<()> {
    let (arrived, expected) = match &built.id {
        ImageId::Manifest(digest) => (Some(manifest.digest.as_str()), digest),
        ImageId::Config(digest) => (manifest.config.as_ref().map(Digest::as_str), digest),
    };
    if arrived == Some(expected) {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the robot's registry has {} for `{}`, built was {expected}",
        arrived.unwrap_or("nothing"),
        built.reference
    ))
    .hint("somebody may be pushing another build to the same robot: deploy again")
    .into())
}

/// Lets the robot pull from its own registry what it lacks, and gives images their names that it has had for longer,
/// where later ones have taken them.
///
/// # Errors
/// Fails when the connection is gone or Docker on the robot fails.
pub fn pull_lacking(session: &Session, project: &str, survey: &Survey, images: &[Delivered]) -> Result<()> {
    let images = pulling::lacking(survey, project, images);
    if images.is_empty() {
        return Ok(());
    }
    let args = pulling::arguments(&images, &registry::repository(project), project);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = session.script(pulling::SCRIPT, &args).run_for_output()?;
    pulling::check(session.robot(), &images, &output)
}
