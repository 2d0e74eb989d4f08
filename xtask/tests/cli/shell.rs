//! Runs scripts in shells, and checks their syntax.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs a shell with a script on stdin; returns whether it succeeded, and its output.
pub(crate) fn run(shell: &str, args: &[&str], script: &str) -> (bool, String) {
    feed(command(shell).args(args), script)
}

/// Runs a program with a text on stdin; returns whether it succeeded, and its output.
pub(crate) fn feed(program: &mut Command, text: &str) -> (bool, String) {
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A program of this machine, for tests that need a different environment.
#[expect(clippy::disallowed_methods, reason = "a test starts a program")]
pub(crate) fn command(program: &str) -> Command {
    Command::new(program)
}

/// Fails unless the shell can read the script.
#[track_caller]
pub(crate) fn assert_takes(shell: &str, script: &str) {
    let (success, said) = run(shell, &["-n"], script);
    assert!(success && said.is_empty(), "{said}\n{script}");
}
