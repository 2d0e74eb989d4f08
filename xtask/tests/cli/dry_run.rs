//! `--dry-run`: prints what would run, as a script, and touches nothing.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::lab::{Lab, Ran, in_order, robot, simulated};

/// Questions: what a dry run may call.
const QUESTIONS: [&str; 7] = [
    "docker info ",
    "docker image inspect ",
    "docker container inspect ",
    "docker network inspect ",
    "docker compose --file ",
    "docker buildx inspect ",
    "git ",
];

/// Runs dry, and makes sure that nothing was touched, nothing but questions asked, and a shell takes it.
#[track_caller]
fn dry(lab: &Lab, args: &[&str]) -> Ran {
    let before = lab.files();
    let asked = lab.calls().len();
    let ran = lab.run(&[args, &["--dry-run"]].concat()).expect(0);
    let names = |files: &[(camino::Utf8PathBuf, Vec<u8>)]| {
        format!("{:#?}", files.iter().map(|(path, _)| path).collect::<Vec<_>>())
    };
    let after = lab.files();
    assert!(before == after, "before: {}\nafter: {}", names(&before), names(&after));
    for call in &lab.calls()[asked..] {
        assert!(QUESTIONS.iter().any(|question| call.starts_with(question)), "`{call}` is no question");
    }
    assert_shell_takes("sh", &ran.stdout);
    let temporary = lab.dir.join("tmp");
    assert!(!ran.stdout.contains(temporary.as_str()), "a path that vanishes: {}", ran.stdout);
    ran
}

#[expect(clippy::disallowed_methods, reason = "a test asks a shell")]
#[track_caller]
pub fn assert_shell_takes(shell: &str, script: &str) {
    let mut child =
        Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{script}");
}

#[test]
fn show() {
    let lab = Lab::new();
    let ran = dry(&lab, &["deploy"]);
    println!("{}\n-----\n{}", ran.stdout, ran.stderr);
    for call in lab.calls() {
        println!("{call}");
    }
}
