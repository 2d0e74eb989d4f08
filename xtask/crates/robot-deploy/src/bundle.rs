//! A bundle: images and Compose projects of robots in one file, for transport without a network.
//!
//! It is a tar archive with these members:
//!
//! - `images-N.tar.zst` for each set of images: compressed output of `docker save`, which `docker load` also
//!   reads without xtask;
//! - `robots/NAME.tar` for each robot: its Compose project;
//! - `bundle.json`: a description of the other members;
//! - `SHA256SUMS`, in the format of sha256sum(1): a truncated file lacks it and is refused;
//! - `SHA256SUMS.sig`, if bundles must be signed, in the format of `ssh-keygen -Y verify`: through the
//!   checksums it signs all other members.
//!
//! An incremental bundle (`--against`) omits the layers that another bundle contains.

mod read;
mod signature;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::Platform;
use crate::delivery::archive::ArchiveImage;
use crate::error::{Failure, Result};
use crate::{number, ui};

pub(crate) use read::Bundle;
pub(crate) use signature::{Signer, Signers};
pub(crate) use write::{BundleSpec, Load, write};

/// Member that describes the others.
const CONTENTS: &str = "bundle.json";

/// Member with the checksums of all members before it; it shows that a bundle is complete.
const SUMS: &str = "SHA256SUMS";

/// Member with the signature of [`SUMS`], if any.
const SIGNATURE: &str = "SHA256SUMS.sig";

/// Version of the format that this version of xtask writes; it reads no other.
const FORMAT: u32 = 1;

/// Content of `bundle.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BundleContents {
    format: u32,
    pub project: String,
    /// Output of `git describe`, if the workspace is in a git repository.
    pub revision: Option<String>,
    /// Time of creation in seconds since 1970.
    #[serde(deserialize_with = "number::read")]
    pub made: u64,
    /// Title of the bundle whose layers this one omits, if any.
    pub against: Option<String>,
    archives: Vec<Archive>,
    robots: BTreeMap<String, RobotEntry>,
}

/// Set of images.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Archive {
    /// Name of the member.
    name: String,
    platform: String,
    images: Vec<BundledImage>,
    /// Digests of layers that the archive omits.
    left_out: BTreeSet<String>,
}

/// Image with its layers, lowest first, by the digests of their uncompressed content.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct BundledImage {
    #[serde(flatten)]
    item: ArchiveImage,
    layers: Vec<String>,
}

/// Names of the members with a robot's Compose project and its images.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RobotEntry {
    release: String,
    images: String,
}

impl BundleContents {
    /// Title for messages: `v1.2 of 2026-11-24 01:40:07 UTC`.
    pub(crate) fn title(&self) -> String {
        let made = ui::time(&ui::utc(std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.made)));
        format!("{} of {made} UTC", self.revision.as_deref().unwrap_or("an unknown revision"))
    }

    /// Fails if the bundle is of another project.
    pub(crate) fn check_project(&self, project: &str) -> Result<()> {
        if self.project == project {
            return Ok(());
        }
        let text = format!("the bundle is of project `{}`, but this workspace is `{project}`", self.project);
        Err(Failure::config(text)
            .hint(format!("run this command in the workspace of `{}`", self.project))
            .into())
    }

    pub(crate) fn robots(&self) -> impl Iterator<Item = &str> {
        self.robots.keys().map(String::as_str)
    }

    /// Layers of each image for a platform, including omitted ones: a robot that has loaded the bundle has
    /// all of them.
    fn chains(&self, platform: &Platform) -> Vec<Vec<String>> {
        let archives = self.archives.iter().filter(|archive| archive.platform == platform.to_string());
        archives.flat_map(|archive| archive.images.iter().map(|image| image.layers.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_may_have_any_time() -> Result<()> {
        let text = format!(
            r#"{{"format":1,"project":"eurobot","revision":"v1","made":{},"against":null,"archives":[],"robots":{{}}}}"#,
            u64::MAX
        );
        let contents: BundleContents = serde_json::from_str(&text)?;
        assert!(contents.title().starts_with("v1 of "));
        Ok(())
    }
}
