//! Words with a special meaning in a shell, and a robot with a real shell.

use std::fs;

use camino::Utf8Path;

use super::answers;
use super::lab::Lab;

/// Each word creates a file `canary` somewhere, or is misread, if a shell gets it unquoted.
pub(crate) const WORDS: [&str; 10] = [
    "a b",
    "it's",
    "say \"hi\"",
    "$(touch canary)",
    "`touch canary`",
    "; touch canary #",
    "a\ntouch canary",
    "-x",
    "--help",
    "\\$HOME*",
];

/// As sshd does, runs the text in the user's shell. `exec`, so that ending `ssh` also ends the command.
pub(crate) const SSHD: &str =
    r#"cd "$lab/robot" && HOME=$lab/robot PATH=$lab/robot-bin:/usr/bin:/bin exec /bin/sh -c "exec $last""#;

/// Programs of the robot: the same fakes as on this machine.
const ON_ROBOT: [&str; 2] = ["docker", "probe"];

/// A robot whose shell really runs commands, and that has a running release.
pub(crate) fn robot(lab: &Lab) {
    for dir in ["robot-bin", "robot/.deploy/eurobot/current"] {
        fs::create_dir_all(lab.dir.join(dir)).unwrap();
    }
    fs::write(lab.dir.join("robot/.deploy/eurobot/current/compose.json"), "{}").unwrap();
    lab.install("probe");
    for name in ON_ROBOT {
        std::os::unix::fs::symlink(lab.dir.join("bin").join(name), lab.dir.join("robot-bin").join(name))
            .unwrap();
    }
    lab.says("docker", "'compose '*'config --services'*", "navigation\ncamera");
}

/// Really runs everything that is sent over `ssh`, except the connection itself.
pub(crate) fn run_for_real(lab: &Lab) {
    lab.on("ssh", "*", SSHD);
    lab.on("ssh", "*ControlMaster=yes*", answers::MASTER);
}

/// Words of each call that starts with `beginning`.
pub(crate) fn calls(lab: &Lab, beginning: &str) -> Vec<Vec<String>> {
    lab.calls_of(beginning).iter().map(|call| shell_words::split(call).unwrap()).collect()
}

/// Fails if a shell ran any of the words.
#[track_caller]
pub(crate) fn assert_no_canary(lab: &Lab, about: &str) {
    let here = std::env::current_dir().unwrap();
    let found = find(&lab.dir) || here.join("canary").exists();
    assert!(!found, "{about} was run by a shell");
}

fn find(dir: &Utf8Path) -> bool {
    dir.read_dir_utf8().unwrap().map(|entry| entry.unwrap()).any(|entry| {
        let is_dir = entry.file_type().unwrap().is_dir();
        entry.file_name() == "canary" || is_dir && find(entry.path())
    })
}

pub(crate) fn toml(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
