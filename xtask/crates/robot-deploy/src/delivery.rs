//! Fourth stage: brings built images onto a robot, and knows what that cost.

pub mod archive;
mod delta;
mod digest_cache;
mod early_pull;
pub mod hub;
pub mod plan;
mod pull;
mod registry;
mod stats;

use std::collections::BTreeMap;

use crate::config::Workspace;
use crate::image::{Builder, Built, ImageId};
use crate::robot::{Session, Survey};
use crate::ui::Progress;

pub use delta::{DeltaCache, is_full, prune};
pub use digest_cache::DigestCache;
pub use registry::{deliver, pull_lacking};

/// Transport images come to robots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// Through a tunnel into the registry on the robot: only what changed in layers travels
    #[default]
    Registry,
    /// As an archive that the robot's engine loads: nothing but Docker is needed there
    Archive,
    /// From the registry of [hub] in robots.toml, where it has been published: the robot pulls it itself
    Hub,
}

/// An image that is on the robot, under a name that says what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The image's name in `robots.toml`.
    pub image: String,
    /// Transport the robot's engine calls it: what Compose is told there.
    pub reference: String,
}

/// What a delivery sent, and what was there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes that went to the robot, measured in the tunnel.
    pub sent: u64,
    /// Whether `ssh` compressed some of them on the way: fewer went then.
    pub compressed: bool,
    /// Layers that travelled.
    pub layers_sent: usize,
    /// Layers that the robot's registry had.
    pub layers_reused: usize,
    /// Bytes of those layers.
    pub bytes_reused: u64,
    /// Bytes of all layers of the images that were looked at.
    pub layer_bytes: u64,
}

/// What came of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The images, all of them on the robot.
    pub images: Vec<Delivered>,
    /// Transport many of them the robot's engine had before.
    pub images_there: usize,
    /// What it cost.
    pub cost: Cost,
}

impl Delivery {
    /// Transport the robot's engine calls each image.
    pub fn references(&self) -> BTreeMap<String, String> {
        references(&self.images)
    }
}

/// Transport a robot's engine calls each image.
pub fn references(images: &[Delivered]) -> BTreeMap<String, String> {
    images.iter().map(|image| (image.image.clone(), image.reference.clone())).collect()
}

impl Via {
    /// Its word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Archive => "archive",
            Self::Hub => "hub",
        }
    }
}

/// Where images come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// What built the images, and so can push them.
    pub builder: Builder,
    /// The robot.
    pub session: &'a Session,
    /// What was on the robot before.
    pub survey: &'a Survey,
    /// The image of the registry for the robot's platform, in this machine's image store.
    pub registry_image: &'a str,
    /// What earlier deliveries found out.
    pub digest_cache: &'a DigestCache,
    /// Layers on this machine, and what is made of them for robots.
    pub cache: &'a DeltaCache,
    /// The robot's line on the terminal.
    pub progress: &'a Progress,
}

/// The names under which a robot that has these images already knows them; none where one is missing.
pub fn already_there(
    workspace: &Workspace,
    survey: &Survey,
    digest_cache: &DigestCache,
    built: &[Built],
) -> Option<Vec<Delivered>> {
    built.iter().map(|built| known_as(workspace, survey, digest_cache, built)).collect()
}

/// The name under which the robot of a route knows an image, if it has it.
fn is_there(route: &Route<'_>, built: &Built) -> Option<Delivered> {
    known_as(route.workspace, route.survey, route.digest_cache, built)
}

fn known_as(
    workspace: &Workspace,
    survey: &Survey,
    digest_cache: &DigestCache,
    built: &Built,
) -> Option<Delivered> {
    let digest = match &built.id {
        ImageId::Manifest(digest) => digest.clone(),
        ImageId::Config(config) => digest_cache.pushed_as(config)?,
    };
    let reference = crate::release::compose::reference(&workspace.project.name, &digest);
    survey.has_image(&reference).then(|| Delivered { image: built.wanted.image.clone(), reference })
}
