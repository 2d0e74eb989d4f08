//! Commands of the tests themselves. They do not use `xtask`'s own runner, which is under test.

use std::process::{Command, Stdio};

/// A command without input.
#[expect(clippy::disallowed_methods, reason = "tests must not rely on the runner that they test")]
pub fn command(argv: &[&str]) -> Command {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdin(Stdio::null());
    command
}

/// Stdout of a command that has to succeed, without the last newline.
pub fn output(argv: &[&str]) -> String {
    let output = command(argv).output().unwrap_or_else(|error| panic!("{argv:?}: {error}"));
    assert!(
        output.status.success(),
        "{argv:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Returns whether a command succeeds.
pub fn succeeds(argv: &[&str]) -> bool {
    command(argv).output().is_ok_and(|output| output.status.success())
}

pub fn kill(pid: u32) {
    signal(pid, "KILL");
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    output(&["kill", "-s", name, &pid.to_string()]);
}
