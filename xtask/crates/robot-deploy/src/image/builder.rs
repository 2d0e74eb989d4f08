//! Which BuildKit builds, and where it can push to.
//!
//! The engine's own BuildKit knows the engine's images and needs no set-up, so it is used where it can be.
//! Where the engine runs in a virtual machine, 127.0.0.1 there is another machine: pushes go to
//! `host.docker.internal`, which the engine takes for a remote registry that needs TLS. A builder of our
//! own is told otherwise.

use camino::Utf8Path;

use super::layout::UNCOMPRESSED;
use crate::cmd;
use crate::config::Store;
use crate::error::Result;
use crate::host::Engine;
use crate::process::{self, Cmd};

/// The name of our own builder.
pub const NAME: &str = "xtask";

/// Local ports that a tunnel may get; the builder is configured for all of them.
const PORTS: std::ops::RangeInclusive<u16> = 5000..=5100;

/// The BuildKit that builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// The engine's own.
    Engine {
        /// The engine's image store.
        store: Store,
    },
    /// One in a container of our own, for engines in a virtual machine.
    Container,
}

impl Builder {
    /// The builder for an engine.
    pub fn for_engine(engine: &Engine) -> Self {
        if engine.in_vm { Self::Container } else { Self::Engine { store: engine.store } }
    }

    /// The name that the machine of the engine has for a port of this one. Not `localhost`: that may be somebody else's
    /// `[::1]` as well.
    pub fn registry_host(self, port: u16) -> String {
        match self {
            Self::Engine { .. } => format!("127.0.0.1:{port}"),
            Self::Container => format!("host.docker.internal:{port}"),
        }
    }

    /// The argument that chooses the builder. `default` is the engine's own, whatever the Docker context is
    /// called; without it buildx takes the one that somebody has chosen by `docker buildx use`.
    pub fn arg(self) -> &'static str {
        match self {
            Self::Engine { .. } => "--builder=default",
            Self::Container => "--builder=xtask",
        }
    }

    /// Where a built image goes: the engine's image store, under `reference`.
    ///
    /// containerd's store keeps what BuildKit exports as it is: layers that are not compressed can be compared
    /// with those that robots have. The classic store keeps layers unpacked and compresses when it pushes.
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

    /// Where an image goes that robots get by `docker save`, which sends layers as the store keeps them: as
    /// [`Self::output`], and compressed there as well as it goes, because it is made once.
    pub fn kept_output(self, reference: &str) -> String {
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

    /// Where an image goes that is published, under the name of its target: with layers compressed by gzip.
    pub fn published_output(self) -> &'static str {
        match self {
            Self::Engine { .. } => "type=image,compression=gzip,force-compression=true,unpack=false",
            Self::Container => "type=image,compression=gzip,force-compression=true,push=true",
        }
    }

    /// Makes our own builder if it is the one that builds and is missing.
    ///
    /// # Errors
    /// Fails when the configuration cannot be written or buildx fails.
    pub fn ensure(self, state_dir: &Utf8Path) -> Result<()> {
        if self != Self::Container || cmd!("docker buildx inspect {NAME}")?.succeeds()? {
            return Ok(());
        }
        let config = state_dir.join("buildkitd.toml");
        write_config(&config)?;
        create(&config).run()
    }
}

/// `docker buildx create` for our own builder.
fn create(config: &Utf8Path) -> Cmd {
    Cmd::new("docker").args(["buildx", "create", "--name", NAME, "--driver", "docker-container"]).args([
        "--driver-opt",
        "network=host",
        // `--buildkitd-config` by its older name, which all versions of buildx know.
        "--config",
        config.as_str(),
    ])
}

fn write_config(path: &Utf8Path) -> Result<()> {
    if process::mode().dry_run {
        process::plan_file(path, &config());
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs_err::create_dir_all(dir)?;
    }
    Ok(fs_err::write(path, config())?)
}

/// buildkitd.toml: plain HTTP to the ports that tunnels may have.
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
    fn our_builder_uses_the_hosts_network_and_plain_http_to_tunnels() {
        let argv = create(Utf8Path::new("/x/buildkitd.toml"));
        let line = argv.to_string();
        assert!(line.starts_with("docker buildx create --name xtask --driver docker-container"), "{line}");
        assert!(line.contains("network=host") && line.ends_with("--config /x/buildkitd.toml"), "{line}");
        assert!(config().contains("[registry.\"host.docker.internal:5000\"]\nhttp = true\n"));
        assert!(config().contains("[registry.\"127.0.0.1:5100\"]"));
    }

    #[test]
    fn each_image_store_gets_the_output_it_can_take() {
        assert!(
            Builder::Engine { store: Store::Containerd }.output("a:b").contains("compression=uncompressed")
        );
        assert_eq!(Builder::Engine { store: Store::Classic }.output("a:b"), "type=docker,name=a:b");
        assert_eq!(Builder::Container.output("a:b"), "type=docker,name=a:b");
        let kept = Builder::Engine { store: Store::Containerd }.kept_output("a:b");
        assert!(kept.contains("compression=zstd"), "{kept}");
        assert_eq!(Builder::Container.kept_output("a:b"), "type=docker,name=a:b");
    }
}
