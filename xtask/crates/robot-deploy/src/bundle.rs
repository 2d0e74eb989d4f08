//! A bundle: images, and what robots start of them, in one file that is carried to where no network goes.
//!
//! It is a tar archive. For each set of images that robots run it has `images-N.tar.zst`, which is what
//! `docker save` writes, compressed, so that `docker load` reads it even where this program is not; for each
//! robot `robots/NAME.tar`, its Compose project; `bundle.json`, which says what these are; and last `SHA256SUMS`, as
//! sha256sum(1) checks it. A file that was cut off lacks its end and is refused. Where bundles have to be signed,
//! `SHA256SUMS.sig` comes after it, as `ssh-keygen -Y verify` checks it: by the checksums it is for all the others.
//!
//! A bundle against another leaves out the layers that robots have which were given the other.

mod read;
mod signature;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::Platform;
use crate::delivery::archive::ArchiveImage;
use crate::error::{Failure, Result};
use crate::number;

pub use read::{Bundle, Images};
pub use signature::{Signer, Signers};
pub use write::{BundleSpec, Load, write};

/// The member that says what the others are.
const CONTENTS: &str = "bundle.json";

/// The last member, by which a bundle is known to be whole.
const SUMS: &str = "SHA256SUMS";

/// The signature of [`SUMS`], where there is one.
const SIGNATURE: &str = "SHA256SUMS.sig";

/// The form of the file that this program writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// What a bundle says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundleContents {
    format: u32,
    /// The project that it was made from.
    pub project: String,
    /// What git called the state of the workspace; none where it was not git's.
    pub revision: Option<String>,
    /// When it was made, in seconds since 1970.
    #[serde(deserialize_with = "number::read")]
    pub made: u64,
    /// The bundle whose layers it leaves out, if it does, as people call it.
    pub against: Option<String>,
    archives: Vec<Archive>,
    robots: BTreeMap<String, RobotEntry>,
}

/// A set of images.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Archive {
    /// The member that it is.
    name: String,
    platform: String,
    images: Vec<BundledImage>,
    /// Layers of these images that are not in the archive.
    left_out: BTreeSet<String>,
}

/// An image, and its layers, lowest first, by the digests of what is in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct BundledImage {
    #[serde(flatten)]
    item: ArchiveImage,
    layers: Vec<String>,
}

/// What a robot starts, and the set of images that it runs: names of members.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RobotEntry {
    release: String,
    images: String,
}

impl BundleContents {
    /// The bundle as people call it: `v1.2 of 2026-11-24 01:40 UTC`.
    pub fn title(&self) -> String {
        let made = crate::ui::utc(std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.made));
        format!("{} of {made}", self.revision.as_deref().unwrap_or("a state that git does not know"))
    }

    /// Fails where it was made from another project.
    ///
    /// # Errors
    /// Names both.
    pub fn check_project(&self, project: &str) -> Result<()> {
        if self.project == project {
            return Ok(());
        }
        let text = format!("the bundle was made from the project `{}`, this is `{project}`", self.project);
        Err(Failure::config(text)
            .hint("run this in the workspace that robots.toml of that project is in")
            .into())
    }

    /// The robots that it was made for.
    pub fn robots(&self) -> impl Iterator<Item = &str> {
        self.robots.keys().map(String::as_str)
    }

    /// The layers of all its images for a platform, those that it leaves out as well: whoever was given it has
    /// them.
    fn chains(&self, platform: &Platform) -> Vec<Vec<String>> {
        let archives = self.archives.iter().filter(|archive| archive.platform == platform.to_string());
        archives.flat_map(|archive| archive.images.iter().map(|image| image.layers.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_may_say_that_it_is_of_any_time() -> Result<()> {
        let text = format!(
            r#"{{"format":1,"project":"eurobot","revision":"v1","made":{},"against":null,"archives":[],"robots":{{}}}}"#,
            u64::MAX
        );
        let contents: BundleContents = serde_json::from_str(&text)?;
        assert!(contents.title().starts_with("v1 of "));
        Ok(())
    }
}
