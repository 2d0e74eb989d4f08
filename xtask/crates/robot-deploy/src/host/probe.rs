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
    /// A Docker Engine; it includes the next three, which [`look`] reports one by one.
    Engine,
    /// The `docker` client on PATH.
    Client,
    /// The installed engine, started.
    RunningEngine,
    /// The user's membership in the group `docker`.
    Membership,
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
    /// Checks the Python programs that run on robots, for `cargo xtask test`.
    Pyflakes,
    /// Shells to test completions in.
    Zsh,
    Fish,
    /// A browser, to test generated pages.
    Chromium,
    /// Compresses a file as a delta to another file.
    Zstd,
    /// For a method of the benchmark.
    Rsync,
    /// Emulation of another platform, to build for it.
    Emulation(Platform),
}

impl Need {
    /// Needs of every workspace.
    pub const ALWAYS: [Self; 5] = [Self::Engine, Self::Buildx, Self::Compose, Self::Mmdebstrap, Self::Ssh];
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine => f.write_str("a Docker Engine"),
            Self::Client => f.write_str("the docker client"),
            Self::RunningEngine => f.write_str("a running Docker Engine (it is installed, but stopped)"),
            Self::Membership => f.write_str("the right to use Docker (group `docker`)"),
            Self::Buildx => f.write_str("docker buildx"),
            Self::Compose => f.write_str("docker compose (v2)"),
            Self::Mmdebstrap => f.write_str("mmdebstrap"),
            Self::Ssh => f.write_str("the ssh client"),
            Self::Shellcheck => f.write_str("shellcheck"),
            Self::Pyflakes => f.write_str("pyflakes3"),
            Self::Zsh => f.write_str("zsh"),
            Self::Fish => f.write_str("fish"),
            Self::Chromium => f.write_str("the browser Chromium"),
            Self::Zstd => f.write_str("zstd"),
            Self::Rsync => f.write_str("rsync"),
            Self::Emulation(platform) => write!(f, "emulation of {platform}"),
        }
    }
}

/// Lists needs for people.
pub(super) fn names(needs: &[Need]) -> String {
    needs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Result of [`look`].
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The missing needs, all of which can be installed or started.
    pub missing: Vec<Need>,
    /// The engine, if it was needed and answers.
    pub engine: Option<Engine>,
}

/// Looks for all needs, without changing anything.
///
/// # Errors
/// Fails if no package can help: the engine is on another machine, or is not started by this system.
pub(super) fn look(machine: &Machine, needs: &[Need]) -> Result<Found> {
    let mut found = Found::default();
    if needs.contains(&Need::Engine) {
        match engine::ask(machine)? {
            Answer::Engine(engine) => found.engine = Some(*engine),
            Answer::NoClient => {
                found.missing.push(Need::Client);
                found.missing.extend(machine.program("dockerd").is_none().then_some(Need::Engine));
            }
            Answer::Silent(message) => found.missing.push(silent(machine, &message)?),
            Answer::Denied(message) => found.missing.push(denied(machine, &message)?),
        }
    }
    let in_vm = found.engine.as_ref().is_some_and(|engine| engine.in_vm);
    found.missing.extend(needs.iter().filter(|need| !has(machine, in_vm, need)).cloned());
    Ok(found)
}

/// Returns whether this machine has a need other than an engine. `in_vm` is true if the engine runs in a virtual
/// machine.
fn has(machine: &Machine, in_vm: bool, need: &Need) -> bool {
    let has = |name: &str| machine.program(name).is_some();
    match need {
        Need::Engine | Need::Client | Need::RunningEngine | Need::Membership => true,
        Need::Buildx => machine.has_plugin("buildx"),
        Need::Compose => machine.has_plugin("compose"),
        Need::Mmdebstrap => can_bootstrap(machine),
        Need::Ssh => has("ssh") && has("ssh-keygen"),
        Need::Shellcheck => has("shellcheck"),
        Need::Pyflakes => has("pyflakes3"),
        Need::Zsh => has("zsh"),
        Need::Fish => has("fish"),
        Need::Chromium => has("chromium") || has("chromium-browser"),
        Need::Zstd => has("zstd"),
        Need::Rsync => has("rsync"),
        // The virtual machines of Docker Desktop and similar products include emulators.
        Need::Emulation(platform) => in_vm || emulates(machine, platform),
    }
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

fn silent(machine: &Machine, message: &str) -> Result<Need> {
    let endpoint = &machine.endpoint;
    if machine.os == "linux" && endpoint.is_system() {
        let installed = machine.program("dockerd").is_some();
        return Ok(if installed { Need::RunningEngine } else { Need::Engine });
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

fn denied(machine: &Machine, message: &str) -> Result<Need> {
    let reason = anyhow::anyhow!(message.to_owned());
    match machine.docker_group() {
        Some((_, false)) if machine.uid != 0 && machine.endpoint.is_system() => Ok(Need::Membership),
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
