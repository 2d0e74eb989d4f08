//! A lab without hardware: a small workspace, its own HOME, and a PATH with fakes and a few real programs.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

/// Real programs that scripts and xtask itself may use.
const REAL: [&str; 15] = [
    "cat", "chmod", "cp", "df", "env", "grep", "kill", "ln", "mkdir", "mv", "rm", "sed", "sh", "sleep", "tar",
];

/// Time limit for every condition that a test waits for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A fake runs the first of its rules that matches `$*`, the latest rule first; without a match it succeeds
/// silently. Each call is a record in the log: arguments end with U+001F, records with U+001E.
const FAKE: &str = r#"#!/bin/sh
lab=LAB
name=${0##*/}
record=$name$(printf '\037')
for argument; do record=$record$argument$(printf '\037'); done
printf '%s\036' "$record" >>"$lab/log"
for last; do :; done
. "$lab/rules/$name"
"#;

pub(crate) struct Lab {
    _directory: tempfile::TempDir,
    /// Holds all other directories of the lab.
    pub dir: Utf8PathBuf,
    /// The directory of `robots.toml`.
    pub root: Utf8PathBuf,
    pub home: Utf8PathBuf,
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Lab {
    /// A lab with a real robot `main`, whose fakes (`docker`, `ssh`, …) answer as if everything works.
    pub(crate) fn new() -> Self {
        Self::with(&robot("main"))
    }

    pub(crate) fn with(robots: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("lab").tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        let lab = Self { root: dir.join("work space"), home: dir.join("home"), dir, _directory: directory };
        for made in ["bin", "rules", "tmp", "home/.ssh", "home/.docker/cli-plugins"] {
            fs::create_dir_all(lab.dir.join(made)).unwrap();
        }
        fs::write(lab.dir.join("log"), "").unwrap();
        for program in REAL {
            let path = which::which(program).unwrap();
            std::os::unix::fs::symlink(path, lab.dir.join("bin").join(program)).unwrap();
        }
        // xtask looks for plugins as files.
        for plugin in ["docker-buildx", "docker-compose"] {
            fs::write(lab.home.join(".docker/cli-plugins").join(plugin), "").unwrap();
        }
        for (path, text) in workspace_files(robots) {
            lab.write(path, &text);
        }
        for program in ["docker", "git", "mmdebstrap", "ssh", "ssh-keygen", "sudo"] {
            lab.install(program);
        }
        super::answers::install_answers(&lab);
        lab
    }

    /// Writes a file of the workspace.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Installs a fake without rules.
    pub(crate) fn install(&self, program: &str) {
        fs::write(self.dir.join("rules").join(program), "").unwrap();
        let path = self.dir.join("bin").join(program);
        // Another process writes it: a parallel test that forks while we write would keep the file busy.
        let write = ["-c", "cat >\"$1\" && chmod +x \"$1\"", "sh", path.as_str()];
        let (success, said) = super::shell::run("sh", &write, &FAKE.replace("LAB", self.dir.as_str()));
        assert!(success, "{said}");
    }

    /// Name of an image in the repository of the first run of this lab's user.
    pub(crate) fn own_name(&self, image: &str) -> String {
        let home = self.home.as_str();
        let hash = Sha256::new().chain_update(home.len().to_le_bytes()).chain_update(home).finalize();
        format!("eurobot/{}-0:{image}", &format!("{hash:x}")[..12])
    }

    /// Removes a program from PATH.
    pub(crate) fn remove(&self, program: &str) {
        fs::remove_file(self.dir.join("bin").join(program)).unwrap();
    }

    /// From now on `program` runs `script` if its arguments match the shell pattern; `$lab` is the lab's
    /// directory, `$last` the last argument.
    pub(crate) fn on(&self, program: &str, pattern: &str, script: &str) {
        let path = self.dir.join("rules").join(program);
        let older = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("case $* in ({pattern})\n{script}\nexit;; esac\n{older}")).unwrap();
    }

    /// `program` prints `text` if its arguments match.
    pub(crate) fn says(&self, program: &str, pattern: &str, text: &str) {
        self.on(program, pattern, &format!("cat <<'END'\n{text}\nEND"));
    }

    /// `program` fails with `text` on stderr if its arguments match.
    pub(crate) fn fails(&self, program: &str, pattern: &str, code: u8, text: &str) {
        self.on(program, pattern, &format!("cat >&2 <<'END'\n{text}\nEND\nexit {code}"));
    }

    /// The command `cargo xtask`, isolated from this machine's environment.
    #[expect(clippy::disallowed_methods, reason = "the program under test is no process of the program")]
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .env_clear()
            .env("PATH", self.dir.join("bin"))
            .env("HOME", &self.home)
            .env("TMPDIR", self.dir.join("tmp"))
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }

    /// Runs xtask until it ends.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs xtask with 1 GB of address space and files of at most 50 MB.
    #[expect(clippy::disallowed_methods, reason = "the program under test is no process of the program")]
    pub(crate) fn run_small(&self, args: &[&str]) -> Ran {
        let program = self.command(args);
        let mut shell = Command::new(self.dir.join("bin/sh"));
        shell
            .args(["-c", "ulimit -v 1000000; ulimit -f 100000; exec \"$0\" \"$@\""])
            .arg(program.get_program());
        shell.args(program.get_args()).current_dir(&self.root).env_clear().stdin(Stdio::null());
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.output().unwrap().into()
    }

    /// Runs a script that a dry run printed.
    pub(crate) fn run_script(&self, script: &str) {
        let (success, said) = super::shell::run("sh", &["-s"], script);
        assert!(success, "{said}");
    }

    /// Starts xtask and leaves it running; [`Running::end`] reads its output.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child }
    }

    /// Waits until the condition is true.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(
                begin.elapsed() < TIMEOUT,
                "waited for {what}; the calls were\n{}",
                self.calls().join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a call that starts with `beginning`.
    pub(crate) fn wait_for_call(&self, beginning: &str) {
        self.wait_for(beginning, || self.calls().iter().any(|call| call.starts_with(beginning)));
    }

    /// All calls of fakes so far, in order, quoted for a shell.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).unwrap();
        log.split_terminator('\u{1e}')
            .map(|record| shell_words::join(record.split_terminator('\u{1f}')))
            // The question for the options that `ssh` knows, which reaches no robot.
            .filter(|call| !call.starts_with("ssh -F none -G "))
            .collect()
    }

    pub(crate) fn calls_of(&self, beginning: &str) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.starts_with(beginning)).collect()
    }

    /// Every file in the workspace, HOME and TMPDIR with its content.
    pub(crate) fn files(&self) -> Vec<(Utf8PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for top in [&self.root, &self.home, &self.dir.join("tmp")] {
            collect(top, &mut found);
        }
        found.sort();
        found
    }

    /// Content of a file in the lab's directory.
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        fs::read(self.dir.join(path)).unwrap_or_default()
    }

    /// From now on the robot reports that it runs the last release that it received.
    pub(crate) fn remember_release(&self) {
        let calls = self.calls_of("ssh ");
        let start = calls.iter().rfind(|call| call.contains(" launch eurobot ")).unwrap();
        let words = start.rsplit(" launch eurobot ").next().unwrap();
        let id = words.split(' ').nth(1).unwrap().to_owned();
        let archive = self.bytes("release.tar.gz");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice()));
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let services = entries.find(|entry| entry.path().unwrap().ends_with("services")).unwrap();
        let services = std::io::read_to_string(services).unwrap();
        let hash = |service: &str| {
            let line = services.lines().find(|line| line.split(' ').nth(2) == Some(service)).unwrap();
            line.split(' ').next().unwrap().to_owned()
        };
        let known = fs::read_to_string(self.dir.join("containers")).unwrap();
        let container = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
            ["container", service, ref rest @ .., _] => {
                format!("container\t{service}\t{}\t{}\n", rest.join("\t"), hash(service))
            }
            _ => format!("{line}\n"),
        };
        let mut containers: String = known.lines().map(container).collect();
        containers.push_str(&format!("release\t{id}\n"));
        fs::write(self.dir.join("containers"), containers).unwrap();
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.dir.join(path).exists()
    }

    /// Returns whether all connections to robots have ended.
    pub(crate) fn all_masters_are_gone(&self) -> bool {
        self.all_gone("masters")
    }

    /// Returns whether all processes have ended whose ids fakes wrote into a file.
    pub(crate) fn all_gone(&self, file: &str) -> bool {
        let numbers = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        numbers.lines().all(|number| !super::shell::run("kill", &["-0", number], "").0)
    }

    pub(crate) fn temporary_files(&self) -> Vec<Utf8PathBuf> {
        let mut found = Vec::new();
        collect(&self.dir.join("tmp"), &mut found);
        found.into_iter().map(|(path, _)| path).collect()
    }
}

fn collect(dir: &Utf8Path, found: &mut Vec<(Utf8PathBuf, Vec<u8>)>) {
    for entry in dir.read_dir_utf8().unwrap() {
        let path = entry.unwrap().into_path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            collect(&path, found);
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr contains all of these, in this order.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        in_order(&self.stderr, parts);
        self
    }

    /// Fails unless stdout contains all of these, in this order.
    #[track_caller]
    pub(crate) fn shows(self, parts: &[&str]) -> Self {
        in_order(&self.stdout, parts);
        self
    }
}

/// Fails unless `text` contains all `parts`, in this order.
#[track_caller]
pub(crate) fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("`{part}` is missing, or out of order, in\n{text}") };
        rest = &rest[at + part.len()..];
    }
}

/// A run that has not ended.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Sends xtask a signal: `INT`, `TERM`.
    #[expect(clippy::disallowed_methods, reason = "tests send signals with kill(1)")]
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until xtask ends.
    pub(crate) fn end(self) -> Ran {
        self.child.wait_with_output().unwrap().into()
    }
}

/// The `[robots.NAME]` table of a real robot, which is not waited for if it does not answer.
pub(crate) fn robot(name: &str) -> String {
    let platform = super::answers::PLATFORM;
    format!(
        "[robots.{name}]\nhost = \"nuc@{name}.lab\"\nplatform = \"{platform}\"\n\
         reconnect = 0\nenv = {{ ROS_DOMAIN_ID = \"7\" }}\nenv_files = [\"docker/match.env\"]\n"
    )
}

/// The `[robots.NAME]` table of a simulated robot.
pub(crate) fn simulated(name: &str) -> String {
    format!("[robots.{name}]\nsimulated = true\n")
}

fn workspace_files(robots: &str) -> Vec<(&'static str, String)> {
    let package = |name: &str, depends: &str| {
        format!("<package format=\"3\">\n  <name>{name}</name>\n  {depends}\n</package>\n")
    };
    let toml = "[project]\nname = \"eurobot\"\n\n[bases.ros]\ndebian = \"trixie\"\n\n\
                [images.navigation]\npackages = [\"navigation\"]\n\n\
                [images.camera]\npackages = [\"camera\"]\n\n";
    vec![
        ("robots.toml", format!("{toml}{robots}")),
        ("robots.known_hosts", "main ssh-ed25519 AAAA\n".to_owned()),
        ("docker/match.env", "API_TOKEN=swordfish\n".to_owned()),
        ("docker/compose.yaml", "services: {}\n".to_owned()),
        ("docker/ros.Dockerfile", "FROM base AS runtime\nARG RUN_DEPENDENCIES\nFROM runtime AS build-tools\nARG BUILD_DEPENDENCIES\nCOPY resolve-dependencies /\nFROM build-tools AS dev-shell\n".to_owned()),
        ("ros_ws/src/msgs/package.xml", package("msgs", "")),
        ("ros_ws/src/navigation/package.xml", package("navigation", "<depend>msgs</depend>")),
        ("ros_ws/src/camera/package.xml", package("camera", "<depend>msgs</depend>")),
    ]
}
