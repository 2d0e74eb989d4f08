//! The benchmark's command line, as far as it needs no robots.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::Path;
use std::process::{Command, Output};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");

#[expect(clippy::disallowed_methods, reason = "this test is not part of the program")]
fn bench(dir: &Path, args: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deploy-bench"))
        .args(["--xtask", "/nonexistent/xtask"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(text).unwrap())
}

#[test]
fn a_dry_run_prints_the_plan() {
    let (output, text) = bench(Path::new(REPOSITORY), &["--dry-run"]);
    assert!(output.status.success(), "{text}");
    for line in [
        "xtask: a line of Python, over 50 Mbit/s",
        "push: an apt package, over 10 Mbit/s",
        "left out: load: an apt package, over 10 Mbit/s",
        "minutes in total",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn without_results_nothing_is_published() {
    let dir = tempfile::tempdir().unwrap();
    for part in ["robots.toml", "docker", "ros_ws"] {
        copy(&Path::new(REPOSITORY).join(part), &dir.path().join(part));
    }
    let (output, text) = bench(dir.path(), &["--publish"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("there are no results to publish") && text.contains("`cargo xtask bench`"),
        "{text}"
    );
    assert!(!dir.path().join("README.md").exists());
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let path = entry.unwrap().path();
        copy(&path, &to.join(path.file_name().unwrap()));
    }
}
