//! A team's own `xtask`, `examples/team_xtask.rs`, which `cargo test` builds.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "this test is not part of the program")]
fn xtask(args: &[&str]) -> (Output, String) {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join("team_xtask");
    assert!(program.exists(), "`cargo test --test` builds no examples: run `cargo build --examples`");
    let output = Command::new(program).args(args).output().unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(text).unwrap())
}

#[test]
fn it_has_the_verbs_of_robot_deploy_and_its_own() {
    let (output, text) = xtask(&["--help"]);
    assert!(output.status.success(), "{text}");
    for words in ["  deploy ", "  rollback ", "  flash ", "--dry-run", "Exit codes:"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (_, script) = xtask(&["completions", "bash"]);
    assert!(script.contains("/debug/team_xtask\n"), "{script}");
}

#[test]
fn its_own_verbs_share_the_options_and_the_exit_codes() {
    let (output, text) = xtask(&["flash", "/dev/ttyACM0", "--dry-run"]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("echo flashing /dev/ttyACM0"), "{text}");
    let (output, text) = xtask(&["deploy", "--robot", "nobody"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
}
