//! Images as an archive: `docker save` here, `docker load` there, and nothing but Docker on the robot.
//!
//! Images that the robot has do not travel, nor do layers that it has below them: both image stores complete
//! what is loaded by what they have. The archive is compressed on all cores on its way; engines from 23 on
//! read that. Images get their names when they are complete and known to be those that were built.

mod contents;
mod pipe;
mod source;

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use contents::{ArchiveContents, PackedLayer, common, pack};
pub use pipe::{Observed, read_from, write_to};
pub use source::{ArchiveSource, Engine, Pass};

use super::{Cost, Delivered, Delivery, DigestCache};
use crate::error::{Failure, Result};
use crate::image::{Built, short};
use crate::process;
use crate::robot::{Session, Survey, survey};
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// Where images come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveRoute<'a> {
    /// The project: the repository of its images.
    pub project: &'a str,
    /// The robot.
    pub session: &'a Session,
    /// What was on the robot before.
    pub survey: &'a Survey,
    /// Which manifest belongs to which configuration.
    pub digest_cache: &'a DigestCache,
    /// The robot's line on the terminal.
    pub progress: &'a Progress,
}

/// An image, and the digests by which engines may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveImage {
    /// Its name in `robots.toml`.
    pub image: String,
    /// Of its manifest or of its configuration, whichever the engine that built it goes by.
    pub digest: String,
    /// The other of the two, where it is known.
    pub other: Option<String>,
}

impl ArchiveImage {
    /// An image that has been built on this machine.
    pub fn of(built: &Built, digest_cache: &DigestCache) -> Self {
        let digest = built.id.digest();
        // A robot may have got it by a push.
        let other = digest_cache.saved_with(digest).or_else(|| digest_cache.pushed_as(digest));
        Self { image: built.wanted.image.clone(), digest: digest.to_owned(), other }
    }

    /// How a robot's engine calls it. It has no digest in a classic store: the name is a tag that follows from
    /// the content.
    pub fn reference(&self, project: &str) -> String {
        format!("{project}:{}-{}", self.image, short(&self.digest))
    }

    fn is(&self, id: &str) -> bool {
        self.digest == id || self.other.as_deref() == Some(id)
    }
}

/// An image on its way to its names: what the robot's engine may know it by.
#[derive(Clone, Debug)]
struct Known<'a> {
    item: &'a ArchiveImage,
    ids: [String; 2],
}

/// Brings images to the robot; those that its engine has already cost nothing.
///
/// # Errors
/// Fails when the connection drops or Docker fails on either side, or the robot lacks what the source leaves
/// out; what the robot had and ran is untouched then. An archive starts anew the next time.
pub fn deliver(
    route: &ArchiveRoute<'_>,
    source: &dyn ArchiveSource,
    items: &[ArchiveImage],
) -> Result<Delivery> {
    let mut delivery = Delivery::default();
    let (there, lacking): (Vec<&ArchiveImage>, Vec<&ArchiveImage>) =
        items.iter().partition(|item| known_as(route.survey, item).is_some());
    delivery.images_there = there.len();
    let archived = if source.is_fixed() { items.iter().collect() } else { lacking.clone() };
    let skipped = if lacking.is_empty() { BTreeSet::new() } else { layers_there(route, source, &archived)? };
    let bring = |skipped: &BTreeSet<String>, cost: &mut Cost| {
        let contents = if lacking.is_empty() {
            None
        } else {
            source.check(route.session.robot(), skipped)?;
            Some(send(route, source, &archived, skipped, cost)?)
        };
        let known = items.iter().map(|item| {
            let ids = match (known_as(route.survey, item), &contents) {
                (Some(id), _) => [id.clone(), id],
                (None, Some(contents)) if !process::mode().dry_run => contents.ids(&item.digest)?,
                (None, _) => [item.digest.clone(), item.digest.clone()],
            };
            Ok(Known { item, ids })
        });
        let known = known.collect::<Result<Vec<_>>>()?;
        if known.iter().all(|known| is_named(route, known)) { Ok(()) } else { name(route, &known) }
    };
    match bring(&skipped, &mut delivery.cost) {
        Err(error) if !skipped.is_empty() && is_incomplete(&error) => {
            process::check_interrupted()?;
            // What a robot once pulled compressed, it has as other blobs.
            ui::warn(route.session.robot(), "it has these layers in another form: sending the images whole");
            bring(&BTreeSet::new(), &mut delivery.cost)?;
        }
        result => result?,
    }
    let delivered = |item: &ArchiveImage| Delivered {
        image: item.image.clone(),
        reference: item.reference(route.project),
    };
    delivery.images = items.iter().map(delivered).collect();
    Ok(delivery)
}

/// What the robot's engine knows an image by that it has, whichever way it came.
fn known_as(survey: &Survey, item: &ArchiveImage) -> Option<String> {
    let is_it = |image: &&survey::EngineImage| {
        let (_, by_digest) = image.reference.split_once('@').unwrap_or_default();
        item.is(&image.id) || item.is(by_digest)
    };
    Some(survey.images.iter().find(is_it)?.id.clone())
}

fn is_named(route: &ArchiveRoute<'_>, known: &Known<'_>) -> bool {
    let tag = format!("{}:{}", route.project, known.item.image);
    let has = |name: &str| {
        let is = |image: &survey::EngineImage| image.is_called(name) && known.ids.contains(&image.id);
        route.survey.images.iter().any(is)
    };
    has(&known.item.reference(route.project)) && has(&tag)
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
    route.progress.doing(&format!("sending {} images as an archive", items.len()), None);
    if process::mode().dry_run {
        load.feed(&source.command(items))?;
        return Ok(ArchiveContents::default());
    }
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
    route.progress.done(&format!("loaded {} images: {} sent", items.len(), ui::bytes(sent)));
    Ok(contents)
}

/// Whether the robot's engine misses a layer, as either store says it, or the image is not listed because of that.
fn is_incomplete(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["not found", "no such file or directory", "has nothing as"].iter().any(|words| text.contains(words))
}

/// The layers of these images that the robot can complete by itself: those below the first one that differs,
/// so that a classic store, which knows layers by all that is below them, can as well.
fn layers_there(
    route: &ArchiveRoute<'_>,
    source: &dyn ArchiveSource,
    items: &[&ArchiveImage],
) -> Result<BTreeSet<String>> {
    let there: BTreeSet<&str> = route.survey.images.iter().map(|image| image.id.as_str()).collect();
    if there.is_empty() {
        return Ok(BTreeSet::new());
    }
    let question = std::iter::once("docker".to_owned()).chain(source::question(there));
    // An image may have been removed meanwhile: nothing is taken for granted then.
    let there = route.session.command(question).read().unwrap_or_default();
    Ok(common(&source.layers(items)?, &source::chains(&there)))
}

/// Gives loaded images their names, and makes sure that they are what was built.
fn name(route: &ArchiveRoute<'_>, images: &[Known<'_>]) -> Result<()> {
    let mut args = Vec::new();
    for Known { item, ids } in images {
        args.extend([item.reference(route.project), format!("{}:{}", route.project, item.image)]);
        args.extend(ids.clone());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = route.session.script(include_str!("scripts/load.sh"), &args).run_for_output()?;
    if process::mode().dry_run {
        return Ok(());
    }
    for Known { item, ids } in images {
        let reference = item.reference(route.project);
        let kept = output.lines().find_map(|line| line.strip_prefix(&reference)?.strip_prefix(' '));
        if !kept.is_some_and(|id| ids.iter().any(|expected| expected == id)) {
            return Err(Failure::failed(format!(
                "`{}` has {} as `{}`, sent was {}",
                route.session.robot(),
                kept.unwrap_or("nothing"),
                item.image,
                ids[0]
            ))
            .hint("deploy again")
            .into());
        }
    }
    Ok(())
}
