//! Choice of the BuildKit instance, and the addresses it can push to.
//!
//! The engine's built-in BuildKit can use the engine's images and needs no set-up, so it is preferred. For an
//! engine in a virtual machine, 127.0.0.1 is not this machine: pushes go to `host.docker.internal`, for which
//! the engine insists on TLS. There a `docker-container` builder is used, which is configured for plain HTTP.

use camino::Utf8Path;

use super::layout::UNCOMPRESSED;
use crate::cmd;
use crate::config::Store;
use crate::error::Result;
use crate::host::Engine;
use crate::process::{self, Cmd};

/// Name of the `docker-container` builder.
pub const NAME: &str = "xtask";

/// Local ports of tunnels; the builder is configured for all of them.
const PORTS: std::ops::RangeInclusive<u16> = 5000..=5100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// Built into the engine.
    Engine { store: Store },
    /// Builder with the driver `docker-container`, for engines in a virtual machine.
    Container,
}

impl Builder {
    pub fn for_engine(engine: &Engine) -> Self {
        if engine.in_vm { Self::Container } else { Self::Engine { store: engine.store } }
    }

    /// Address of a local port as the engine's machine sees it. Not `localhost`: on `[::1]` another process
    /// may listen.
    pub fn registry_host(self, port: u16) -> String {
        match self {
            Self::Engine { .. } => format!("127.0.0.1:{port}"),
            Self::Container => format!("host.docker.internal:{port}"),
        }
    }

    /// Argument that selects the builder. `default` is the engine's own in every Docker context; without the
    /// argument buildx uses the builder selected by `docker buildx use`.
    pub fn arg(self) -> &'static str {
        match self {
            Self::Engine { .. } => "--builder=default",
            Self::Container => "--builder=xtask",
        }
    }

    /// Output into the engine's image store as `reference`.
    ///
    /// The containerd store keeps layers as BuildKit exports them: uncompressed ones can be compared with the
    /// robots' layers. The classic store keeps layers unpacked and compresses them on push.
    pub fn output(self, reference: &str) -> String {
        match self {
            Self::Engine { store: Store::Containerd } => {
                format!("type=image,name={reference},{UNCOMPRESSED},unpack=false")
            }
            Self::Engine { store: Store::Classic } | Self::Container => {
                format!("type=docker,name={reference}")
            }
        }
    }

    /// Like [`Self::output`], but with the best compression in the containerd store: for an image that is
    /// built once and sent by `docker save`, which sends layers as the store keeps them.
    pub fn compressed_output(self, reference: &str) -> String {
        match self {
            Self::Engine { store: Store::Containerd } => format!(
                "type=image,name={reference},compression=zstd,compression-level=19,force-compression=true,\
                 oci-mediatypes=true,unpack=false"
            ),
            Self::Engine { store: Store::Classic } | Self::Container => {
                format!("type=docker,name={reference}")
            }
        }
    }

    /// Output of an image to publish, with gzip layers; its name is set by the target's tags.
    pub fn published_output(self) -> &'static str {
        match self {
            Self::Engine { .. } => "type=image,compression=gzip,force-compression=true,unpack=false",
            Self::Container => "type=image,compression=gzip,force-compression=true,push=true",
        }
    }

    /// Creates the `docker-container` builder if it is used and missing.
    pub fn ensure(self, state_dir: &Utf8Path) -> Result<()> {
        if self != Self::Container || cmd!("docker buildx inspect {NAME}")?.succeeds()? {
            return Ok(());
        }
        let config = state_dir.join("buildkitd.toml");
        process::write_file(&config, &self::config())?;
        create(&config).run()
    }
}

/// `docker buildx create` for the `docker-container` builder.
fn create(config: &Utf8Path) -> Cmd {
    Cmd::new("docker").args(["buildx", "create", "--name", NAME, "--driver", "docker-container"]).args([
        "--driver-opt",
        "network=host",
        // The older name of `--buildkitd-config`, which all versions of buildx accept.
        "--config",
        config.as_str(),
    ])
}

/// Content of buildkitd.toml: plain HTTP for the ports of tunnels.
fn config() -> String {
    let hosts = ["127.0.0.1", "host.docker.internal"];
    let sections = hosts
        .iter()
        .flat_map(|host| PORTS.map(move |port| format!("[registry.\"{host}:{port}\"]\nhttp = true\n")));
    sections.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(in_vm: bool) -> Builder {
        if in_vm { Builder::Container } else { Builder::Engine { store: Store::Containerd } }
    }

    #[test]
    fn an_engine_in_a_virtual_machine_pushes_to_its_host() {
        assert_eq!(builder(true).registry_host(5001), "host.docker.internal:5001");
        assert_eq!(builder(true).arg(), format!("--builder={NAME}"));
        assert_eq!(builder(false).registry_host(5000), "127.0.0.1:5000");
        assert_eq!(builder(false).arg(), "--builder=default");
    }

    #[test]
    fn the_container_builder_uses_host_network_and_plain_http_to_tunnels() {
        let argv = create(Utf8Path::new("/x/buildkitd.toml"));
        let line = argv.to_string();
        assert!(line.starts_with("docker buildx create --name xtask --driver docker-container"), "{line}");
        assert!(line.contains("network=host") && line.ends_with("--config /x/buildkitd.toml"), "{line}");
        assert!(config().contains("[registry.\"host.docker.internal:5000\"]\nhttp = true\n"));
        assert!(config().contains("[registry.\"127.0.0.1:5100\"]"));
    }

    #[test]
    fn each_image_store_gets_a_suitable_output() {
        assert!(
            Builder::Engine { store: Store::Containerd }.output("a:b").contains("compression=uncompressed")
        );
        assert_eq!(Builder::Engine { store: Store::Classic }.output("a:b"), "type=docker,name=a:b");
        assert_eq!(Builder::Container.output("a:b"), "type=docker,name=a:b");
        let compressed = Builder::Engine { store: Store::Containerd }.compressed_output("a:b");
        assert!(compressed.contains("compression=zstd"), "{compressed}");
        assert_eq!(Builder::Container.compressed_output("a:b"), "type=docker,name=a:b");
    }
}
