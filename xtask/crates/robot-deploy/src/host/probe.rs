//! What of the things that building and deploying need this machine lacks.

use std::fmt;

use super::engine::{self, Answer, Engine};
use super::machine::Machine;
use crate::config::Platform;
use crate::error::{Failure, Result};

/// Of the package `debian-archive-keyring`, which Ubuntu has as well.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Something a verb needs on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A Docker Engine that answers, and its client.
    Engine,
    /// The client's plugin that builds images.
    Buildx,
    /// The client's plugin that runs Compose files.
    Compose,
    /// What bootstraps Debian bases.
    Mmdebstrap,
    /// `ssh` and `ssh-keygen`.
    Ssh,
    /// What checks shell scripts.
    Shellcheck,
    /// A browser, to look at the pages that are written.
    Chromium,
    /// What compresses one file as its difference from another.
    Zstd,
    /// Running programs of another platform, which building for it takes.
    Emulation(Platform),
}

impl Need {
    /// What every workspace needs.
    pub const ALWAYS: [Self; 5] = [Self::Engine, Self::Buildx, Self::Compose, Self::Mmdebstrap, Self::Ssh];
}

/// Something missing that can be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No `docker` on PATH.
    Client,
    /// No engine is installed.
    Engine,
    /// An engine is installed, but does not run.
    RunningEngine,
    /// The user is not in the group `docker`.
    Membership,
    /// No buildx.
    Buildx,
    /// No Compose v2.
    Compose,
    /// No mmdebstrap.
    Mmdebstrap,
    /// No `ssh` or `ssh-keygen`.
    Ssh,
    /// No shellcheck.
    Shellcheck,
    /// No Chromium.
    Chromium,
    /// No zstd.
    Zstd,
    /// No emulation of a platform.
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
            Self::Chromium => f.write_str("the browser Chromium"),
            Self::Zstd => f.write_str("zstd"),
            Self::Emulation(platform) => write!(f, "emulation of {platform}"),
        }
    }
}

/// What a look at the machine found.
#[derive(Debug, Default)]
pub struct Found {
    /// What is missing.
    pub missing: Vec<Missing>,
    /// The engine, where it was asked for and answers.
    pub engine: Option<Engine>,
}

/// Looks for what is needed, all of it, without changing anything.
///
/// # Errors
/// Fails on what no package mends: an engine on another machine, one that somebody else has to start.
pub fn look(machine: &Machine, needs: &[Need]) -> Result<Found> {
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
            let whole = ["ssh", "ssh-keygen"].iter().all(|name| machine.program(name).is_some());
            (!whole).then_some(Missing::Ssh)
        }
        Need::Shellcheck => machine.program("shellcheck").is_none().then_some(Missing::Shellcheck),
        Need::Chromium => {
            let none = ["chromium", "chromium-browser"].iter().all(|name| machine.program(name).is_none());
            none.then_some(Missing::Chromium)
        }
        Need::Zstd => machine.program("zstd").is_none().then_some(Missing::Zstd),
        // The virtual machines of Docker Desktop and its like come with emulation.
        Need::Emulation(platform) => {
            (!in_vm && !emulates(machine, platform)).then(|| Missing::Emulation(platform.clone()))
        }
    }));
    Ok(found)
}

/// Whether Debian can be bootstrapped here: the tool, the keys that Debian signs with, and what the tool
/// needs where it is not root.
fn can_bootstrap(machine: &Machine) -> bool {
    let tools: &[&str] = if machine.uid == 0 { &["mmdebstrap"] } else { &["mmdebstrap", "newuidmap"] };
    tools.iter().all(|name| machine.program(name).is_some()) && machine.file(DEBIAN_KEYS).exists()
}

/// Whether the kernel runs programs of `platform`, also in containers, which see no interpreter outside:
/// flag F keeps it open.
pub fn emulates(machine: &Machine, platform: &Platform) -> bool {
    if platform.arch == Platform::of_this_machine().arch {
        return true;
    }
    let entry = machine.text(format!("/proc/sys/fs/binfmt_misc/qemu-{}", qemu_arch(platform)));
    let flags = entry.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    entry.starts_with("enabled") && flags.contains('F')
}

/// QEMU's name of a platform's architecture.
pub fn qemu_arch(platform: &Platform) -> &str {
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
        "default" if machine.os == "linux" => failure.hint("start it, or `unset DOCKER_HOST` to use the system's own"),
        "default" => failure.hint("start Docker Desktop (or OrbStack, or `colima start`) and run this again"),
        context => failure
            .hint(format!("start what the Docker context `{context}` belongs to (Docker Desktop, OrbStack, `colima start`, …)"))
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

/// Group memberships are given to a session when it begins.
pub fn login_again(machine: &Machine) -> Failure {
    Failure::failed(format!(
        "`{}` is in the group `docker`, but this session began before that",
        machine.user
    ))
    .hint("log out and in again; or, for this terminal only, run `newgrp docker` and then the same command")
}
