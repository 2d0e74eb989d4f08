//! Delivery by archive: `docker save` on this machine, `docker load` on the robot, which needs nothing but
//! Docker.
//!
//! Images that the robot has are not sent, nor are layers that it has below the first new one: both image
//! stores complete a loaded image with layers that they have. The archive is compressed on all cores; Docker
//! 23 and later can load that. Images get their names when they are complete and verified.

mod contents;
mod pipe;
mod source;

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub(crate) use contents::{ArchiveContents, PackedLayer, common, pack};
pub(crate) use pipe::{Observed, read_from, write_to};
pub(crate) use source::{ArchiveSource, Engine, Pass};

use super::{Cost, Delivered, Delivery, DigestCache, name_on_robot};
use crate::error::{Failure, Result};
use crate::image::{Built, short};
use crate::process;
use crate::robot::survey::EngineImage;
use crate::robot::{Session, Survey};
use crate::robot_side::Script;
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// Source and destination of images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArchiveRoute<'a> {
    /// The project's name, which is the repository of its images.
    pub project: &'a str,
    pub session: &'a Session,
    /// State of the robot before the delivery.
    pub survey: &'a Survey,
    pub digest_cache: &'a DigestCache,
    /// The robot's line on the terminal.
    pub progress: &'a Progress,
}

/// An image, and the digests that may be its id in an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveImage {
    /// The image's name in `robots.toml`.
    pub image: String,
    /// Digest of the manifest or of the configuration: the image's id in the engine that built it.
    pub digest: String,
    /// The other digest, if it is known.
    pub other: Option<String>,
}

impl ArchiveImage {
    pub(crate) fn of(built: &Built, digest_cache: &DigestCache) -> Self {
        let digest = built.id.digest();
        // The robot may have received the image by a push as well.
        let other = digest_cache.saved_with(digest).or_else(|| digest_cache.pushed_as(digest));
        Self { image: built.spec.image.clone(), digest: digest.to_owned(), other }
    }

    /// The image's name in a robot's engine: a tag with the digest, because a loaded image in a classic store
    /// has no reference by digest.
    pub(crate) fn reference(&self, project: &str) -> String {
        format!("{project}:{}-{}", self.image, short(&self.digest))
    }

    /// The digests of its manifest and configuration, as far as they are known.
    pub(super) fn digests(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.digest.as_str()).chain(self.other.as_deref())
    }

    /// Returns whether an image in an engine is this one.
    pub(super) fn is(&self, known: &EngineImage) -> bool {
        let (_, by_digest) = known.reference.split_once('@').unwrap_or_default();
        self.digests().any(|digest| digest == known.id || digest == by_digest)
    }
}

/// An image in the robot's engine, which has one of the ids there.
#[derive(Clone, Debug)]
struct Loaded<'a> {
    item: &'a ArchiveImage,
    ids: [String; 2],
}

/// Brings the images that the robot's engine lacks to the robot.
///
/// # Errors
/// After an error, images and containers that the robot had are unchanged. The next delivery sends the whole
/// archive again.
pub(crate) fn deliver(
    route: &ArchiveRoute<'_>,
    source: &dyn ArchiveSource,
    items: &[ArchiveImage],
) -> Result<Delivery> {
    let mut delivery = Delivery::default();
    let (present, lacking): (Vec<&ArchiveImage>, Vec<&ArchiveImage>) =
        items.iter().partition(|item| known_as(route.survey, item).is_some());
    delivery.images_there = present.len();
    let to_send: Vec<&ArchiveImage> =
        if !lacking.is_empty() && source.is_fixed() { items.iter().collect() } else { lacking };
    let skipped = if to_send.is_empty() { BTreeSet::new() } else { present_layers(route, source, &to_send)? };
    match load(route, source, items, &to_send, &skipped, &mut delivery.cost) {
        Err(error) if !skipped.is_empty() && is_incomplete(&error) => {
            process::check_interrupted()?;
            // Layers that the robot once pulled compressed are other blobs in its engine.
            ui::warn(
                route.session.robot(),
                "its engine has the layers in another compression: sending whole images",
            );
            load(route, source, items, &to_send, &BTreeSet::new(), &mut delivery.cost)?;
        }
        result => result?,
    }
    let delivered = |item: &ArchiveImage| {
        let (image, reference) = (item.image.clone(), item.reference(route.project));
        name_on_robot(route.survey, route.project, item).unwrap_or(Delivered { image, reference })
    };
    delivery.images = items.iter().map(delivered).collect();
    Ok(delivery)
}

/// Sends an archive of the images `to_send`, unless there are none, and names all images.
fn load(
    route: &ArchiveRoute<'_>,
    source: &dyn ArchiveSource,
    items: &[ArchiveImage],
    to_send: &[&ArchiveImage],
    skipped: &BTreeSet<String>,
    cost: &mut Cost,
) -> Result<()> {
    let contents = if to_send.is_empty() {
        None
    } else {
        source.check(route.session.robot(), skipped)?;
        Some(send(route, source, to_send, skipped, cost)?)
    };
    let images = items.iter().map(|item| {
        let ids = match (known_as(route.survey, item), &contents) {
            (Some(id), _) => [id.clone(), id],
            (None, Some(contents)) => contents.ids(&item.digest)?,
            (None, _) => [item.digest.clone(), item.digest.clone()],
        };
        Ok(Loaded { item, ids })
    });
    let images = images.collect::<Result<Vec<_>>>()?;
    if images.iter().all(|image| is_named(route, image)) { Ok(()) } else { name(route, &images) }
}

/// Returns the id of an image in the robot's engine, if the engine has it.
fn known_as(survey: &Survey, item: &ArchiveImage) -> Option<String> {
    Some(survey.images.iter().find(|known| item.is(known))?.id.clone())
}

/// Returns whether the robot's engine had an image under both of its names.
fn is_named(route: &ArchiveRoute<'_>, image: &Loaded<'_>) -> bool {
    let tag = format!("{}:{}", route.project, image.item.image);
    let has = |name: &str| {
        route.survey.images.iter().any(|known| known.is_called(name) && image.ids.contains(&known.id))
    };
    has(&image.item.reference(route.project)) && has(&tag)
}

/// Sends an archive of these images, without the layers `skipped`.
fn send(
    route: &ArchiveRoute<'_>,
    source: &dyn ArchiveSource,
    items: &[&ArchiveImage],
    skipped: &BTreeSet<String>,
    cost: &mut Cost,
) -> Result<ArchiveContents> {
    let load = route.session.command(["docker", "load"]);
    let robot = route.session.robot();
    let mut span = timeline::span(Lane::robot(robot), Phase::Transfer, "archive");
    route.progress.doing(&format!("sending {} as an archive", ui::count(items.len(), "image")), None);
    process::outcome_needed()?;
    let mut sent = 0;
    let mut pass = |archive: &mut dyn std::io::Read, sink| {
        let counted = Observed::new(sink, |bytes| {
            sent += bytes.len() as u64;
            route.progress.advance(bytes.len() as u64);
        });
        contents::pack(archive, counted, skipped)
    };
    let contents = source
        .send(items, route.session, &load, &mut pass)
        .with_context(|| format!("load images on `{robot}`"))?;
    span.sent(sent);
    for (config, manifest) in contents.pairs() {
        route.digest_cache.record_saved(config, manifest);
    }
    cost.sent += sent;
    cost.layers_sent = contents.layers(false).len();
    cost.layers_reused = contents.layers(true).len();
    let bytes = |packed: Vec<&PackedLayer>| packed.iter().map(|blob| blob.size).sum::<u64>();
    cost.bytes_reused = bytes(contents.layers(true));
    cost.layer_bytes = bytes(contents.layers(false)) + cost.bytes_reused;
    route.progress.done(&format!("loaded {}: {} sent", ui::count(items.len(), "image"), ui::bytes(sent)));
    Ok(contents)
}

/// Returns whether an error means that the robot's engine lacks a layer: by the messages of both image
/// stores, or because the loaded image is not listed.
fn is_incomplete(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["not found", "no such file or directory", "has nothing as"].iter().any(|part| text.contains(part))
}

/// Returns the layers of these images that the robot's engine can add by itself: those below the first one
/// that differs, because a classic store identifies a layer by all layers below it.
fn present_layers(
    route: &ArchiveRoute<'_>,
    source: &dyn ArchiveSource,
    items: &[&ArchiveImage],
) -> Result<BTreeSet<String>> {
    let there: BTreeSet<&str> = route.survey.images.iter().map(|image| image.id.as_str()).collect();
    if there.is_empty() {
        return Ok(BTreeSet::new());
    }
    let question = std::iter::once("docker".to_owned()).chain(source::question(there));
    // Fails if an image has been removed meanwhile: then all layers are sent.
    let there = route.session.command(question).read().unwrap_or_default();
    Ok(common(&source.layers(items)?, &source::chains(&there)))
}

/// Gives loaded images their names, and verifies that they are the images that were built.
fn name(route: &ArchiveRoute<'_>, images: &[Loaded<'_>]) -> Result<()> {
    let mut args = Vec::new();
    for Loaded { item, ids } in images {
        args.extend([item.reference(route.project), format!("{}:{}", route.project, item.image)]);
        args.extend(ids.clone());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = route.session.script(Script::Load, &args).run_for_output()?;
    for Loaded { item, ids } in images {
        let reference = item.reference(route.project);
        let loaded = output.lines().find_map(|line| line.strip_prefix(&reference)?.strip_prefix(' '));
        if !loaded.is_some_and(|id| ids.iter().any(|expected| expected == id)) {
            return Err(Failure::failed(format!(
                "`{}` has {} as `{}` instead of {}, which was sent",
                route.session.robot(),
                loaded.unwrap_or("nothing"),
                item.image,
                ids[0]
            ))
            .hint("deploy again")
            .into());
        }
    }
    Ok(())
}
