//! Resolves a name in the registry to the digests of images, once for all robots.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::{explain, imagetools, tags};
use crate::config::{Hub, Platform};
use crate::error::{Failure, Result};
use crate::image::ImageSpec;
use crate::parallel;

/// Output of `docker buildx imagetools inspect`.
#[derive(Debug, Deserialize)]
struct Inspected {
    manifest: InspectedManifest,
    /// Configuration of the image; for an index with several platforms, configurations by platform.
    image: Value,
}

#[derive(Debug, Deserialize)]
struct InspectedManifest {
    digest: String,
    /// Manifests of an index.
    #[serde(default)]
    manifests: Vec<PlatformManifest>,
}

#[derive(Debug, Deserialize)]
struct PlatformManifest {
    digest: String,
    platform: Option<Value>,
}

/// Returns references by digest (`REPO@sha256:…`) of the images that are published as `name`, each to the
/// manifest for its platform.
pub(crate) fn resolve(
    hub: &Hub,
    name: &str,
    specs: &BTreeSet<ImageSpec>,
) -> Result<BTreeMap<ImageSpec, String>> {
    let images: BTreeSet<&str> = specs.iter().map(|spec| spec.image.as_str()).collect();
    let inspect = |image| Ok((image, inspect(hub, &tags::reference(hub, image, name))?));
    let inspected: Result<BTreeMap<&str, Inspected>> = parallel::map(images, inspect).into_iter().collect();
    let inspected = inspected?;
    specs
        .iter()
        .map(|spec| {
            let reference = tags::reference(hub, &spec.image, name);
            let digest = inspected[spec.image.as_str()].digest(&reference, spec)?;
            Ok((spec.clone(), format!("{}@{digest}", hub.repository)))
        })
        .collect()
}

fn inspect(hub: &Hub, reference: &str) -> Result<Inspected> {
    let ask = imagetools(hub, "inspect").args(["--format", "{{json .}}", reference]);
    let text =
        ask.read().map_err(|error| explain(hub, "this machine", &format!("look up {reference}"), error))?;
    serde_json::from_str(&text).context("read the answer of the registry")
}

impl Inspected {
    /// Digest of the manifest for the platform.
    fn digest(&self, reference: &str, spec: &ImageSpec) -> Result<&str> {
        let manifests: Vec<(String, &str)> = if self.manifest.manifests.is_empty() {
            vec![(platform(&self.image), &self.manifest.digest)]
        } else {
            self.manifest
                .manifests
                .iter()
                .filter_map(|part| Some((platform(part.platform.as_ref()?), part.digest.as_str())))
                .collect()
        };
        let is_for_spec = |key: &str| Platform::parse(key).is_ok_and(|platform| platform == spec.platform);
        let Some((key, digest)) = manifests.iter().find(|(key, _)| is_for_spec(key)) else {
            let platforms: Vec<&str> = manifests.iter().map(|(key, _)| key.as_str()).collect();
            let text = format!("{reference} is for {}, not for {}", platforms.join(", "), spec.platform);
            let hint = "`cargo xtask publish` publishes for the platforms of all robots in robots.toml";
            return Err(Failure::failed(text).hint(hint).into());
        };
        // `nav` on branch `x-main` and `nav-x` on branch `main` have the same tag: compare the image's title.
        let config = if self.image.get("os").is_some() { &self.image } else { &self.image[key] };
        match config["config"]["Labels"]["org.opencontainers.image.title"].as_str() {
            Some(title) if title != spec.image => {
                let text = format!("{reference} is image `{title}`, not `{}`", spec.image);
                Err(Failure::failed(text)
                    .hint("give one of the two images another name in robots.toml")
                    .into())
            }
            _ => Ok(digest),
        }
    }
}

/// Platform in the form `linux/arm/v7`.
fn platform(value: &Value) -> String {
    let parts = ["os", "architecture", "variant"].map(|key| value[key].as_str().unwrap_or_default());
    let written = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    // The only variant of arm64; most builders omit it.
    written.strip_suffix("arm64/v8").map_or(written.clone(), |system| format!("{system}arm64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    fn digest(text: &str, image: &str, machine: &str) -> Result<String> {
        let inspected: Inspected = serde_json::from_str(text)?;
        let spec = ImageSpec::of_packages(image, Platform::from_machine(machine));
        inspected.digest("a.b/c:navigation-main", &spec).map(str::to_owned)
    }

    #[test]
    fn fuzzed_answers_of_a_registry_are_read_or_refused() {
        let index = br#"{"manifest":{"digest":"sha256:i","manifests":[
            {"digest":"sha256:a","platform":{"os":"linux","architecture":"amd64"}},
            {"digest":"sha256:r","platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]},
            "image":{"linux/amd64":{"config":{"Labels":{"org.opencontainers.image.title":"navigation"}}}}}"#;
        let one = br#"{"manifest":{"digest":"sha256:m"},"image":{"os":"linux","architecture":"amd64"}}"#;
        fuzz("hub", 1_000, &[index, one], |bytes| {
            drop(digest(&text(bytes), "navigation", "x86_64"));
        });
    }

    #[test]
    fn each_platform_has_its_manifest() -> Result<()> {
        let index = r#"{"manifest":{"digest":"sha256:i","manifests":[
            {"digest":"sha256:a","platform":{"os":"linux","architecture":"amd64"}},
            {"digest":"sha256:r","platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]},
            "image":{"linux/amd64":{"config":{"Labels":{"org.opencontainers.image.title":"navigation"}}}}}"#;
        assert_eq!(digest(index, "navigation", "x86_64")?, "sha256:a");
        assert_eq!(digest(index, "navigation", "aarch64")?, "sha256:r");
        let error = digest(index, "navigation", "armv7l").unwrap_err().to_string();
        assert_eq!(error, "a.b/c:navigation-main is for linux/amd64, linux/arm64, not for linux/arm/v7");
        let error = digest(index, "nav", "x86_64").unwrap_err().to_string();
        assert!(error.contains("is image `navigation`, not `nav`"), "{error}");
        Ok(())
    }

    #[test]
    fn an_image_may_have_no_index() -> Result<()> {
        let single = r#"{"manifest":{"digest":"sha256:m"},"image":{"os":"linux","architecture":"amd64"}}"#;
        assert_eq!(digest(single, "navigation", "x86_64")?, "sha256:m");
        digest(single, "navigation", "aarch64").unwrap_err();
        Ok(())
    }
}
