//! Second stage: BuildKit builds the images, all of them in one call.
//!
//! One package, one stage, one layer: the final Dockerfile is the hand-written one followed by stages
//! generated from the package graph, so that an edit rebuilds one package and its dependents and re-sends
//! their layers only.

mod bake;
pub mod base;
pub mod builder;
mod dockerfile;
pub mod layout;
pub mod oci;
pub mod prefix_image;
mod progress;
mod provenance;
pub mod push;
mod receiver;
pub mod secrets;
pub mod service;
mod unchanged;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use camino::Utf8PathBuf;
use serde_json::Value;

use crate::cmd;
use crate::config::{Platform, Workspace};
use crate::digest::Digest;
use crate::error::Result;
use crate::process::{self, Cmd};

pub use bake::{Options, build, test, tools, tools_reference};
pub use builder::Builder;
pub use dockerfile::render as render_dockerfile;

/// An image of the workspace for one platform: what shall be built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageSpec {
    /// The image's name in `robots.toml`.
    pub image: String,
    /// What it is built for.
    pub platform: Platform,
}

impl ImageSpec {
    /// The name as a Bake target, which may not contain dots.
    fn target(&self) -> String {
        let name = self.image.replace('.', "_");
        if self.platform == Platform::of_this_machine() {
            name
        } else {
            format!("{name}-{}", self.platform.slug())
        }
    }

    /// The name in this machine's image store: `eurobot:navigation`, and for other machines than this one
    /// `eurobot:navigation-linux-arm64`.
    pub fn reference(&self, workspace: &Workspace) -> String {
        let project = &workspace.project.name;
        if self.platform == Platform::of_this_machine() {
            format!("{project}:{}", self.image)
        } else {
            format!("{project}:{}-{}", self.image, self.platform.slug())
        }
    }
}

/// A built image: what is in this machine's image store, and how it is recognised elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// What was asked for.
    pub spec: ImageSpec,
    /// Its name in this machine's image store.
    pub reference: String,
    /// What this machine's image store identifies it by.
    pub id: ImageId,
    /// How it is built, for handing it on in other forms.
    bake_target: BakeTarget,
}

/// The definition of one image's build, and where such are written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BakeTarget {
    dir: Utf8PathBuf,
    definition: Value,
}

impl Built {
    /// The part of its name that all images of the workspace share: the project's name.
    pub fn repository(&self) -> &str {
        self.reference.split(':').next().unwrap_or_default()
    }

    /// Lets the builder push the image, for engines that cannot push into a tunnel themselves.
    ///
    /// # Errors
    /// Fails when the build's definition cannot be written.
    pub fn push_from_builder(&self, name: &str) -> Result<Cmd> {
        // buildx replaces the name of an output by the target's tags: leaving them as they are would push
        // to Docker Hub.
        self.rebuild(Builder::Container, &[&format!("tags={name}"), "output=type=image,push=true"])
    }

    /// Has the builder bring the image, compressed, to where it can be pushed from as `name`: into the image
    /// store, or from a builder of our own into the registry. Gives the digest of its manifest, if BuildKit tells.
    ///
    /// # Errors
    /// Fails when the build's definition cannot be written, or BuildKit fails.
    pub fn publish(&self, builder: Builder, name: &str) -> Result<Option<String>> {
        let output = format!("output={}", builder.published_output());
        let command = self.rebuild(builder, &[&format!("tags={name}"), &output])?;
        let mut outcome = bake::outcome(&command, &self.bake_target.dir.join("publish.metadata"), Cmd::run)?;
        Ok(outcome.remove(&self.spec.target()).and_then(|metadata| metadata.digest))
    }

    /// Builds the image once more, from what BuildKit remembers, with other settings.
    fn rebuild(&self, builder: Builder, settings: &[&str]) -> Result<Cmd> {
        let target = self.spec.target();
        let file = bake::define(
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

/// What identifies an image depends on the image store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageId {
    /// The digest of its manifest: the same wherever the image goes.
    Manifest(String),
    /// The digest of its configuration: the manifest exists only once the image has been pushed.
    Config(String),
}

impl ImageId {
    /// The digest, whatever it is of.
    pub fn digest(&self) -> &str {
        match self {
            Self::Manifest(digest) | Self::Config(digest) => digest,
        }
    }
}

/// All images for one platform.
pub fn all_for(workspace: &Workspace, platform: &Platform) -> BTreeSet<ImageSpec> {
    let spec = |image: &String| ImageSpec { image: image.clone(), platform: platform.clone() };
    workspace.images.keys().map(spec).collect()
}

/// `digest` short enough for a table and long enough to be recognised.
pub fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// A hash over everything that makes a kept image what it is, for its tag.
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

/// Held while something that is kept is looked for and made: two robots may want it at the same time.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes something that is kept under `tag`, unless it is there.
fn ensure_kept(tag: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if exists(tag)? { Ok(()) } else { make() }
}

/// The images of a workspace that this machine's engine has under a name, by the digests of their manifests, or of their
/// configurations in a classic store.
///
/// # Errors
/// Fails when there is no `docker`.
pub fn named(workspace: &Workspace) -> Result<BTreeSet<Digest>> {
    let project = &workspace.project.name;
    let list = cmd!("docker image ls --no-trunc --format '{{.ID}}' {project}")?.read()?;
    Ok(list.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Removes images that builds of a workspace have replaced from this machine's engine; gives Docker's words for the
/// room that made.
///
/// # Errors
/// Fails when there is no `docker`.
pub fn prune(workspace: &Workspace) -> Result<String> {
    let label = format!("label={}={}", provenance::PROJECT, workspace.project.name);
    remove_names_of_exports(workspace)?;
    let said = cmd!("docker image prune --force --filter {label}")?.run_for_output()?;
    let room = said.lines().find_map(|line| line.strip_prefix("Total reclaimed space: "));
    Ok(room.unwrap_or("0B").to_owned())
}

/// Removes names under which layers were exported by a run that was killed: each run has its own.
fn remove_names_of_exports(workspace: &Workspace) -> Result<()> {
    if process::mode().dry_run {
        return Ok(());
    }
    let filter = format!("reference=127.0.0.1:*/*/layers/{}", workspace.project.name);
    let format = "{{.Repository}}:{{.Tag}}";
    let names = cmd!("docker image ls --filter {filter} --format {format}")?.read()?;
    names.lines().try_for_each(|name| cmd!("docker image rm {name}")?.run())
}

/// Whether this machine's engine has an image.
///
/// # Errors
/// Fails when there is no `docker`.
pub fn exists(reference: &str) -> Result<bool> {
    cmd!("docker image inspect --format '{{.Id}}' {reference}")?.succeeds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_builder_pushes_under_the_tunnels_name_and_no_other() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let dir = Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap();
        let spec = ImageSpec { image: "navigation".into(), platform: Platform::of_this_machine() };
        let built = Built {
            spec,
            reference: "eurobot:navigation".into(),
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
