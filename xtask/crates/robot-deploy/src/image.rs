//! Second stage of a deploy: BuildKit builds all images in one call.
//!
//! Each package is one build stage and one layer: the Dockerfile is the hand-written one, followed by stages
//! that are generated from the package graph. An edit therefore rebuilds one package and its dependents, and
//! only their layers are sent again.

mod activity;
mod bake;
pub mod base;
mod build;
pub mod builder;
mod dependencies;
mod dockerfile;
pub mod export;
mod facts;
mod failures;
pub mod layout;
mod needed;
pub mod oci;
mod others;
mod own;
pub mod pins;
mod progress;
mod provenance;
pub mod push;
mod receiver;
pub mod secrets;
pub mod service;
mod siblings;
mod unchanged;

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::Utf8PathBuf;
use parking_lot::Mutex;
use serde_json::Value;

use crate::cmd;
use crate::config::{Platform, Workspace};
use crate::digest::Digest;
use crate::error::{FollowedBy as _, Result};
use crate::number;
use crate::process::Cmd;

use own::OwnRepository;

pub use build::{Options, build, dependencies, test, tools, tools_reference};
pub use builder::Builder;
pub use dependencies::Dependency;
pub use dockerfile::render as render_dockerfile;
pub(crate) use others::places;
pub(crate) use siblings::with_those_below;

/// Source of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Packages: an `[images.NAME]` of `robots.toml`.
    Packages,
    /// An image that others have made, by its name in a registry or in this machine's store.
    Foreign { reference: String },
    /// A Dockerfile: `build` of a service or an image of `robots.toml`, in Compose's JSON, with paths that begin with `./` in the repository.
    Dockerfile { build: String },
}

/// Image to build for one platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageSpec {
    /// Its tag in the project's repository.
    pub image: String,
    pub platform: Platform,
    pub origin: Origin,
}

impl ImageSpec {
    /// An image of `robots.toml`.
    pub fn of_packages(image: impl Into<String>, platform: Platform) -> Self {
        Self { image: image.into(), platform, origin: Origin::Packages }
    }

    /// Returns whether people mean this image by a name: that of a service is enough for one of a Dockerfile.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        let of_service = |service: &str| matches!(self.origin, Origin::Dockerfile { .. }) && service == name;
        self.image == name || self.image.rsplit_once('-').is_some_and(|(service, _hash)| of_service(service))
    }

    /// Name of its Bake target, which must not contain dots.
    fn target(&self) -> String {
        let name = self.image.replace('.', "_");
        if self.platform == Platform::of_this_machine() {
            name
        } else {
            format!("{name}-{}", self.platform.slug())
        }
    }

    /// Name in this machine's image store: `eurobot:navigation`, or `eurobot:navigation-linux-arm64` for
    /// another platform than this machine's.
    pub fn reference(&self, workspace: &Workspace) -> String {
        let project = &workspace.project.name;
        if self.platform == Platform::of_this_machine() {
            format!("{project}:{}", self.image)
        } else {
            format!("{project}:{}-{}", self.image, self.platform.slug())
        }
    }
}

/// Built image in this machine's image store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    pub spec: ImageSpec,
    /// Name in this machine's image store, for people: other runs may move it.
    pub reference: String,
    /// Repository in which other runs do not move it.
    own: Arc<OwnRepository>,
    /// ID in this machine's image store.
    pub id: ImageId,
    /// Definition of the build, for output in other formats.
    bake_target: BakeTarget,
}

/// Bake target of one image, and the directory for Bake files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BakeTarget {
    dir: Utf8PathBuf,
    definition: Value,
}

impl Built {
    /// Name in this machine's image store, which stays for as long as the value exists.
    pub fn own_name(&self) -> String {
        self.own.of(&self.reference)
    }

    /// Repository part of its name, which is the project's name.
    pub fn repository(&self) -> &str {
        self.reference.split(':').next().unwrap_or_default()
    }

    /// Command that lets the `docker-container` builder push the image, for engines that cannot push into a
    /// tunnel.
    pub fn push_from_builder(&self, name: &str) -> Result<Cmd> {
        // buildx ignores the name of an output and uses the target's tags: without new tags it would push to
        // Docker Hub.
        self.rebuild(Builder::Container, &[&format!("tags={name}"), "output=type=image,push=true"])
    }

    /// Exports the image compressed as `name`: the engine's builder into the image store, from which it can
    /// be pushed, the `docker-container` builder directly into the registry.
    ///
    /// Returns the digest of the manifest if BuildKit reports it.
    pub fn publish(&self, builder: Builder, name: &str) -> Result<Option<String>> {
        let output = format!("output={}", builder.published_output());
        let command = self.rebuild(builder, &[&format!("tags={name}"), &output])?;
        let mut outcome = bake::outcome(&command, &self.bake_target.dir.join("publish.metadata"), Cmd::run)?;
        Ok(outcome.remove(&self.spec.target()).and_then(|metadata| metadata.digest))
    }

    /// Command that builds the image again from BuildKit's cache, with other settings.
    fn rebuild(&self, builder: Builder, settings: &[&str]) -> Result<Cmd> {
        let target = self.spec.target();
        let file = bake::write_bake_file(
            &self.bake_target.dir,
            &[(target.clone(), self.bake_target.definition.clone())].into_iter().collect(),
        )?;
        let settings =
            settings.iter().flat_map(|setting| ["--set".to_owned(), format!("{target}.{setting}")]);
        Ok(bake::call(builder)
            .args(["--file", file.as_str(), "--progress=plain"])
            .args(settings)
            .arg(&target))
    }
}

/// ID of an image, which depends on the type of the image store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageId {
    /// Digest of its manifest: the same in every store and registry.
    Manifest(String),
    /// Digest of its configuration: the classic store creates the manifest only on push.
    Config(String),
}

impl ImageId {
    /// Digest of either kind.
    pub fn digest(&self) -> &str {
        match self {
            Self::Manifest(digest) | Self::Config(digest) => digest,
        }
    }
}

pub fn all_for(workspace: &Workspace, platform: &Platform) -> BTreeSet<ImageSpec> {
    let of_packages = workspace.images.keys().map(|image| ImageSpec::of_packages(image, platform.clone()));
    let of_dockerfiles = workspace.dockerfiles.iter().map(|(image, build)| ImageSpec {
        image: image.clone(),
        platform: platform.clone(),
        origin: Origin::Dockerfile { build: build.to_string() },
    });
    of_packages.chain(of_dockerfiles).collect()
}

/// First 12 hexadecimal digits of a digest.
pub fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// Hash of the inputs of a cached image, for its tag.
fn content_tag<'a>(inputs: impl IntoIterator<Item = &'a str>) -> String {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    for input in inputs {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update(input.len().to_le_bytes());
        hash.update(input.as_bytes());
    }
    format!("{:x}", hash.finalize())[..12].to_owned()
}

/// Cached images that this run has found or built. Locked while an image is looked up and built: threads of
/// two robots may need it at the same time.
static ENSURED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Builds a cached image unless `tag` exists.
fn ensure_cached(tag: &str, build: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut ensured = ENSURED.lock();
    if !ensured.contains(tag) && !exists(tag)? {
        build()?;
    }
    ensured.insert(tag.to_owned());
    Ok(())
}

/// IDs of the project's tagged images in this machine's engine: digests of manifests, or of configurations
/// in the classic store.
pub fn named(workspace: &Workspace) -> Result<BTreeSet<Digest>> {
    let [project, own] = ["", "/*"].map(|rest| format!("reference={}{rest}", workspace.project.name));
    let list =
        cmd!("docker image ls --no-trunc --format '{{.ID}}' --filter {project} --filter {own}")?.read()?;
    Ok(list.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Removes the workspace's untagged images, which later builds have replaced, from this machine's engine.
/// Returns the freed bytes.
pub fn prune(workspace: &Workspace) -> Result<u64> {
    let label = format!("label={}={}", provenance::PROJECT, workspace.project.name);
    remove_export_tags(workspace)?;
    let output = cmd!("docker image prune --force --filter {label}")?.run_for_output();
    let output = output.followed_by("removing layers and deltas that no image needs")?;
    let space = output.lines().find_map(|line| line.strip_prefix("Total reclaimed space: "));
    Ok(space.and_then(number::docker_bytes).unwrap_or_default())
}

/// Removes temporary tags that killed runs have left from exporting layers: each run has its own.
fn remove_export_tags(workspace: &Workspace) -> Result<()> {
    let filter = format!("reference=127.0.0.1:*/*/layers/{}", workspace.project.name);
    let format = "{{.Repository}}:{{.Tag}}";
    let names = cmd!("docker image ls --filter {filter} --format {format}")?.read()?;
    names.lines().try_for_each(|name| cmd!("docker image rm {name}")?.run())
}

/// Returns whether this machine's engine has an image.
pub fn exists(reference: &str) -> Result<bool> {
    cmd!("docker image inspect --format '{{.Id}}' {reference}")?.succeeds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_builder_pushes_only_under_the_tunnels_name() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let dir = Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap();
        let spec = ImageSpec::of_packages("navigation", Platform::of_this_machine());
        let built = Built {
            spec,
            reference: "eurobot:navigation".into(),
            own: OwnRepository::testing(),
            id: ImageId::Config("sha256:c".into()),
            bake_target: BakeTarget {
                dir: dir.clone(),
                definition: serde_json::json!({ "tags": ["eurobot:navigation"] }),
            },
        };
        let push = built.push_from_builder("host.docker.internal:5000/eurobot:navigation")?;
        let file = push.argv()[7].to_owned();
        assert!(fs_err::read_to_string(&file)?.contains("\"navigation\""));
        assert_eq!(
            push.argv(),
            [
                "docker",
                "buildx",
                "bake",
                "--builder=xtask",
                "--provenance=false",
                "--sbom=false",
                "--file",
                file.as_str(),
                "--progress=plain",
                "--set",
                "navigation.tags=host.docker.internal:5000/eurobot:navigation",
                "--set",
                "navigation.output=type=image,push=true",
                "navigation"
            ]
        );
        Ok(())
    }
}
