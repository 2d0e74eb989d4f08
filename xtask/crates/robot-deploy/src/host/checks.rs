//! Checks of this machine for `cargo xtask doctor`.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use camino::Utf8Path;

use super::engine::{self, Answer, Engine};
use super::machine::Machine;
use super::probe;
use crate::config::{Platform, Store, Workspace};
use crate::disk;
use crate::doctor::{Check, Outcome, Source};
use crate::error::Result;
use crate::process::Cmd;

const SCOPE: &str = "host";
const SETUP: &str = "`cargo xtask setup` installs it";
/// Port of the robots' registries. The tunnel listens on the same port here if it is free.
const REGISTRY_PORT: u16 = 5000;
/// Bytes that an edit needs at most, and that a first build of bases, images and BuildKit's cache needs at most.
const SPACE: [u64; 2] = [2_000_000_000, 10_000_000_000];
/// Records of BuildKit's cache that an engine has read in good time.
const RECORDS: usize = 3_000;
/// A tool that has not answered by now hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// Returns the checks of this machine. `workspace` adds checks that its robots need.
pub fn sources(workspace: Option<&Workspace>) -> Result<Vec<Source<'_>>> {
    let machine = Machine::this()?;
    let mut sources: Vec<Source<'_>> = Vec::new();
    for (name, look) in [
        ("buildx", buildx as fn(&Machine) -> Outcome),
        ("compose", compose),
        ("mmdebstrap", mmdebstrap),
        ("ssh", ssh),
        ("ssh keys", ssh_keys),
        ("port 5000", |machine| port(machine, REGISTRY_PORT)),
        ("network", |_| network(|name| std::env::var(name).ok())),
    ] {
        let machine = machine.clone();
        sources.push(Box::new(move || vec![Check::new(SCOPE, name, look(&machine))]));
    }
    if let Some(workspace) = workspace {
        let machine = machine.clone();
        let root = &workspace.root;
        sources
            .push(Box::new(move || vec![Check::new(SCOPE, "disk of the workspace", disk(&machine, root))]));
    }
    let robots = workspace.iter().flat_map(|workspace| workspace.robots.values());
    let platforms: BTreeSet<Platform> = robots.map(|robot| robot.platform.clone()).collect();
    sources.insert(0, Box::new(move || of_engine(&machine, &platforms)));
    Ok(sources)
}

/// Checks the engine, and everything that depends on it.
fn of_engine(machine: &Machine, platforms: &BTreeSet<Platform>) -> Vec<Check> {
    let lacking = match engine::ask(machine) {
        Ok(Answer::Engine(engine)) => return of_running_engine(machine, &engine, platforms),
        Ok(Answer::NoClient) => Outcome::bad("the `docker` client is not installed", SETUP),
        Ok(Answer::Silent(message) | Answer::Denied(message)) => {
            Outcome::bad(message, "run `cargo xtask setup`: it starts the engine, or says how to get access")
        }
        Err(error) => Outcome::error(&error),
    };
    vec![Check::new(SCOPE, "engine", lacking)]
}

fn of_running_engine(machine: &Machine, engine: &Engine, platforms: &BTreeSet<Platform>) -> Vec<Check> {
    let check = |name, outcome| Check::new(SCOPE, name, outcome);
    let version = format!("{} on {} ({})", engine.version, engine.operating_system, engine.platform);
    let mut checks = vec![check("engine", Outcome::good(version)), check("image store", store(engine))];
    if !engine.trusts_loopback(REGISTRY_PORT) {
        let problem = "the engine does not allow plain HTTP to registries on 127.0.0.1, where the tunnels to robots listen";
        let remedy =
            "add \"127.0.0.0/8\" to `insecure-registries` in its daemon.json, and restart the engine";
        checks.push(check("loopback registry", Outcome::bad(problem, remedy)));
    }
    if !engine.in_vm {
        // The system's own containerd stores images outside of the engine's data directory.
        let roots = [engine.data_root.as_path(), Utf8Path::new("/var/lib/containerd")];
        let root = roots.into_iter().rfind(|root| machine.file(root).exists());
        let root = root.unwrap_or(Utf8Path::new("/"));
        checks.push(check("disk of the engine", disk(machine, &machine.file(root))));
    }
    checks.push(check("build cache", build_cache(machine)));
    let foreign = platforms.iter().filter(|platform| **platform != engine.platform);
    checks.extend(foreign.map(|platform| check("emulation", emulation(machine, engine, platform))));
    checks
}

fn store(engine: &Engine) -> Outcome {
    match engine.store {
        Store::Containerd => Outcome::good("containerd"),
        Store::Classic => Outcome::note_with(
            "classic: works, but exports and compresses images slowly",
            "{\"features\":{\"containerd-snapshotter\":true}} in /etc/docker/daemon.json switches to containerd; \
             images in the classic store stay hidden until it is switched back",
        ),
    }
}

/// Counts the records of BuildKit's cache. An engine reads them all when it starts, and gives up after 10 s: one
/// with 4,500 records failed so on two slow cores.
fn build_cache(machine: &Machine) -> Outcome {
    let listed = ask(machine.cmd("docker").args(["buildx", "du"])).unwrap_or_default();
    let reclaimable = |line: &&str| matches!(line.split_whitespace().nth(1), Some("true" | "false"));
    let records = listed.lines().filter(reclaimable).count();
    let text = format!("{records} records");
    if records <= RECORDS {
        return Outcome::good(text);
    }
    Outcome::note_with(
        format!("{text}, which the engine reads at its start, for 10 s at most"),
        "`docker builder prune --all --filter until=48h` removes what was not used for two days",
    )
}

fn emulation(machine: &Machine, engine: &Engine, platform: &Platform) -> Outcome {
    if engine.in_vm || probe::emulates(machine, platform) {
        Outcome::good(platform.to_string())
    } else {
        Outcome::bad(
            format!("robots need images for {platform}, but programs for it do not run on this machine"),
            "`cargo xtask setup --emulation` installs the emulator",
        )
    }
}

fn buildx(machine: &Machine) -> Outcome {
    let answer = ask(machine.cmd("docker").args(["buildx", "version"]));
    answer.map_or_else(missing, |line| Outcome::good(line.split_whitespace().nth(1).unwrap_or(&line)))
}

fn compose(machine: &Machine) -> Outcome {
    ask(machine.cmd("docker").args(["compose", "version", "--short"])).map_or_else(missing, Outcome::good)
}

fn mmdebstrap(machine: &Machine) -> Outcome {
    if machine.os != "linux" {
        return Outcome::note("needs Linux; bases with `image = …` do not need it");
    }
    let answer = ask(machine.cmd("mmdebstrap").arg("--version"));
    answer.map_or_else(missing, |line| Outcome::good(line.trim_start_matches("mmdebstrap ")))
}

fn ssh(machine: &Machine) -> Outcome {
    if machine.program("ssh-keygen").is_none() {
        return Outcome::bad("`ssh-keygen` is not installed", SETUP);
    }
    // `ssh -V` prints to stderr.
    let answer = ask(machine.cmd("sh").args(["-c", "ssh -V 2>&1"]));
    answer.map_or_else(missing, |line| Outcome::good(line.split(',').next().unwrap_or(&line)))
}

fn ask(cmd: Cmd) -> Result<String> {
    cmd.deadline(DEADLINE).read()
}

fn missing(error: anyhow::Error) -> Outcome {
    Outcome::bad(error.to_string(), SETUP)
}

/// Looks for SSH keys, in the agent and in files.
fn ssh_keys(machine: &Machine) -> Outcome {
    let listed = ask(machine.cmd("ssh-add").arg("-l")).unwrap_or_default();
    let in_agent = listed.lines().filter(|line| line.contains("SHA256:")).count();
    let files = private_keys(&machine.home.join(".ssh"));
    match (in_agent, files.is_empty()) {
        (0, true) => Outcome::note_with(
            "no SSH key in the agent or in ~/.ssh: real robots would ask for a password",
            "`ssh-keygen -t ed25519`, then `cargo xtask setup-robot --robot NAME`",
        ),
        (0, false) => Outcome::good(format!("in ~/.ssh: {}", files.join(", "))),
        (count, true) => Outcome::good(format!("{count} in the agent")),
        (count, false) => Outcome::good(format!("{count} in the agent; in ~/.ssh: {}", files.join(", "))),
    }
}

/// Returns the private keys in a directory: files for which there is also a `.pub` file.
fn private_keys(dir: &Utf8Path) -> Vec<String> {
    let entries = dir.read_dir_utf8().into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().strip_suffix(".pub").map(str::to_owned))
        .filter(|name| dir.join(name).is_file())
        .collect();
    names.sort();
    names
}

/// Checks whether a loopback port is free. A port in use is only a note, since tunnels use the next one.
fn port(machine: &Machine, port: u16) -> Outcome {
    if TcpListener::bind(("127.0.0.1", port)).is_ok() {
        return Outcome::good("free");
    }
    if machine.os == "macos" {
        return Outcome::note_with(
            "in use, probably by AirPlay; tunnels use the next free port",
            "System Settings, General, AirDrop & Handoff: switch off AirPlay Receiver",
        );
    }
    let listeners = ask(machine.cmd("ss").args(["-Hltnp", &format!("sport = :{port}")])).unwrap_or_default();
    let holder = listeners.split("users:((\"").nth(1).and_then(|rest| rest.split('"').next());
    let by = holder.map(|name| format!(" by `{name}`")).unwrap_or_default();
    Outcome::note(format!("in use{by}; tunnels use the next free port"))
}

/// Checks the free space of the file system with `path`.
fn disk(machine: &Machine, path: &Utf8Path) -> Outcome {
    let text = match ask(machine.cmd("df").args(["-Pk", path.as_str()])) {
        Ok(text) => text,
        Err(error) => return Outcome::note(format!("cannot determine the free space: {error:#}")),
    };
    match disk::free_in(&text) {
        Some(free) => {
            let remedy = "`docker builder prune` and `docker image prune` remove unused data";
            Outcome::space(free, &format!("at `{path}`"), SPACE, remedy)
        }
        None => Outcome::note(format!("cannot read the output of `df` for `{path}`: {text}")),
    }
}

/// Looks for a proxy or custom certificates, which may explain a failed download.
fn network(variable: impl Fn(&str) -> Option<String>) -> Outcome {
    let set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    let names = [
        "https_proxy",
        "HTTPS_PROXY",
        "http_proxy",
        "HTTP_PROXY",
        "SSL_CERT_FILE",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
    ];
    let found: Vec<&str> = names.into_iter().filter(set).collect();
    if found.is_empty() {
        return Outcome::good("no proxy and no custom certificates");
    }
    Outcome::note(format!("{} set: this network may have a proxy or intercept TLS", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_noted_by_name_never_by_value() {
        let outcome = network(|name| (name == "https_proxy").then(|| "http://user:secret@proxy".to_owned()));
        assert_eq!(outcome, Outcome::note("https_proxy set: this network may have a proxy or intercept TLS"));
        assert_eq!(network(|_| None), Outcome::good("no proxy and no custom certificates"));
    }

    #[test]
    fn a_port_in_use_is_only_a_note() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let outcome = port(&Machine::this().unwrap(), taken);
        assert!(
            matches!(&outcome, Outcome::Note { detail, .. } if detail.starts_with("in use")),
            "{outcome:?}"
        );
    }

    #[test]
    fn keys_are_files_with_a_public_half() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        for name in ["id_ed25519", "id_ed25519.pub", "known_hosts", "lost.pub"] {
            fs_err::write(dir.join(name), "").unwrap();
        }
        assert_eq!(private_keys(dir), ["id_ed25519"]);
        assert!(private_keys(&dir.join("nowhere")).is_empty());
    }
}
