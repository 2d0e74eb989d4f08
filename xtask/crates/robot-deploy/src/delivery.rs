//! Fourth stage: brings built images onto a robot, and reports the bytes sent.

pub(crate) mod archive;
mod delta;
mod digest_cache;
pub(crate) mod hub;
pub(crate) mod plan;
mod pull;
mod registry;
mod retry;
mod stats;

use std::collections::BTreeMap;

use crate::config::Workspace;
use crate::digest::Digest;
use crate::image::{Builder, Built};
use crate::robot::registry::reference;
use crate::robot::{Session, Survey};
use crate::ui::Progress;

use archive::ArchiveImage;
pub(crate) use delta::{DeltaCache, EarlyAgent, is_full, prune};
pub(crate) use digest_cache::DigestCache;
pub(crate) use registry::{deliver, pull_lacking};

/// The way of images to robots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Via {
    /// Through a tunnel into the registry on the robot: only changed parts of layers are sent
    #[default]
    Registry,
    /// As an archive that the robot's engine loads: the robot needs nothing but Docker
    Archive,
    /// From the registry of [hub] in robots.toml, after `publish`: the robot pulls the images itself
    Hub,
}

/// An image on the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// The image's name in `robots.toml`.
    pub image: String,
    /// The image's name in the robot's engine, for the Compose project.
    pub reference: String,
}

impl Delivered {
    /// Returns whether it is called by its digest in a repository.
    fn is_in(&self, repository: &str) -> bool {
        self.reference.split_once('@').is_some_and(|(name, _)| name == repository)
    }
}

/// Bytes and layers that a delivery sent, and those that the robot had before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Bytes sent to the robot.
    pub sent: u64,
    /// True if `ssh` compressed some of these bytes, so that fewer crossed the link.
    pub compressed: bool,
    pub layers_sent: usize,
    /// Layers that the robot's registry had.
    pub layers_reused: usize,
    pub bytes_reused: u64,
    /// Bytes of all layers of the images that were sent.
    pub layer_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The images, all of them on the robot.
    pub images: Vec<Delivered>,
    /// Number of images that the robot's engine had before.
    pub images_there: usize,
    pub cost: Cost,
}

impl Delivery {
    /// The name of each image in the robot's engine.
    pub(crate) fn references(&self) -> BTreeMap<String, String> {
        references(&self.images)
    }
}

/// The name of each image in a robot's engine.
pub(crate) fn references(images: &[Delivered]) -> BTreeMap<String, String> {
    images.iter().map(|image| (image.image.clone(), image.reference.clone())).collect()
}

impl Via {
    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Archive => "archive",
            Self::Hub => "hub",
        }
    }
}

/// Source and destination of images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'a> {
    pub workspace: &'a Workspace,
    /// The builder that has the images and can push them.
    pub builder: Builder,
    pub session: &'a Session,
    /// State of the robot before the delivery.
    pub survey: &'a Survey,
    /// The image of the registry for the robot's platform, in this machine's image store.
    pub registry_image: &'a str,
    pub digest_cache: &'a DigestCache,
    pub cache: &'a DeltaCache,
    /// Taken by the first connection to an agent.
    pub early: &'a EarlyAgent,
    /// The robot's line on the terminal.
    pub progress: &'a Progress,
}

/// Returns the images under their names on the robot; none unless the robot has all of them.
pub(crate) fn already_there(
    workspace: &Workspace,
    survey: &Survey,
    digest_cache: &DigestCache,
    built: &[Built],
) -> Option<Vec<Delivered>> {
    built.iter().map(|built| on_robot(workspace, survey, digest_cache, built)).collect()
}

/// Returns an image under its name on the robot, if the robot has it, whichever way it came.
pub(crate) fn on_robot(
    workspace: &Workspace,
    survey: &Survey,
    digest_cache: &DigestCache,
    built: &Built,
) -> Option<Delivered> {
    name_on_robot(survey, &workspace.project.name, &ArchiveImage::of(built, digest_cache))
}

/// The name by which a container of the robot runs an image, or else another one that stays: a release that called
/// the same image by another name would restart its services.
fn name_on_robot(survey: &Survey, project: &str, item: &ArchiveImage) -> Option<Delivered> {
    let running = survey.containers.iter().map(|container| container.reference.clone());
    let pushed = item.digests().map(|digest| reference(survey.registry_port, project, digest));
    let lasting: Vec<String> = pushed.chain([item.reference(project)]).collect();
    let has_digest = |name: &str| name.rsplit_once('@').is_some_and(|(_, end)| end.parse::<Digest>().is_ok());
    let is_lasting = |name: &String| has_digest(name) || lasting.contains(name);
    let mut names = running.filter(is_lasting).chain(lasting.iter().cloned());
    let reference = names.find(|name| survey.known().any(|known| known.is_called(name) && item.is(known)))?;
    Some(Delivered { image: item.image.clone(), reference })
}
