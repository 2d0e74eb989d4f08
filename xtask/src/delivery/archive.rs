//! Images as an archive: `docker save` here, `docker load` there, and nothing but Docker on the robot.
//!
//! Images that the robot has do not travel, nor do layers that it has below them: both image stores complete
//! what is loaded by what they have. The archive is compressed on all cores on its way; engines from 23 on
//! read that. Images get their names when they are complete and known to be those that were built.

mod contents;
mod exchange;

use std::collections::BTreeSet;

use anyhow::Context as _;

pub use contents::{Contents, Packed};

use super::{Cost, Delivered, Delivery, Memory};
use crate::error::{Failure, Result};
use crate::image::{Built, short};
use crate::process::{self, Cmd};
use crate::robot::{Session, Survey};
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// Where images come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The project: the repository of its images.
    pub project: &'a str,
    /// The robot.
    pub session: &'a Session,
    /// What was on the robot before.
    pub survey: &'a Survey,
    /// Which manifest belongs to which configuration.
    pub memory: &'a Memory,
    /// The robot's line on the terminal.
    pub progress: &'a Progress,
}

/// An image and the two digests by which engines know it.
#[derive(Clone, Debug)]
struct Known {
    image: String,
    /// `eurobot:navigation-0123456789ab`: says what it is, and keeps it from being pruned.
    reference: String,
    ids: [String; 2],
}

/// How a robot's engine calls an image that came as an archive. It has no digest in a classic store: the name
/// is a tag that follows from the content.
pub fn reference(project: &str, image: &str, digest: &str) -> String {
    format!("{project}:{image}-{}", short(digest))
}

/// Brings images to the robot; those that its engine has already cost nothing.
///
/// # Errors
/// Fails when the connection drops or Docker fails on either side; what the robot had and ran is untouched
/// then. An archive starts anew the next time.
pub fn deliver(route: &Route<'_>, built: &[Built]) -> Result<Delivery> {
    let mut delivery = Delivery::default();
    let mut known: Vec<Known> = Vec::new();
    let mut lacking: Vec<&Built> = Vec::new();
    for built in built {
        match there(route, built) {
            Some(ids) => known.push(Known::new(route.project, built, ids)),
            None => lacking.push(built),
        }
    }
    delivery.images_there = known.len();
    let there = known.len();
    let skipped = layers_there(route, &lacking)?;
    let mut bring = |skipped: &BTreeSet<String>| {
        known.truncate(there);
        if !lacking.is_empty() {
            let contents = send(route, &lacking, skipped, &mut delivery.cost)?;
            for built in &lacking {
                known.push(Known::new(route.project, built, contents.ids(built)?));
            }
        }
        if known.iter().all(|known| is_named(route, known)) { Ok(()) } else { name(route, &known) }
    };
    match bring(&skipped) {
        Err(error) if !skipped.is_empty() && is_incomplete(&error) => {
            process::check_interrupted()?;
            // What a robot once pulled compressed, it has as other blobs.
            ui::warn(route.session.robot(), "it has these layers in another form: sending the images whole");
            bring(&BTreeSet::new())?;
        }
        result => result?,
    }
    let delivered = |known: Known| Delivered { image: known.image, reference: known.reference };
    delivery.images = known.into_iter().map(delivered).collect();
    Ok(delivery)
}

impl Known {
    fn new(project: &str, built: &Built, ids: [String; 2]) -> Self {
        let image = built.wanted.image.clone();
        Self { reference: reference(project, &image, built.id.digest()), image, ids }
    }
}

/// What the robot's engine knows an image by that it has, whichever way it came.
fn there(route: &Route<'_>, built: &Built) -> Option<[String; 2]> {
    let digest = built.id.digest();
    let other = route.memory.config_of(digest).or_else(|| route.memory.manifest_of(digest));
    let is_it = |image: &&crate::robot::survey::Image| {
        let (_, by_digest) = image.reference.split_once('@').unwrap_or_default();
        [Some(digest), other.as_deref()].into_iter().flatten().any(|one| image.id == one || by_digest == one)
    };
    let id = route.survey.images.iter().find(is_it)?.id.clone();
    Some([id.clone(), id])
}

fn is_named(route: &Route<'_>, known: &Known) -> bool {
    let tag = format!("{}:{}", route.project, known.image);
    let has = |name: &str| {
        let is =
            |image: &&crate::robot::survey::Image| image.is_called(name) && known.ids.contains(&image.id);
        route.survey.images.iter().any(|image| is(&image))
    };
    has(&known.reference) && has(&tag)
}

/// Sends what the robot lacks of these images.
fn send(
    route: &Route<'_>,
    lacking: &[&Built],
    skipped: &BTreeSet<String>,
    cost: &mut Cost,
) -> Result<Contents> {
    let ids: BTreeSet<&str> = lacking.iter().map(|built| built.id.digest()).collect();
    let save = Cmd::new("docker").arg("save").args(ids.iter().copied());
    let load = route.session.command(["docker", "load"]);
    let robot = route.session.robot();
    let mut span = timeline::span(Lane::robot(robot), Phase::Transfer, "archive");
    route.progress.doing(&format!("sending {} images as an archive", lacking.len()), None);
    if process::mode().dry_run {
        load.feed(&save)?;
        return Ok(Contents::default());
    }
    let mut sent = 0;
    let contents = exchange::exchange(route.session, &load, &save, |source, sink| {
        let counted = exchange::Counted::new(sink, |count| {
            sent += count;
            route.progress.advance(count);
        });
        contents::pack(source, counted, skipped)
    })
    .with_context(|| format!("load images on `{robot}`"))?;
    span.sent(sent);
    for (config, manifest) in contents.pairs() {
        route.memory.remember(config, manifest);
    }
    cost.sent += sent;
    cost.layers_sent = contents.layers(false).len();
    cost.layers_reused = contents.layers(true).len();
    let bytes = |packed: Vec<&Packed>| packed.iter().map(|blob| blob.size).sum::<u64>();
    cost.bytes_reused = bytes(contents.layers(true));
    cost.layer_bytes = bytes(contents.layers(false)) + cost.bytes_reused;
    route.progress.done(&format!("loaded {} images: {} sent", lacking.len(), ui::bytes(sent)));
    Ok(contents)
}

/// Whether the robot's engine misses a layer, as either store says it, or the image is not listed because of that.
fn is_incomplete(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["not found", "no such file or directory", "has nothing as"].iter().any(|words| text.contains(words))
}

/// The layers that the robot can complete by itself: those below the first one that differs, so that a
/// classic store, which knows layers by all that is below them, can as well.
fn layers_there(route: &Route<'_>, lacking: &[&Built]) -> Result<BTreeSet<String>> {
    let ids: BTreeSet<&str> = lacking.iter().map(|built| built.id.digest()).collect();
    let there: BTreeSet<&str> = route.survey.images.iter().map(|image| image.id.as_str()).collect();
    if ids.is_empty() || there.is_empty() {
        return Ok(BTreeSet::new());
    }
    let ask = |ids: &BTreeSet<&str>| {
        let question = ["image", "inspect", "--format", "{{join .RootFS.Layers \" \"}}"];
        question.into_iter().chain(ids.iter().copied()).map(str::to_owned).collect::<Vec<_>>()
    };
    let here = Cmd::new("docker").args(ask(&ids)).read()?;
    let there = route.session.command(std::iter::once("docker".to_owned()).chain(ask(&there))).read();
    // An image may have been removed meanwhile: nothing is taken for granted then.
    Ok(contents::common(&chains(&here), &chains(&there.unwrap_or_default())))
}

fn chains(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split(' ').collect()).collect()
}

/// Gives loaded images their names, and makes sure that they are what was built.
fn name(route: &Route<'_>, images: &[Known]) -> Result<()> {
    let mut args = vec![route.project.to_owned()];
    for Known { image, reference, ids } in images {
        args.extend([reference.clone(), format!("{}:{image}", route.project)]);
        args.extend(ids.clone());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = route.session.script(include_str!("scripts/load.sh"), &args).run_for_output()?;
    if process::mode().dry_run {
        return Ok(());
    }
    for Known { image, reference, ids } in images {
        let kept = output.lines().find_map(|line| line.strip_prefix(reference)?.strip_prefix(' '));
        if !kept.is_some_and(|id| ids.iter().any(|expected| expected == id)) {
            return Err(Failure::failed(format!(
                "`{}` has {} as `{image}`, sent was {}",
                route.session.robot(),
                kept.unwrap_or("nothing"),
                ids[0]
            ))
            .hint("deploy again")
            .into());
        }
    }
    Ok(())
}
