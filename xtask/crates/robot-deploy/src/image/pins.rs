//! Images that others have made, which Compose files name: each is pulled once, pinned by its digest in a lock file that is
//! committed, and kept on this machine. So a deploy needs no registry, and all laptops ship the same.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::base::image;
use super::exists;
use crate::config::{Platform, Workspace};
use crate::digest::Digest;
use crate::error::{Failure, FollowedBy as _, Result};
use crate::{files, process, told, ui};

const HEADER: &str = "# Digests of the images that Compose files name and this repository does not build.\n\
                      # Written by deploys and by `cargo xtask pull`; to be committed.\n\n";

/// The lock file: digest by name, as the Compose files write it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Lock {
    images: BTreeMap<String, Digest>,
}

fn lock_file(workspace: &Workspace) -> Utf8PathBuf {
    workspace.root.join("images.lock")
}

impl Lock {
    fn read(workspace: &Workspace) -> Result<Self> {
        let file = lock_file(workspace);
        if !file.exists() {
            return Ok(Self::default());
        }
        toml::from_str(&fs_err::read_to_string(&file)?).map_err(|error| {
            Failure::config(format!("{}: {}", workspace.relative(&file), error.message()))
                .hint("restore it from the repository, or remove it: `cargo xtask pull` writes a new one")
                .into()
        })
    }

    fn write(&self, workspace: &Workspace) -> Result<()> {
        let file = lock_file(workspace);
        files::replace(&file, &format!("{HEADER}{}", toml::to_string_pretty(self)?))?;
        ui::step("image", &format!("wrote `{}`: commit it", workspace.relative(&file)));
        Ok(())
    }
}

/// Name without what Docker adds to one of Docker Hub.
pub(crate) fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Name without tag or digest, in the form in which a digest can follow.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// Makes sure that this machine has an image, and returns the tag under which it is kept.
///
/// # Errors
/// Fails if the image is neither here nor can be pulled.
pub(super) fn ensure(workspace: &Workspace, reference: &str, platform: &Platform) -> Result<String> {
    if reference.contains("@sha256:") {
        return image::pull(reference, platform);
    }
    let mut lock = Lock::read(workspace)?;
    if let Some(digest) = lock.images.get(reference) {
        return image::pull(&format!("{}@{digest}", repository(reference)), platform);
    }
    if exists(reference)? {
        // Perhaps built here, and in no registry.
        let text =
            format!("{reference} is that of this machine; `cargo xtask pull` pins the one of its registry");
        told::once(workspace, &format!("unpinned-{}", super::content_tag([reference])), "image", &text);
        return image::keep("of a Compose file", reference, platform);
    }
    if process::outcome_needed().is_err() {
        // A dry run goes on as if the registry had given it.
        return image::pull(reference, platform);
    }
    let pinned = pin(reference, platform)?;
    lock.images.insert(reference.to_owned(), pinned.clone());
    lock.write(workspace)?;
    image::pull(&format!("{}@{pinned}", repository(reference)), platform)
}

/// Pulls an image by its tag, and returns its digest in the registry.
fn pin(reference: &str, platform: &Platform) -> Result<Digest> {
    let digest = image::pull_now(reference, platform)?;
    process::outcome_needed().followed_by("building the images")?;
    digest.parse().map_err(|_| Failure::failed(format!("Docker names no digest for {reference}")).into())
}

/// Pins all these images to what their registries have now, and tells which have changed. Images that are only on this
/// machine stay unpinned.
///
/// # Errors
/// Fails if an image is neither in its registry nor here.
pub(crate) fn update(workspace: &Workspace, images: &BTreeSet<(String, Platform)>) -> Result<()> {
    let mut lock = Lock::read(workspace)?;
    let before = lock.images.clone();
    lock.images.retain(|reference, _| images.iter().any(|(other, _)| other == reference));
    for (reference, platform) in images.iter().filter(|(reference, _)| !reference.contains('@')) {
        match pin(reference, platform) {
            Ok(digest) => {
                let word = match before.get(reference) {
                    Some(old) if *old == digest => "unchanged",
                    Some(_) => "newer than before",
                    None => "pinned",
                };
                ui::step("image", &format!("{reference}: {word}, {}", super::short(&digest.to_string())));
                image::pull(&format!("{}@{digest}", repository(reference)), platform)?;
                lock.images.insert(reference.clone(), digest);
            }
            Err(error) if exists(reference)? => {
                ui::warn("image", &format!("{reference} stays that of this machine: {error:#}"));
            }
            Err(error) => return Err(error),
        }
    }
    if lock.images == before { Ok(()) } else { lock.write(workspace) }
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn a_repository_may_have_a_port() {
        for (reference, expected) in [
            ("eclipse-mosquitto:2", "eclipse-mosquitto"),
            ("eclipse-mosquitto", "eclipse-mosquitto"),
            ("localhost:5000/a/b:1.2", "localhost:5000/a/b"),
            ("localhost:5000/a/b", "localhost:5000/a/b"),
            ("a.b/c:1@sha256:00", "a.b/c"),
        ] {
            assert_eq!(repository(reference), expected);
        }
    }
}
