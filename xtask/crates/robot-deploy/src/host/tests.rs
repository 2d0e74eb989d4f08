//! Fake machines, made of a directory and of programs on PATH: tests of the commands that run on them, and
//! their order.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::endpoint::Endpoint;
use super::engine::tests::CONTAINERD;
use super::machine::Machine;
use super::{Need, plan, probe, setup};
use crate::config::{Platform, Store};
use crate::error::hints_of;
use crate::process::Cmd;

const BOOKWORM: &str = "ID=debian\nVERSION_ID=\"12\"\n";
const TRIXIE: &str = "ID=debian\nVERSION_ID=\"13\"\n";
const NOBLE: &str = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n";

/// Installs the files of the packages that xtask looks for.
const APT_GET: &str = r#"
for word; do
    case $word in
    docker.io) cp "$ROOT/fakes/dockerd" "$ROOT/bin/"; [ -z "$WITH_CLIENT" ] || cp "$ROOT/fakes/docker" "$ROOT/bin/" ;;
    docker-cli) cp "$ROOT/fakes/docker" "$ROOT/bin/" ;;
    docker-buildx) : >"$ROOT/usr/libexec/docker/cli-plugins/docker-buildx" ;;
    docker-compose*) : >"$ROOT/usr/libexec/docker/cli-plugins/docker-compose" ;;
    mmdebstrap) cp "$ROOT/fakes/nothing" "$ROOT/bin/mmdebstrap" ;;
    uidmap) cp "$ROOT/fakes/nothing" "$ROOT/bin/newuidmap" ;;
    debian-archive-keyring) mkdir -p "$ROOT/usr/share/keyrings"; : >"$ROOT/usr/share/keyrings/debian-archive-keyring.gpg" ;;
    openssh-client) cp "$ROOT/fakes/nothing" "$ROOT/bin/ssh"; cp "$ROOT/fakes/nothing" "$ROOT/bin/ssh-keygen" ;;
    esac
done"#;
const DOCKER: &str = r#"
case $1 in
info) [ -e "$ROOT/running" ] && exec cat "$ROOT/info.json"
    echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' >&2 ;;
esac
exit 1"#;
/// Logs the configuration, which the engine reads when it starts.
const DOCKERD: &str = r#"
echo "configuration: $(cat "$ROOT/etc/docker/daemon.json" 2>&1)" >>"$ROOT/log"
[ -e "$ROOT/broken" ] && { echo 'failed to start daemon: no room'; exit 1; }
: >"$ROOT/running""#;

struct Fake {
    dir: tempfile::TempDir,
    machine: Machine,
}

impl Fake {
    fn new(os_release: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let machine = Machine {
            path: Some(root.join("bin").into_string()),
            os: "linux",
            uid: 0,
            groups: vec![0],
            user: "root".to_owned(),
            docker_config: root.join("home/.docker"),
            home: root.join("home"),
            endpoint: Endpoint {
                context: "default".to_owned(),
                host: "unix:///var/run/docker.sock".to_owned(),
            },
            engine_start: Duration::from_secs(5),
            root,
        };
        let fake = Self { dir, machine };
        fs_err::create_dir_all(fake.path().join("bin")).unwrap();
        for tool in ["sh", "tee", "cat", "cp", "mkdir"] {
            fs_err::os::unix::fs::symlink(format!("/bin/{tool}"), fake.path().join("bin").join(tool))
                .unwrap();
        }
        fake.file("etc/os-release", os_release);
        fake.file("usr/libexec/docker/cli-plugins/README", "");
        fake.file("etc/apt/preferences.d/README", "");
        let ours = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n";
        fake.file("etc/apt/sources.list.d/debian.sources", ours);
        fake.file("etc/group", "root:x:0:\ndocker:x:998:\n");
        fake.file("info.json", CONTAINERD);
        fake.program("bin/apt-get", APT_GET);
        fake.program("bin/env", "export \"$1\"; shift; exec \"$@\"");
        fake.program("bin/sudo", "exec \"$@\"");
        fake.program("bin/setsid", "exec \"$@\"");
        fake.program("bin/usermod", "");
        fake.program("fakes/docker", DOCKER);
        fake.program("fakes/dockerd", DOCKERD);
        fake.program("fakes/nothing", "");
        fs_err::create_dir_all(fake.path().join("var/log")).unwrap();
        fake
    }

    fn path(&self) -> &Utf8Path {
        &self.machine.root
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Writes a shell script that logs its call, except `docker info`.
    fn program(&self, name: &str, script: &str) {
        let root = self.path();
        let ubuntu = self.machine.text("/etc/os-release").contains("ubuntu");
        let client = if ubuntu { "1" } else { "" };
        let note = "case $1 in info) ;; *) echo \"${0##*/} $*\" >>\"$ROOT/log\" ;; esac";
        let script = format!("#!/bin/sh\nROOT={root} WITH_CLIENT={client}\n{note}\n{script}\n");
        // Another process writes the file: if a parallel test forked while we wrote, the file would be busy.
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let write = ["-c", "cat >\"$1\" && chmod +x \"$1\"", "sh", path.as_str()];
        Cmd::new("sh").args(write).stdin(script).run().unwrap();
    }

    /// A machine with everything installed and the engine running.
    fn complete(os_release: &str) -> Self {
        let fake = Self::new(os_release);
        for name in ["docker", "dockerd"] {
            let [from, to] = ["fakes", "bin"].map(|dir| fake.path().join(dir).join(name).into_string());
            Cmd::new("cp").args([from, to]).run().unwrap();
        }
        for name in ["mmdebstrap", "newuidmap", "ssh", "ssh-keygen"] {
            fake.program(&format!("bin/{name}"), "");
        }
        fake.file("usr/share/keyrings/debian-archive-keyring.gpg", "");
        fake.file("usr/libexec/docker/cli-plugins/docker-buildx", "");
        fake.file("home/.docker/cli-plugins/docker-compose", "");
        fake.file("running", "");
        fake
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn installed(&self) -> Vec<String> {
        let log = self.log();
        let line = log.lines().find(|line| line.starts_with("apt-get install")).unwrap_or_default();
        line.split_whitespace().skip(6).map(str::to_owned).collect()
    }

    fn missing(&self) -> Vec<String> {
        let found = probe::look(&self.machine, &Need::ALWAYS).unwrap();
        found.missing.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_fresh_debian_12_gets_four_packages_of_the_next_release() {
    let fake = Fake::new(BOOKWORM);
    let engine = setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap().unwrap();
    assert_eq!(engine.store, Store::Containerd);
    let source = fake.machine.text("/etc/apt/sources.list.d/xtask-trixie.sources");
    assert_eq!(source, "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n");
    let pins = fake.machine.text("/etc/apt/preferences.d/xtask-trixie");
    assert!(pins.contains("Package: docker.io docker-cli docker-buildx docker-compose\n"), "{pins}");
    let expected = [
        "docker-cli",
        "docker.io",
        "docker-buildx",
        "docker-compose",
        "mmdebstrap",
        "debian-archive-keyring",
        "uidmap",
        "openssh-client",
    ];
    assert_eq!(fake.installed(), expected);
    let order = ["apt-get update", "apt-get install", "dockerd", "configuration: {\"features\":"];
    let log = fake.log();
    let places = order.map(|line| log.find(line).unwrap_or_else(|| panic!("no `{line}` in:\n{log}")));
    assert!(places.is_sorted(), "{log}");

    fs_err::remove_file(fake.path().join("log")).unwrap();
    setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap().unwrap();
    assert_eq!(fake.log(), "", "the second time nothing is left to do");
}

#[test]
fn a_fresh_debian_13_needs_no_other_source() {
    let fake = Fake::new(TRIXIE);
    setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap().unwrap();
    assert!(!fake.machine.file("/etc/apt/sources.list.d/xtask-trixie.sources").exists());
    assert!(fake.log().contains("configuration: {\"features\":{\"containerd-snapshotter\":true}}"));
}

#[test]
fn a_fresh_ubuntu_gets_packages_by_ubuntus_names() {
    let fake = Fake::new(NOBLE);
    setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap().unwrap();
    let expected = [
        "docker.io",
        "docker-buildx",
        "docker-compose-v2",
        "mmdebstrap",
        "debian-archive-keyring",
        "uidmap",
        "openssh-client",
    ];
    assert_eq!(fake.installed(), expected);
}

#[test]
fn a_browser_is_installed_under_the_distributions_name() {
    for (release, package) in [(TRIXIE, "chromium"), (NOBLE, "chromium-browser")] {
        let fake = Fake::complete(release);
        assert_eq!(probe::look(&fake.machine, &[Need::Chromium]).unwrap().missing, [Need::Chromium]);
        let plan = plan::plan(&fake.machine, &[Need::Chromium]).unwrap();
        let install = plan.install.last().map(ToString::to_string).unwrap_or_default();
        assert!(install.ends_with(&format!(" {package}")), "{install}");
        fake.program(&format!("bin/{package}"), "");
        assert!(probe::look(&fake.machine, &[Need::Chromium]).unwrap().missing.is_empty());
    }
}

#[test]
fn an_installed_engine_is_not_changed() {
    let fake = Fake::complete(BOOKWORM);
    fs_err::remove_file(fake.path().join("usr/libexec/docker/cli-plugins/docker-buildx")).unwrap();
    let classic = CONTAINERD.replace("io.containerd.snapshotter.v1", "extfs");
    fake.file("info.json", &classic);
    let engine = setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap().unwrap();
    assert_eq!(engine.store, Store::Classic);
    assert_eq!(fake.installed(), ["docker-buildx"]);
    assert!(!fake.machine.file("/etc/docker/daemon.json").exists());
    let pins = fake.machine.text("/etc/apt/preferences.d/xtask-trixie");
    assert!(pins.contains("Package: docker-buildx\n"), "the engine must not be upgraded later: {pins}");
}

#[test]
fn a_configured_engine_keeps_its_configuration() {
    let fake = Fake::new(TRIXIE);
    fake.file("etc/docker/daemon.json", "{}");
    setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap();
    assert_eq!(fake.machine.text("/etc/docker/daemon.json"), "{}");
}

#[test]
fn an_engine_that_does_not_run_is_started_and_nothing_installed() {
    let fake = Fake::complete(TRIXIE);
    fs_err::remove_file(fake.path().join("running")).unwrap();
    assert_eq!(fake.missing(), ["a running Docker Engine (it is installed, but stopped)"]);
    setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap().unwrap();
    assert!(!fake.log().contains("apt-get"), "{}", fake.log());

    let with = |path: &str, text: &str| {
        fake.file(path, text);
        plan::plan(&fake.machine, &[Need::RunningEngine]).unwrap().start.unwrap().argv().join(" ")
    };
    assert!(with("proc/1/comm", "tini\n").starts_with("sh -c setsid dockerd >"));
    assert_eq!(with("proc/1/comm", "init\n"), "service docker start");
    assert_eq!(with("run/systemd/system/x", ""), "systemctl enable --now docker");
}

#[test]
fn the_log_of_an_engine_that_cannot_start_is_shown() {
    let mut fake = Fake::complete(TRIXIE);
    fs_err::remove_file(fake.path().join("running")).unwrap();
    fake.file("broken", "");
    fake.machine.engine_start = Duration::from_secs(600);
    let error = setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("does not start") && text.contains("no room"), "{text}");
}

#[test]
fn an_engine_with_too_large_a_build_cache_is_explained() {
    let mut fake = Fake::complete(TRIXIE);
    fs_err::remove_file(fake.path().join("running")).unwrap();
    fake.program("bin/dockerd", "echo 'context deadline exceeded'; exit 1");
    fake.machine.engine_start = Duration::from_secs(1);
    let error = setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap_err();
    let hints = crate::error::hints_of(&error).join("; ");
    assert!(hints.contains("remove its build cache"), "{hints}");
}

#[test]
fn an_engine_that_is_shutting_down_is_waited_for() {
    let fake = Fake::complete(TRIXIE);
    fs_err::remove_file(fake.path().join("running")).unwrap();
    let busy = "[ -e \"$ROOT/gone\" ] || { : >\"$ROOT/gone\"; echo 'failed to start daemon: delete docker.pid'; exit 1; }";
    fake.program("bin/dockerd", &format!("{busy}\n: >\"$ROOT/running\""));
    setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap().unwrap();
    assert_eq!(fake.log().matches("setsid dockerd").count(), 2, "{}", fake.log());
}

#[test]
fn a_user_joins_the_group_and_learns_to_log_in_again() {
    let mut fake = Fake::new(TRIXIE);
    fake.machine.uid = 1000;
    fake.machine.user = "ada".to_owned();
    let error = setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap_err();
    let log = fake.log();
    assert!(log.contains("sudo usermod -aG docker ada\n") && log.contains("sudo env "), "{log}");
    assert!(hints_of(&error).join("\n").contains("newgrp docker"), "{error:#}");

    // A member, but this session is older.
    fake.file("etc/group", "docker:x:998:ada\n");
    fake.program("bin/docker", "echo 'permission denied while trying to connect: docker.sock' >&2; exit 1");
    let error = setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap_err();
    assert!(error.to_string().contains("this session began before that"), "{error:#}");

    // Not a member: one command fixes it.
    fake.file("etc/group", "docker:x:998:adam\n");
    assert_eq!(fake.missing(), ["the right to use Docker (group `docker`)"]);
}

#[test]
fn dockers_own_packages_are_not_mixed_with_debians() {
    let fake = Fake::complete(BOOKWORM);
    fake.file("var/lib/dpkg/info/docker-ce-cli.list", "");
    let missing = [Need::Buildx, Need::Compose];
    let plan = plan::plan(&fake.machine, &missing).unwrap();
    let commands: Vec<String> = plan.commands().map(ToString::to_string).collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands[1].ends_with(" docker-buildx-plugin docker-compose-plugin"), "{commands:?}");
}

#[test]
fn emulation_is_what_the_kernel_says() {
    let fake = Fake::complete(TRIXIE);
    let foreign = ["x86_64", "aarch64"].map(Platform::from_machine);
    let foreign = foreign.into_iter().find(|each| *each != Platform::of_this_machine()).unwrap();
    let entry = format!("proc/sys/fs/binfmt_misc/qemu-{}", probe::qemu_arch(&foreign));
    assert!(!probe::emulates(&fake.machine, &foreign));
    fake.file(&entry, "enabled\ninterpreter /usr/bin/qemu\nflags: OC\n");
    assert!(!probe::emulates(&fake.machine, &foreign), "containers would not find the interpreter");
    fake.file(&entry, "enabled\ninterpreter /usr/bin/qemu\nflags: OCF\n");
    assert!(probe::emulates(&fake.machine, &foreign));
    assert!(probe::emulates(&fake.machine, &Platform::of_this_machine()));
}

#[test]
fn unknown_systems_get_instructions() {
    for (os_release, command) in [
        ("ID=fedora\nVERSION_ID=42\n", "sudo dnf install moby-engine"),
        ("ID=arch\n", "sudo pacman -S"),
        ("ID=alpine\nNAME=Alpine\n", "not of Alpine"),
    ] {
        let fake = Fake::new(os_release);
        let error = setup::ensure(&fake.machine, true, &Need::ALWAYS).unwrap_err();
        assert!(hints_of(&error).join("\n").contains(command), "{error:#}");
        assert!(fake.dir.path().exists() && fake.log().is_empty(), "nothing was run");
    }
}

#[test]
fn an_engine_elsewhere_is_refused() {
    let mut fake = Fake::complete(TRIXIE);
    fake.machine.endpoint.host = "ssh://nuc@192.168.1.64".to_owned();
    let error = setup::engine(&fake.machine).unwrap_err();
    assert!(error.to_string().contains("another machine"), "{error:#}");
}
