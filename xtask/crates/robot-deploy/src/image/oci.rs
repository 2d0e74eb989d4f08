//! Manifests and descriptors as the OCI image specification has them, as far as anybody here reads them.

use serde::Deserialize;

use crate::digest::Digest;

use crate::number;

/// Largest manifest that registries take.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// What is said of a blob.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Descriptor {
    /// The digest of the blob.
    pub digest: Digest,
    /// Its size in bytes, as it is kept or travels.
    #[serde(deserialize_with = "number::read")]
    pub size: u64,
}

/// What an image consists of.
#[derive(Clone, Debug, Deserialize)]
pub struct OciManifest {
    /// The image's configuration; its digest is the image ID in a classic store.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// A list of manifests.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// One for each image, or for each platform of one.
    pub manifests: Vec<Descriptor>,
}
