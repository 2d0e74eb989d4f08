//! Words that a shell would make something of, and a robot whose shell is a real one.

use std::fs;

use camino::Utf8Path;

use super::answers;
use super::lab::Lab;

/// Each makes a file `canary` somewhere, or is taken for something else, where it meets a shell unquoted.
pub const WORDS: [&str; 10] = [
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

/// What sshd does: has the user's shell make of the text what it will. Who ends `ssh` ends that, too.
pub const SSHD: &str =
    r#"cd "$lab/robot" && HOME=$lab/robot PATH=$lab/robot-bin:/usr/bin:/bin exec /bin/sh -c "exec $last""#;

/// Programs that the robot has, fakes like those here.
const THERE: [&str; 2] = ["docker", "probe"];

/// A robot whose shell takes what it is sent, and where something runs.
pub fn robot(lab: &Lab) {
    for dir in ["robot-bin", "robot/.deploy/eurobot/current"] {
        fs::create_dir_all(lab.dir.join(dir)).unwrap();
    }
    fs::write(lab.dir.join("robot/.deploy/eurobot/current/compose.json"), "{}").unwrap();
    lab.install("probe");
    for name in THERE {
        std::os::unix::fs::symlink(lab.dir.join("bin").join(name), lab.dir.join("robot-bin").join(name))
            .unwrap();
    }
    lab.says("docker", "'compose '*'config --services'*", "navigation\ncamera");
}

/// Has everything done for real that is sent over `ssh`, except the connection itself.
pub fn do_as_told(lab: &Lab) {
    lab.on("ssh", "*", SSHD);
    lab.on("ssh", "*ControlMaster=yes*", answers::MASTER);
}

/// The words of each call of a fake that begin so.
pub fn calls(lab: &Lab, beginning: &str) -> Vec<Vec<String>> {
    lab.calls_of(beginning).iter().map(|call| shell_words::split(call).unwrap()).collect()
}

/// Fails if any word has been run.
#[track_caller]
pub fn assert_no_canary(lab: &Lab, about: &str) {
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

/// As TOML writes it.
pub fn toml(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
