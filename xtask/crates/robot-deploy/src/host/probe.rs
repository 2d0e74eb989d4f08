//! Finds out what this machine lacks for building and deploying.

use std::fmt;

use super::engine::{self, Answer, Engine};
use super::machine::Machine;
use crate::config::Platform;
use crate::error::{Failure, Result};

/// From the package `debian-archive-keyring`, which Ubuntu has too.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A prerequisite of a verb on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A running Docker Engine, and its client.
    Engine,
    /// The client's plugin that builds images.
    Buildx,
    /// The client's plugin that runs Compose files.
    Compose,
    /// Bootstraps Debian bases.
    Mmdebstrap,
    /// `ssh` and `ssh-keygen`.
    Ssh,
    /// Checks shell scripts.
    Shellcheck,
    /// Checks Python programs.
    Pyflakes,
    /// A browser, to test generated pages.
    Chromium,
    /// Compresses a file as a delta to another file.
    Zstd,
    /// Emulation of another platform, to build for it.
    Emulation(Platform),
}

impl Need {
    /// Needs of every workspace.
    pub const ALWAYS: [Self; 5] = [Self::Engine, Self::Buildx, Self::Compose, Self::Mmdebstrap, Self::Ssh];
}

/// A missing prerequisite that can be installed or started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The `docker` client is not on PATH.
    Client,
    Engine,
    /// The engine is installed, but stopped.
    RunningEngine,
    /// The user is not in the group `docker`.
    Membership,
    Buildx,
    Compose,
    Mmdebstrap,
    /// `ssh` or `ssh-keygen` is not on PATH.
    Ssh,
    Shellcheck,
    Pyflakes,
    Chromium,
    Zstd,
    Emulation(Platform),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("the docker client"),
            Self::Engine => f.write_str("a Docker Engine"),
            Self::RunningEngine => f.write_str("a running Docker Engine (it is installed, but stopped)"),
            Self::Membership => f.write_str("the right to use Docker (group `docker`)"),
            Self::Buildx => f.write_str("docker buildx"),
            Self::Compose => f.write_str("docker compose (v2)"),
            Self::Mmdebstrap => f.write_str("mmdebstrap"),
            Self::Ssh => f.write_str("the ssh client"),
            Self::Shellcheck => f.write_str("shellcheck"),
            Self::Pyflakes => f.write_str("pyflakes3"),
            Self::Chromium => f.write_str("the browser Chromium"),
            Self::Zstd => f.write_str("zstd"),
            Self::Emulation(platform) => write!(f, "emulation of {platform}"),
        }
    }
}

/// Result of [`look`].
#[derive(Debug, Default)]
pub(super) struct Found {
    pub missing: Vec<Missing>,
    /// The engine, if it was needed and answers.
    pub engine: Option<Engine>,
}

/// Looks for all needs, without changing anything.
///
/// # Errors
/// Fails if no package can help: the engine is on another machine, or is not started by this system.
pub(super) fn look(machine: &Machine, needs: &[Need]) -> Result<Found> {
    let mut found = Found::default();
    if needs.iter().any(|need| matches!(need, Need::Engine)) {
        match engine::ask(machine)? {
            Answer::Engine(engine) => found.engine = Some(*engine),
            Answer::NoClient => {
                found.missing.push(Missing::Client);
                found.missing.extend(machine.program("dockerd").is_none().then_some(Missing::Engine));
            }
            Answer::Silent(message) => found.missing.push(silent(machine, &message)?),
            Answer::Denied(message) => found.missing.push(denied(machine, &message)?),
        }
    }
    let in_vm = found.engine.as_ref().is_some_and(|engine| engine.in_vm);
    found.missing.extend(needs.iter().filter_map(|need| match need {
        Need::Engine => None,
        Need::Buildx => (!machine.has_plugin("buildx")).then_some(Missing::Buildx),
        Need::Compose => (!machine.has_plugin("compose")).then_some(Missing::Compose),
        Need::Mmdebstrap => (!can_bootstrap(machine)).then_some(Missing::Mmdebstrap),
        Need::Ssh => {
            let complete = ["ssh", "ssh-keygen"].iter().all(|name| machine.program(name).is_some());
            (!complete).then_some(Missing::Ssh)
        }
        Need::Shellcheck => machine.program("shellcheck").is_none().then_some(Missing::Shellcheck),
        Need::Pyflakes => machine.program("pyflakes3").is_none().then_some(Missing::Pyflakes),
        Need::Chromium => {
            let none = ["chromium", "chromium-browser"].iter().all(|name| machine.program(name).is_none());
            none.then_some(Missing::Chromium)
        }
        Need::Zstd => machine.program("zstd").is_none().then_some(Missing::Zstd),
        // The virtual machines of Docker Desktop and similar products include emulators.
        Need::Emulation(platform) => {
            (!in_vm && !emulates(machine, platform)).then(|| Missing::Emulation(platform.clone()))
        }
    }));
    Ok(found)
}

/// Returns whether this machine can bootstrap Debian: it has mmdebstrap, Debian's signing keys, and
/// `newuidmap` unless the user is root.
fn can_bootstrap(machine: &Machine) -> bool {
    let tools: &[&str] = if machine.uid == 0 { &["mmdebstrap"] } else { &["mmdebstrap", "newuidmap"] };
    tools.iter().all(|name| machine.program(name).is_some()) && machine.file(DEBIAN_KEYS).exists()
}

/// Returns whether the kernel runs programs for `platform`, in containers too. Containers do not see the
/// interpreter's file, so it needs the flag F, with which the kernel keeps the file open.
pub(super) fn emulates(machine: &Machine, platform: &Platform) -> bool {
    if platform.arch == Platform::of_this_machine().arch {
        return true;
    }
    let entry = machine.text(format!("/proc/sys/fs/binfmt_misc/qemu-{}", qemu_arch(platform)));
    let flags = entry.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    entry.starts_with("enabled") && flags.contains('F')
}

/// Architecture of a platform in QEMU's notation.
pub(super) fn qemu_arch(platform: &Platform) -> &str {
    match platform.arch.as_str() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

fn silent(machine: &Machine, message: &str) -> Result<Missing> {
    let endpoint = &machine.endpoint;
    if machine.os == "linux" && endpoint.is_system() {
        let installed = machine.program("dockerd").is_some();
        return Ok(if installed { Missing::RunningEngine } else { Missing::Engine });
    }
    let failure = Failure::failed(format!("no Docker Engine answers at `{}`", endpoint.host));
    let failure = match endpoint.context.as_str() {
        "default" if machine.os == "linux" => failure.hint("start the engine, or run `unset DOCKER_HOST` to use the system's own"),
        "default" => failure.hint("start Docker Desktop (or OrbStack, or `colima start`) and run this again"),
        context => failure
            .hint(format!("start the engine of the Docker context `{context}` (Docker Desktop, OrbStack, `colima start`, …)"))
            .hint("or use the system's own engine: `docker context use default`"),
    };
    Err(failure.because(anyhow::anyhow!(message.to_owned())).into())
}

fn denied(machine: &Machine, message: &str) -> Result<Missing> {
    let reason = anyhow::anyhow!(message.to_owned());
    match machine.docker_group() {
        Some((_, false)) if machine.uid != 0 && machine.endpoint.is_system() => Ok(Missing::Membership),
        Some((number, true)) if !machine.groups.contains(&number) => {
            Err(login_again(machine).because(reason).into())
        }
        _ => Err(Failure::failed(format!("`{}` may not use the Docker Engine", machine.user))
            .hint(format!("give `{}` access to `{}`", machine.user, machine.endpoint.host))
            .because(reason)
            .into()),
    }
}

/// Error for a session that is older than the group membership. A session gets its groups when it begins.
pub(super) fn login_again(machine: &Machine) -> Failure {
    Failure::failed(format!(
        "`{}` is in the group `docker`, but this session began before that",
        machine.user
    ))
    .hint("log out and in again; or, for this terminal only, run `newgrp docker` and then the same command")
}
