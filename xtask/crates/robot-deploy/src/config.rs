//! First stage: `robots.toml` and the packages of the ROS workspace, read strictly and validated whole.
//!
//! What leaves here is right in itself: names are unique and fit where they are used (image tags, host
//! names, Compose project names), every name that refers to something finds it, and no later stage has to
//! check again.

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
mod platform;
mod raw;
mod releases;
mod repository;
mod robots;
mod validate;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

pub use busy::Busy;
pub use load::{FILE, current_dir};
pub use names::instead;
pub use packages::{Package, PackageGraph};
pub use platform::Platform;
pub use releases::Releases;

/// Everything `robots.toml` says.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The directory of `robots.toml`; relative paths in it start here. Absolute.
    pub root: Utf8PathBuf,
    /// The project.
    pub project: Project,
    /// What images are built on, by name.
    pub bases: BTreeMap<String, Base>,
    /// The images, by name.
    pub images: BTreeMap<String, Image>,
    /// The robots, by name.
    pub robots: BTreeMap<String, Robot>,
    /// The team's registry, where there is one.
    pub hub: Option<Hub>,
    /// How robots go from one release to another.
    pub releases: Releases,
    /// The colcon packages of the ROS workspace.
    pub packages: PackageGraph,
}

/// `[project]`.
#[derive(Clone, Debug)]
pub struct Project {
    /// Repository of all images (`eurobot:navigation`) and name of the Compose project.
    pub name: String,
    /// The colcon workspace: the directory that has `src/`. Absolute.
    pub ros_workspace: Utf8PathBuf,
}

/// `[hub]`: the public or team registry that images are published to and that robots can pull from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Registry and repository, as engines call them: `registry.example.org/team/eurobot`, and for Docker Hub
    /// `team/eurobot`.
    pub repository: String,
}

impl Hub {
    /// The registry's host with its port, as `docker login` knows it.
    pub fn registry(&self) -> &str {
        match self.repository.split_once('/') {
            Some((host, _)) if repository::is_host(host) => host,
            _ => repository::DOCKER_HUB,
        }
    }
}

/// `[bases.NAME]`: what images are built `FROM`, handed to BuildKit as the named context `base`.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: BaseSource,
    /// The hand-written Dockerfile with the stages `runtime` and `build-tools`. Absolute.
    pub dockerfile: Utf8PathBuf,
}

/// Where a base comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseSource {
    /// Bootstrapped from the Debian archive.
    Debian {
        /// The suite: `trixie`.
        suite: String,
    },
    /// An image of some registry, pinned: `NAME@sha256:…`.
    Image {
        /// The reference with its digest.
        reference: String,
    },
}

/// `[images.NAME]`.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name, which is also its tag: `eurobot:NAME`.
    pub name: String,
    /// The name of its base.
    pub base: String,
    /// The colcon packages it is for; what they depend on comes along. None: the image is what the Dockerfile
    /// of its base makes it.
    pub packages: Vec<String>,
}

/// `[robots.NAME]`.
#[derive(Clone, Debug)]
pub struct Robot {
    /// Its name.
    pub name: String,
    /// How to reach it.
    pub host: Host,
    /// What its images are built for.
    pub platform: Platform,
    /// Its Compose file. Absolute.
    pub compose: Utf8PathBuf,
    /// Variables for the Compose file; they win over those of `env_files`.
    pub env: BTreeMap<String, String>,
    /// Files with further variables (`NAME=VALUE` lines), later files winning. Absolute.
    pub env_files: Vec<Utf8PathBuf>,
    /// What tells that it must not be disturbed.
    pub busy: Option<Busy>,
    /// How long it may be out of reach, say behind a wall, before what has been begun with it is given up.
    pub reconnect: Duration,
}

/// How to reach a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A container on this machine that behaves as a robot.
    Simulated {
        /// The image store of its Docker Engine.
        store: Store,
    },
    /// A machine.
    Ssh {
        /// What `ssh` accepts: `user@host`, or a name of `~/.ssh/config`. Never begins with a dash.
        destination: String,
        /// The port, where it is not the one of `~/.ssh/config` or 22.
        port: Option<u16>,
    },
}

/// The two ways Docker Engines keep images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// containerd's content store and snapshotters: the default of new engines.
    Containerd,
    /// The classic graph drivers.
    Classic,
}

impl Workspace {
    /// What xtask keeps between runs: generated files, keys, measurements. Never committed.
    pub fn state_dir(&self) -> Utf8PathBuf {
        self.root.join("target/xtask")
    }

    /// The committed file with the host keys of the team's robots.
    pub fn known_hosts(&self) -> Utf8PathBuf {
        self.root.join("robots.known_hosts")
    }

    /// `path` as people know it: relative to the workspace where it is inside.
    pub fn relative<'a>(&self, path: &'a Utf8Path) -> &'a Utf8Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}
