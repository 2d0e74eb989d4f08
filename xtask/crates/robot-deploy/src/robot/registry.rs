//! The registry on the robot: its container, and a client for its HTTP API.
//!
//! The API is that of the OCI distribution specification, served by the CNCF `distribution` registry.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;

use super::Session;
use crate::cmd;
use crate::digest::Digest;
use crate::error::{Failure, FollowedBy as _, Result};
use crate::image::oci::{self, Descriptor};
use crate::robot_side::Script;
use crate::{number, ui};

/// Address on which the registry listens on the robot, and the registry part of image references there. Loopback only,
/// so that SSH is the only way in. An address, because `localhost` may resolve to `[::1]`, where another program may
/// listen.
pub fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Returns the repository of a project in the robot's registry, as the robot's engine calls it.
pub fn repository(port: u16, project: &str) -> String {
    format!("{}/{project}", address(port))
}

/// Returns the reference of an image that the robot's engine pulled from the robot's registry.
pub fn reference(port: u16, project: &str, digest: &str) -> String {
    format!("{}@{digest}", repository(port, project))
}

/// Hint for a robot on which another program listens on the registry's port.
pub(super) fn port_hint(robot: &str) -> String {
    format!(
        "`cargo xtask ssh --robot {robot} -- sudo ss -ltnp` shows the program: stop it, or give the registry another port \
         with `registry_port = 5005` in [robots.{robot}] of robots.toml"
    )
}

/// Name of the registry's container and of its volume.
pub const CONTAINER: &str = "xtask-registry";

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
                              application/vnd.docker.distribution.manifest.v2+json";

/// Makes sure that the registry runs on the robot: sends `image` if the robot does not have it, and starts a
/// container if none runs with it. The data volume outlives the container. Returns the number of bytes sent.
pub fn ensure(session: &Session, image: &str) -> Result<u64> {
    let start =
        session.script(Script::Registry, &[CONTAINER, image, &address(session.endpoint().registry_port)]);
    let load = || session.command(["docker", "load", "--quiet"]).feed(&cmd!("docker save {image}")?);
    let robot = session.robot();
    let state =
        start.run_for_output().followed_by(format!("sending the registry's image if `{robot}` lacks it"))?;
    match state.as_str() {
        "image missing" => {
            ui::step(robot, "loading the registry image (once)");
            let bytes = load()?;
            let state = start.run_for_output()?;
            anyhow::ensure!(
                state != "image missing",
                "`{robot}` does not have the image `{image}` after loading it"
            );
            Ok(bytes)
        }
        _ => Ok(0),
    }
}

/// Client of one registry, without TLS: the SSH tunnel encrypts the connection.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    base: String,
    agent: ureq::Agent,
}

/// The parts of an image manifest that a delivery needs.
#[derive(Clone, Debug)]
pub struct PushedManifest {
    /// Digest of the manifest's bytes, `sha256:…`.
    pub digest: String,
    /// Digest of the image's configuration, which is the image ID in a classic store.
    pub config: Digest,
    /// Blobs of the image: the layers, lowest first, and then the configuration.
    pub blobs: Vec<Descriptor>,
    /// Compressed size of all layers in bytes.
    pub layer_bytes: u64,
}

impl RegistryClient {
    /// Client of the registry behind a local port.
    pub fn on_port(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .proxy(None)
            .http_status_as_error(true);
        Self { base: format!("http://127.0.0.1:{port}/v2"), agent: config.build().into() }
    }

    /// Returns whether the server is a registry, by the version header that registries send.
    pub fn ping(&self) -> Result<bool> {
        let answer = self.agent.get(format!("{}/", self.base)).call().context("ask the registry")?;
        Ok(answer.headers().contains_key("Docker-Distribution-Api-Version"))
    }

    pub fn manifest(&self, repository: &str, tag: &str) -> Result<PushedManifest> {
        let url = format!("{}/{repository}/manifests/{tag}", self.base);
        let mut answer = self
            .agent
            .get(&url)
            .header("Accept", MANIFEST_TYPES)
            .call()
            .with_context(|| format!("read the manifest of `{repository}:{tag}`"))?;
        let mut bytes = Vec::new();
        answer
            .body_mut()
            .as_reader()
            .take(oci::MANIFEST_LIMIT)
            .read_to_end(&mut bytes)
            .context("read the manifest")?;
        PushedManifest::parse(&bytes)
    }
}

impl PushedManifest {
    /// Parses a manifest and computes its digest, instead of trusting the registry's header.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let oci::OciManifest { config, layers } = serde_json::from_slice(bytes).map_err(|error| {
            Failure::failed("the registry's answer is not an image manifest").because(error)
        })?;
        let layer_bytes = number::sum(layers.iter().map(|layer| layer.size));
        let config_digest = config.digest.clone();
        let blobs = layers.into_iter().chain([config]).collect();
        Ok(Self { digest: Digest::of(bytes).into(), config: config_digest, blobs, layer_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::testing::digest;
    use crate::fuzz::fuzz;

    #[test]
    fn fuzzed_manifests_are_read_or_refused() {
        let blob = serde_json::json!({ "digest": digest("blob"), "size": 3 });
        let text = serde_json::json!({ "config": blob, "layers": [blob] }).to_string();
        fuzz("manifest", 1_000, &[text.as_bytes()], |bytes| drop(PushedManifest::parse(bytes)));
    }

    #[test]
    fn a_manifests_digest_is_that_of_its_bytes() -> Result<()> {
        let [config, layer] = ["config", "layer"].map(digest);
        let image = |count: usize, size: u64| {
            let layers = vec![serde_json::json!({ "digest": layer, "size": size }); count];
            serde_json::json!({ "config": { "digest": config, "size": 3 }, "layers": layers }).to_string()
        };
        let text = image(1, 40);
        let manifest = PushedManifest::parse(text.as_bytes())?;
        assert_eq!(manifest.digest, *Digest::of(&text));
        assert_eq!((manifest.blobs.len(), manifest.layer_bytes, manifest.config), (2, 40, config.clone()));
        assert_eq!(PushedManifest::parse(image(9000, u64::MAX).as_bytes())?.layer_bytes, number::MOST);
        PushedManifest::parse(text.replace(&*layer, "sha256:../../../dev/zero").as_bytes()).unwrap_err();
        PushedManifest::parse(b"<html>captive portal</html>").unwrap_err();
        Ok(())
    }
}
