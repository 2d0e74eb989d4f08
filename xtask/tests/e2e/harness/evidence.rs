//! Logs of a failed test: `target/xtask/test-logs/MODULE.TEST/`, for developers and as a CI artifact.

use std::fs;
use std::path::{Path, PathBuf};

use super::lab::Lab;
use super::shell::command;
use super::transcript::Transcript;
use super::workspace::REPOSITORY;
use super::{MAIN, Robot, SECONDARY};

/// Files about a robot, and the commands that write them.
const OF_A_ROBOT: [(&str, &str); 8] = [
    ("containers.txt", "docker ps --all --no-trunc"),
    ("images.txt", "docker image ls --all --digests"),
    ("processes.txt", "ps axf"),
    ("disks.txt", "df -h; docker system df"),
    (
        "events.txt",
        "cd /home/robot/.deploy && tail -n 5 -v */releases/*/events | tail -n 20; cat */activation.log",
    ),
    ("dockerd.log", "tail -n 2000 /var/log/dockerd.log"),
    (
        "containers.log",
        "for it in $(docker ps --all --quiet); do docker inspect --format '--- {{.Name}} {{json .State}}' $it; \
         docker logs --timestamps --tail 200 $it; done",
    ),
    (
        "releases.txt",
        "cd /home/robot/.deploy && ls -lR --time-style=full-iso . && \
         find . -type f ! -name compose.json -size -100k -exec tail -n 200 -v {} +",
    ),
];

/// Directory of the logs of all failed tests.
pub fn dir() -> PathBuf {
    PathBuf::from(REPOSITORY).join("target/xtask/test-logs")
}

/// Writes all logs; returns the directory.
pub fn keep(lab: &Lab, test: &str, transcript: &Transcript) -> PathBuf {
    // Artifact names may not contain colons.
    let dir = dir().join(test.replace("::", "."));
    let write = |file: &str, text: &[u8]| {
        let path = dir.join(file);
        drop(path.parent().map(fs::create_dir_all));
        drop(fs::write(path, text));
    };
    write("notes.txt", transcript.notes.join("\n").as_bytes());
    for (number, run) in transcript.runs.iter().enumerate() {
        write(&format!("{number:02}-run.txt"), run.text().as_bytes());
    }
    write("edits.diff", &said(&["git", "-C", lab.workspace.path(""), "diff", "baseline"]));
    for robot in [MAIN, SECONDARY] {
        of_robot(robot, &|file, text| write(&format!("{}/{file}", robot.name), text));
    }
    dir
}

/// The robots' containers, activations and the last errors of their engines, from the logs in `dir`: where only the output of a run is
/// kept, it has to be in there.
pub fn summary(dir: &Path) -> String {
    let of_robot = |robot: Robot| {
        let read = |file: &str| fs::read_to_string(dir.join(robot.name).join(file)).unwrap_or_default();
        let (about, log) = (read("containers.txt") + &read("events.txt"), read("dockerd.log"));
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("level=error")).collect();
        let errors =
            errors[errors.len().saturating_sub(8)..].iter().map(|line| line.chars().take(400).collect());
        let lines = about.lines().map(|line| line.chars().take(200).collect()).chain(errors);
        lines.map(|line: String| format!("    {}: {line}\n", robot.name)).collect::<String>()
    };
    [MAIN, SECONDARY].map(of_robot).concat()
}

fn of_robot(robot: Robot, write: &dyn Fn(&str, &[u8])) {
    write("sshd.log", &said(&["docker", "logs", "--tail", "500", &robot.container()]));
    for (file, script) in OF_A_ROBOT {
        // The robot may hang, which may be why the test failed.
        write(file, &said(&["timeout", "20", "docker", "exec", &robot.container(), "sh", "-c", script]));
    }
}

/// Output of a command, whether it succeeds or not.
fn said(argv: &[&str]) -> Vec<u8> {
    command(argv).output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default()
}
