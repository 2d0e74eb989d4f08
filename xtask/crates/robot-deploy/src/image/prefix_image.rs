//! Image of the lowest layers of another image: an engine that has pulled it has already unpacked those
//! layers when it pulls the whole image.

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::Result;

/// Configuration and manifest of an image of the lowest layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixImage {
    pub config: String,
    pub manifest: String,
}

impl PrefixImage {
    /// Returns the image of the lowest `layers` layers of the image with this manifest and configuration.
    ///
    /// Of the configuration (OCI image specification) only platform and layers are kept: nothing to run, no
    /// history.
    pub fn of(manifest: &[u8], config: &[u8], layers: usize) -> Result<Self> {
        let whole: Map<String, Value> =
            serde_json::from_slice(config).context("read an image's configuration")?;
        let mut config = serde_json::json!({ "config": {} });
        for name in ["architecture", "os", "variant", "rootfs"] {
            if let Some(value) = whole.get(name) {
                config[name] = value.clone();
            }
        }
        truncate(config.pointer_mut("/rootfs/diff_ids"), layers)?;
        let config = config.to_string();
        let mut manifest: Value = serde_json::from_slice(manifest).context("read a manifest")?;
        truncate(manifest.get_mut("layers"), layers)?;
        let described =
            manifest.get_mut("config").and_then(Value::as_object_mut).context("read a manifest")?;
        described.extend([
            ("digest".to_owned(), String::from(Digest::of(&config)).into()),
            ("size".to_owned(), config.len().into()),
        ]);
        Ok(Self { config, manifest: manifest.to_string() })
    }

    /// Digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

fn truncate(list: Option<&mut Value>, length: usize) -> Result<()> {
    list.and_then(Value::as_array_mut).context("an image without layers")?.truncate(length);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::fuzz;

    #[test]
    fn fuzzed_manifests_and_configurations_are_read_or_refused() {
        let image =
            br#"{"os":"linux","config":{"digest":"sha256:c","size":1},"rootfs":{"diff_ids":["sha256:a"]},
            "layers":[{"digest":"sha256:a","size":5},{"digest":"sha256:b","size":6}]}"#;
        fuzz("prefix image", 1_000, &[image, b"[]", br#"{"rootfs":"x","layers":[]}"#], |bytes| {
            drop(PrefixImage::of(bytes, bytes, 1));
            drop(PrefixImage::of(bytes, br#"{"rootfs":{"diff_ids":[]}}"#, 1));
        });
    }

    #[test]
    fn it_has_the_lowest_layers_and_nothing_that_runs() -> Result<()> {
        let config =
            br#"{"architecture":"arm","variant":"v7","os":"linux","config":{"Cmd":["x"]},"history":[{},{}],
            "rootfs":{"type":"layers","diff_ids":["sha256:a","sha256:b"]}}"#;
        let manifest = br#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:c","size":1},
            "layers":[{"mediaType":"l","digest":"sha256:a","size":5},{"mediaType":"l","digest":"sha256:b","size":6}]}"#;
        let prefix = PrefixImage::of(manifest, config, 1)?;
        let config: Value = serde_json::from_str(&prefix.config)?;
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(["sha256:a"]));
        assert_eq!((&config["variant"], &config["config"]), (&"v7".into(), &serde_json::json!({})));
        let manifest: Value = serde_json::from_str(&prefix.manifest)?;
        assert_eq!(manifest["layers"], serde_json::json!([{"mediaType":"l","digest":"sha256:a","size":5}]));
        assert_eq!(manifest["config"]["digest"], &*Digest::of(&prefix.config));
        assert_eq!(manifest["config"]["mediaType"], "c");
        PrefixImage::of(b"{}", b"{}", 1).unwrap_err();
        Ok(())
    }
}
