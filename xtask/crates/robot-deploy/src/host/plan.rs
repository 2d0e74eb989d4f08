//! Plans the commands that install what is missing: a pure function of the machine.

use std::collections::BTreeSet;

use super::apt::{self, SourcesFile};
use super::distribution::Distribution;
use super::machine::{Init, Machine};
use super::probe::{self, Need, qemu_arch};
use crate::config::Platform;
use crate::error::{Failure, Result};
use crate::process::{Cmd, LineFilter};

/// Log of a dockerd that runs without an init system.
pub(super) const DAEMON_LOG: &str = "/var/log/dockerd.log";
const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// Commands, in the order of execution.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub install: Vec<Cmd>,
    /// Starts the engine, unless its installation did.
    pub start: Option<Cmd>,
    /// Registers emulators with the kernel, unless their installation did.
    pub register: Vec<(Platform, Cmd)>,
    /// Adds the user to the group `docker`.
    pub join: Option<Cmd>,
}

impl Plan {
    pub(super) fn commands(&self) -> impl Iterator<Item = &Cmd> {
        let register = self.register.iter().map(|(_, cmd)| cmd);
        self.install.iter().chain(&self.start).chain(register).chain(&self.join)
    }
}

/// Returns the commands that install what is missing.
pub(super) fn plan(machine: &Machine, missing: &[Need]) -> Result<Plan> {
    let mut plan = Plan::default();
    let lacks = |what: &Need| missing.contains(what);
    let distribution = machine.distribution();
    // An installed emulator only needs to be registered again, for instance after a reboot.
    let packaged: Vec<Need> = missing.iter().filter(|what| !is_unpacked(machine, what)).cloned().collect();
    let packages = packages(&distribution, machine.has_docker_ce(), &packaged);
    match packages {
        Some(packages) => plan.install = install(machine, &distribution, missing, &packages)?,
        None if packaged.iter().any(is_packaged) => {
            return Err(install_manually(machine, &distribution, missing).into());
        }
        None => {}
    }
    if lacks(&Need::Engine) || lacks(&Need::RunningEngine) {
        plan.start = Some(start(machine));
    }
    plan.register = missing
        .iter()
        .filter_map(|what| match what {
            Need::Emulation(platform) => Some((platform.clone(), register(machine, platform))),
            _ => None,
        })
        .collect();
    // The group of a new engine has no members yet.
    let outside = machine.uid != 0 && !machine.docker_group().is_some_and(|(_, member)| member);
    if lacks(&Need::Membership) || (lacks(&Need::Engine) && outside) {
        plan.join = Some(machine.root_cmd(["usermod", "-aG", "docker", &machine.user]));
    }
    Ok(plan)
}

fn is_unpacked(machine: &Machine, missing: &Need) -> bool {
    match missing {
        Need::Emulation(platform) => machine.file(registration(platform)).exists(),
        _ => false,
    }
}

/// File that registers an emulator with the kernel.
fn registration(platform: &Platform) -> String {
    format!("/usr/lib/binfmt.d/qemu-{}.conf", qemu_arch(platform))
}

fn is_packaged(missing: &Need) -> bool {
    !matches!(missing, Need::RunningEngine | Need::Membership)
}

/// Returns the packages for what is missing; `None` on systems whose package names xtask does not know.
fn packages(distribution: &Distribution, docker_ce: bool, missing: &[Need]) -> Option<Vec<&'static str>> {
    if !matches!(distribution, Distribution::Ubuntu | Distribution::Debian | Distribution::Bookworm) {
        return None;
    }
    let all = missing.iter().flat_map(|need| packages_of(distribution, docker_ce, need)).copied();
    // Several needs may share a package: install it once, in the order of the needs.
    let mut seen = BTreeSet::new();
    Some(all.filter(|name| seen.insert(*name)).collect())
}

fn packages_of(distribution: &Distribution, docker_ce: bool, need: &Need) -> &'static [&'static str] {
    let ubuntu = *distribution == Distribution::Ubuntu;
    match need {
        Need::Client if docker_ce => &["docker-ce-cli"],
        // Ubuntu's engine package contains the client.
        Need::Client if ubuntu => &["docker.io"],
        Need::Client => &["docker-cli"],
        Need::Engine if docker_ce => &["docker-ce", "containerd.io"],
        Need::Engine => &["docker.io"],
        Need::Buildx if docker_ce => &["docker-buildx-plugin"],
        Need::Buildx => &["docker-buildx"],
        Need::Compose if docker_ce => &["docker-compose-plugin"],
        Need::Compose if ubuntu => &["docker-compose-v2"],
        Need::Compose => &["docker-compose"],
        // Without root, mmdebstrap uses a user namespace, which `newuidmap` from uidmap sets up.
        Need::Mmdebstrap => &["mmdebstrap", "debian-archive-keyring", "uidmap"],
        Need::Ssh => &["openssh-client"],
        Need::Shellcheck => &["shellcheck"],
        Need::Pyflakes => &["pyflakes3"],
        Need::Zsh => &["zsh"],
        Need::Fish => &["fish"],
        Need::Chromium if ubuntu => &["chromium-browser"],
        Need::Chromium => &["chromium"],
        Need::Zstd => &["zstd"],
        Need::Rsync => &["rsync"],
        Need::Emulation(_) if ubuntu => &["qemu-user-static", "binfmt-support", "mount"],
        Need::Emulation(_) if *distribution == Distribution::Bookworm => &["qemu-user-static", "mount"],
        Need::Emulation(_) => &["qemu-user-binfmt", "mount"],
        Need::RunningEngine | Need::Membership => &[],
    }
}

fn install(
    machine: &Machine,
    distribution: &Distribution,
    missing: &[Need],
    packages: &[&str],
) -> Result<Vec<Cmd>> {
    let mut commands = Vec::new();
    if packages.is_empty() {
        return Ok(commands);
    }
    if *distribution == Distribution::Bookworm && !machine.has_docker_ce() {
        commands.extend(add_next_release(machine, missing, packages)?);
    }
    if missing.contains(&Need::Engine) && !machine.file(DAEMON_JSON).exists() {
        // Configure the store before the package starts the engine: a later change would hide the images in
        // it.
        let dir = machine.file("/etc/docker");
        commands.push(machine.root_cmd(["mkdir", "-p", dir.as_str()]));
        commands.push(machine.write_cmd(DAEMON_JSON, "{\"features\":{\"containerd-snapshotter\":true}}\n"));
    }
    let apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    commands.push(machine.root_cmd(apt_get.into_iter().chain(["update"])).show_through("apt", apt_progress));
    // A machine that has just booted may hold the lock for its automatic upgrades.
    let options = ["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"];
    let argv = apt_get.into_iter().chain(options).chain(packages.iter().copied());
    commands.push(machine.root_cmd(argv).show_through("apt", apt_progress));
    Ok(commands)
}

/// Commands that make Docker's packages of the next Debian release available.
fn add_next_release(machine: &Machine, missing: &[Need], packages: &[&str]) -> Result<Vec<Cmd>> {
    let docker: Vec<&str> = packages.iter().copied().filter(|name| name.starts_with("docker")).collect();
    if docker.is_empty() {
        return Ok(Vec::new());
    }
    let source = apt::next_release(&sources(machine)).ok_or_else(|| {
        Failure::failed("cannot find the entry for Debian 12 itself in apt's sources")
            .hint("add Debian 13 (`trixie main`) as a source, pin it to 100, and install docker.io docker-cli docker-buildx docker-compose from it")
    })?;
    // Do not pin an installed engine: the next upgrade must not replace it.
    let pinned = match missing.contains(&Need::Engine) {
        true => &["docker.io", "docker-cli", "docker-buildx", "docker-compose"],
        false => docker.as_slice(),
    };
    Ok(vec![
        machine.write_cmd(apt::SOURCE_FILE, &source),
        machine.write_cmd(apt::PINS_FILE, &apt::pins(pinned)),
    ])
}

/// Returns the mirror that a Debian host fetches its packages from; `None` on other systems.
pub(super) fn debian_mirror(machine: &Machine) -> Option<String> {
    let release = machine.text("/etc/os-release");
    let value = |key: &str| release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    (value("ID") == Some("debian"))
        .then(|| apt::mirror(&sources(machine), value("VERSION_CODENAME")?))
        .flatten()
}

/// Filters the output of apt: keeps progress and errors, drops the lines that repeat for each package.
fn apt_progress() -> LineFilter {
    const REPEATED: [&str; 9] = [
        "Hit:",
        "Reading ",
        "Building ",
        "(Reading ",
        "Selecting ",
        "Preparing ",
        "Unpacking ",
        "Fetched ",
        "Need to get ",
    ];
    Box::new(|line| {
        let repeated = line.trim().is_empty() || REPEATED.iter().any(|start| line.starts_with(start));
        (!repeated).then(|| line.to_owned()).into_iter().collect()
    })
}

/// Reads apt's sources: the file, then the directory sorted by name, in apt's order.
fn sources(machine: &Machine) -> Vec<SourcesFile> {
    let read = |path: &str, name: &str| SourcesFile { name: name.to_owned(), text: machine.text(path) };
    let dir = "/etc/apt/sources.list.d";
    let entries = std::fs::read_dir(machine.file(dir)).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".list") || name.ends_with(".sources"));
    names.sort();
    let more = names.iter().map(|name| read(&format!("{dir}/{name}"), name));
    std::iter::once(read("/etc/apt/sources.list", "sources.list")).chain(more).collect()
}

fn start(machine: &Machine) -> Cmd {
    match machine.init() {
        Init::Systemd => machine.root_cmd(["systemctl", "enable", "--now", "docker"]),
        Init::Scripts => machine.root_cmd(["service", "docker", "start"]),
        Init::None => {
            // A new session, so that neither Ctrl-C nor closing the terminal ends the engine.
            let log = machine.file(DAEMON_LOG);
            let line = format!("setsid dockerd >{} 2>&1 </dev/null &", shell_words::quote(log.as_str()));
            machine.root_cmd(["sh", "-c", &line])
        }
    }
}

fn register(machine: &Machine, platform: &Platform) -> Cmd {
    match machine.init() {
        Init::Systemd => machine.root_cmd(["systemctl", "restart", "systemd-binfmt"]),
        Init::Scripts | Init::None => {
            let (kernel, emulator) = ("/proc/sys/fs/binfmt_misc", registration(platform));
            let script = format!(
                "{{ test -e {kernel}/register || mount -t binfmt_misc binfmt_misc {kernel}; }} \
                 && cat {emulator} >{kernel}/register"
            );
            machine.root_cmd(["sh", "-c", &script])
        }
    }
}

/// Error with instructions, for systems whose package names xtask does not know.
fn install_manually(machine: &Machine, distribution: &Distribution, missing: &[Need]) -> Failure {
    let failure = Failure::failed(format!("this machine lacks {}", probe::names(missing)));
    let engine_only =
        "then `sudo systemctl enable --now docker && sudo usermod -aG docker $USER`, and log in again";
    let failure = match distribution {
        Distribution::Fedora => failure
            .hint("`sudo dnf install moby-engine docker-cli docker-buildx docker-compose mmdebstrap openssh-clients`")
            .hint(engine_only),
        Distribution::Arch => failure
            .hint("`sudo pacman -S --needed docker docker-buildx docker-compose openssh`, and `mmdebstrap` from the AUR")
            .hint(engine_only),
        Distribution::MacOs => failure
            .hint("`brew install --cask docker` (or OrbStack), start it once, and confirm its dialogs")
            .hint("mmdebstrap needs Linux: set `image = \"…@sha256:…\"` instead of `debian` under `[bases]` in robots.toml"),
        Distribution::Other(name) => failure
            .hint(format!("xtask knows the package names of Debian 12 and later and of Ubuntu 22.04 and later, but not of {name}"))
            .hint("install Docker Engine, its plugins buildx and compose (v2), mmdebstrap and the OpenSSH client"),
        Distribution::Debian | Distribution::Bookworm | Distribution::Ubuntu => failure,
    };
    if machine.is_wsl() {
        return failure
            .hint("or enable this distribution in Docker Desktop: Settings, Resources, WSL integration");
    }
    failure
}
