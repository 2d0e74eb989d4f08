//! First stage of the pipeline: reads `robots.toml` and the packages of the ROS workspace, and validates
//! both.
//!
//! Every verb begins with [`Workspace::load`]. A loaded workspace is consistent: names are unique and valid
//! where they are used (image tags, host names, Compose project names), and every reference has a target. No
//! later stage checks that again.

mod busy;
mod condition;
mod diagnostic;
mod discover;
mod env_file;
mod host;
mod keys;
mod load;
mod lookup;
mod manifest;
mod names;
mod packages;
mod paths;
mod plain;
mod platform;
mod raw;
mod releases;
mod repositories;
mod repository;
mod robots;
mod validate;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::error::Result;

pub use busy::Busy;
pub use condition::Variables;
pub(crate) use discover::MARKERS;
pub use load::{FILE, current_dir};
pub use names::instead;
pub(crate) use names::nearest;
pub use packages::{Outside, Package, PackageGraph};
pub use platform::Platform;
pub use releases::Releases;
pub(crate) use repositories::absent;
pub(crate) use robots::{COMPOSE, COMPOSE_DIRS};

/// The validated content of `robots.toml`, and the packages of the ROS workspace.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The directory of `robots.toml`, absolute. Relative paths in the file start here.
    pub root: Utf8PathBuf,
    pub project: Project,
    /// Bases that images are built on, by name.
    pub bases: BTreeMap<String, Base>,
    /// Images of packages.
    pub images: BTreeMap<String, Image>,
    /// Images with a Dockerfile of their own: `build` as Compose writes it, with paths that begin with `./` in the repository.
    pub dockerfiles: BTreeMap<String, serde_json::Value>,
    pub robots: BTreeMap<String, Robot>,
    /// The team's registry, if one is configured.
    pub hub: Option<Hub>,
    /// Number of compilers that run at the same time, in all packages; `None` follows processors and memory.
    pub jobs: Option<u32>,
    pub releases: Releases,
    /// Time without a save after which `watch` makes a release of live edits.
    pub watch_settle: Duration,
    /// The packages, as far as they are the same on all bases. Conditions that depend on a base hold.
    pub packages: PackageGraph,
    /// `[packages.NAME]`, by name.
    pub settings: BTreeMap<String, PackageSettings>,
    /// Mistakes in `package.xml` files that no image needs, each in one line.
    pub skipped: Vec<String>,
    /// The packages on the bases that have been asked for their variables.
    pub(crate) on_bases: BTreeMap<String, PackageGraph>,
}

/// `[packages.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageSettings {
    /// Dependencies outside of the workspace that nothing needs.
    pub ignore: Vec<String>,
    /// Files and directories outside of the package that its build reads. Absolute, in the directory of `robots.toml`.
    pub also: Vec<Utf8PathBuf>,
}

/// `[project]`.
#[derive(Clone, Debug)]
pub struct Project {
    /// Repository of all images (`eurobot:navigation`), and name of the Compose project.
    pub name: String,
    /// The colcon workspace: the directory where people run `colcon build`. Absolute.
    pub ros_workspace: Utf8PathBuf,
}

impl Project {
    /// The directory in which colcon finds the packages: `src/` of the colcon workspace, or the workspace itself where it has
    /// no `src/`, as in repositories whose packages lie at the top.
    pub fn sources(&self) -> Utf8PathBuf {
        let src = self.ros_workspace.join("src");
        if src.is_dir() { src } else { self.ros_workspace.clone() }
    }
}

/// `[hub]`: the public or team registry that images are published to, and that robots can pull from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Registry and repository as Docker writes them: `registry.example.org/team/eurobot`, or `team/eurobot`
    /// on Docker Hub.
    pub repository: String,
}

impl Hub {
    /// Host and port of the registry, as `docker login` takes them.
    pub fn registry(&self) -> &str {
        match self.repository.split_once('/') {
            Some((host, _)) if repository::is_host(host) => host,
            _ => repository::DOCKER_HUB,
        }
    }
}

/// `[bases.NAME]`: the base of images, passed to BuildKit as the named context `base`.
#[derive(Clone, Debug)]
pub struct Base {
    pub name: String,
    pub source: BaseSource,
    /// The hand-written Dockerfile with the stages `runtime` and `build-tools`. Absolute.
    pub dockerfile: Utf8PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseSource {
    /// Bootstrapped from the Debian archive.
    Debian {
        /// For instance `trixie`.
        suite: String,
    },
    /// An image of a registry, pinned by digest.
    Registry {
        /// `NAME@sha256:…` or `NAME:TAG@sha256:…`.
        reference: String,
    },
    /// An image of this machine's own store.
    Local {
        /// `NAME` or `NAME:TAG`.
        name: String,
    },
}

/// `[images.NAME]`.
#[derive(Clone, Debug)]
pub struct Image {
    /// Also the tag of the image: `eurobot:NAME`.
    pub name: String,
    pub base: String,
    /// The colcon packages that the image is for; their run dependencies are installed too. If empty, the
    /// image is the stage `runtime` of the base's Dockerfile.
    pub packages: Vec<String>,
}

/// `[robots.NAME]`.
#[derive(Clone, Debug)]
pub struct Robot {
    pub name: String,
    pub host: Host,
    /// Platform that the robot's images are built for.
    pub platform: Platform,
    /// The Compose files, at least one; later ones change those before. Absolute.
    pub compose: Vec<Utf8PathBuf>,
    /// Variables for the Compose file; they override those of `env_files`.
    pub env: BTreeMap<String, String>,
    /// Files with more variables (`NAME=VALUE` lines); later files override earlier ones. Absolute.
    pub env_files: Vec<Utf8PathBuf>,
    /// Test for "this robot is busy: do not restart anything now".
    pub busy: Option<Busy>,
    /// Time that the robot may be unreachable, say behind a wall, before a running command gives up.
    pub reconnect: Duration,
    /// Time that a connection stays open for the next verb.
    pub keep_connection: Duration,
    /// Port of its loopback on which its registry listens.
    pub registry_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A container on this machine that behaves like a robot.
    Simulated {
        /// Image store of the robot's Docker Engine.
        store: Store,
    },
    /// A real machine, reached over SSH.
    Ssh {
        /// A destination that `ssh` accepts: `user@host`, or a name of `~/.ssh/config`. Never begins with a
        /// dash.
        destination: String,
        /// The SSH port, if it differs from the one in `~/.ssh/config` or 22.
        port: Option<u16>,
    },
}

/// Image store of a Docker Engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The containerd image store (content store and snapshotters): the default of new engines.
    Containerd,
    /// The classic store with graph drivers.
    Classic,
}

impl Workspace {
    /// Directory of the files that xtask keeps between runs: generated files, keys, measurements. Not
    /// committed.
    pub fn state_dir(&self) -> Utf8PathBuf {
        self.root.join("target/xtask")
    }

    /// The committed file with the host keys of the team's robots.
    pub fn known_hosts(&self) -> Utf8PathBuf {
        self.root.join("robots.known_hosts")
    }

    /// The packages on a base: with its variables in the conditions of package.xml, if they are known.
    pub fn packages_on(&self, base: &str) -> &PackageGraph {
        self.on_bases.get(base).unwrap_or(&self.packages)
    }

    /// Evaluates the conditions of package.xml with the variables of a base.
    ///
    /// # Errors
    /// Fails with exit code 2 if the dependencies that hold on the base form a cycle.
    pub fn set_variables(&mut self, base: &str, variables: &Variables) -> Result<()> {
        let found = discover::packages(&self.project.sources(), &self.root, variables)?;
        if !found.mistakes.is_empty() {
            return Err(found.mistakes.into_error());
        }
        self.on_bases.insert(base.to_owned(), found.graph);
        Ok(())
    }

    /// Returns `path` relative to the workspace, or unchanged if the path is outside.
    pub fn relative<'a>(&self, path: &'a Utf8Path) -> &'a Utf8Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}
