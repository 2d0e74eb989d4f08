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

/// Media types of the manifests that are read.
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
    /// Address, without a path.
    origin: String,
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
        Self { origin: format!("http://127.0.0.1:{port}"), agent: config.build().into() }
    }

    /// Returns whether the server is a registry, by the version header that registries send.
    pub fn ping(&self) -> Result<bool> {
        let answer = self.agent.get(format!("{}/v2/", self.origin)).call().context("ask the registry")?;
        Ok(answer.headers().contains_key("Docker-Distribution-Api-Version"))
    }

    pub fn manifest(&self, repository: &str, tag: &str) -> Result<PushedManifest> {
        let url = format!("{}/v2/{repository}/manifests/{tag}", self.origin);
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

    /// Gives the registry an image's configuration and manifest, whose layers `repository` has, and a tag.
    ///
    /// # Errors
    /// Fails if a layer is missing in the repository, among other things: then `docker push` has to send it.
    pub fn put_image(&self, repository: &str, tag: &str, manifest: &[u8], config: &[u8]) -> Result<()> {
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let begun =
            self.agent.post(format!("{}{uploads}", self.origin)).send_empty().context("begin a blob")?;
        let place = begun.headers().get("Location").and_then(|place| place.to_str().ok()).unwrap_or_default();
        // The registry's own idea of its address is not this machine's.
        let at = place.find(&uploads).context("the registry gives no place for a blob")?;
        let place = &place[at..];
        let separator = if place.contains('?') { '&' } else { '?' };
        let url = format!("{}{place}{separator}digest={}", self.origin, Digest::of(config));
        self.agent.put(url).content_type("application/octet-stream").send(config).context("send a blob")?;
        let url = format!("{}/v2/{repository}/manifests/{tag}", self.origin);
        self.agent.put(url).content_type(oci::MANIFEST_TYPE).send(manifest).context("send a manifest")?;
        Ok(())
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
    use std::io::{BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::digest::testing::digest;
    use crate::fuzz::fuzz;
    use crate::http::{Body, Head};

    /// Serves one connection like a registry that puts blobs at `place`. Returns its port, and at the end the requests.
    fn registry(place: &'static str) -> (u16, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut requests = BufReader::new(client.try_clone().unwrap());
            let mut seen = Vec::new();
            while let Ok(Some(Ok(Head { method, target, body: Body::Length(length), .. }))) =
                Head::read(&mut requests, port)
            {
                let mut body = String::new();
                (&mut requests).take(length).read_to_string(&mut body).unwrap();
                seen.push(format!("{method} {target} {body}"));
                write!(client, "HTTP/1.1 201 Created\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
            seen
        };
        (port, thread::spawn(serve))
    }

    #[test]
    fn an_image_is_a_configuration_and_a_manifest_at_this_address() -> Result<()> {
        let put = |port| RegistryClient::on_port(port).put_image("eurobot", "camera", b"manifest", b"config");
        for (place, query) in [
            ("http://10.0.0.9:5000/v2/eurobot/blobs/uploads/7?_state=x", "7?_state=x&"),
            ("/v2/eurobot/blobs/uploads/7", "7?"),
        ] {
            let (port, served) = registry(place);
            put(port)?;
            let config =
                format!("PUT /v2/eurobot/blobs/uploads/{query}digest={} config", Digest::of(b"config"));
            let manifest = "PUT /v2/eurobot/manifests/camera manifest".to_owned();
            let wanted = ["POST /v2/eurobot/blobs/uploads/ ".to_owned(), config, manifest];
            assert_eq!(served.join().unwrap(), wanted);
        }
        let (port, served) = registry("/v2/other/secret");
        put(port).unwrap_err();
        assert_eq!(served.join().unwrap().len(), 1, "nothing is sent to another place");
        Ok(())
    }

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
