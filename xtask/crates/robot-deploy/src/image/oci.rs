//! The fields of OCI manifests and descriptors that xtask reads (OCI image specification).

use serde::Deserialize;

use crate::digest::Digest;
use crate::number;

/// Largest manifest in bytes that registries accept.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// Media type of the manifests that are built here.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Reference to a blob.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Descriptor {
    pub digest: Digest,
    /// Size in bytes of the blob as stored and sent, compressed or not.
    #[serde(deserialize_with = "number::read")]
    pub size: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OciManifest {
    /// Configuration; its digest is the image ID in the classic store.
    pub config: Descriptor,
    /// Layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// List of manifests.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// One for each image, or for each platform of an image.
    pub manifests: Vec<Descriptor>,
}
