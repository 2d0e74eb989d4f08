//! Services of the current release, by name. Compose on the robot runs the commands.

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;

use anyhow::Context as _;

use crate::config::instead;
use crate::error::{Failure, Result};
use crate::process::{self, Cmd};
use crate::robot::Session;
use crate::robot_side::Script;
use crate::ui;

/// Runs a command through the image's entrypoint, which sets the environment of ROS; in an image without an
/// entrypoint, directly.
const WITH_ENVIRONMENT: &str = r#"entrypoint=/usr/local/bin/entrypoint
[ ! -x "$entrypoint" ] || set -- "$entrypoint" "$@"
exec "$@""#;

/// Starts bash, or sh in an image without bash.
const SHELL: &str = "if command -v bash >/dev/null; then exec bash; fi; exec sh";

/// Returns a Compose command for the current release.
pub(crate) fn compose(session: &Session, project: &str, words: &[&str]) -> Cmd {
    session.command(Script::ComposeExec.argv(&[&[project], words].concat()))
}

/// Fails if the current release lacks one of the services. The error suggests the nearest name.
pub(crate) fn check(session: &Session, project: &str, services: &[String]) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    let known = compose(session, project, &["config", "--services"]).read()?;
    let known: BTreeSet<&str> = known.lines().collect();
    for service in services {
        if !known.contains(service.as_str()) {
            let message = format!("`{}` has no service `{}`", session.robot(), service.escape_debug());
            let hint = instead("services", service, known.iter().copied());
            return Err(Failure::config(message).hint(hint).into());
        }
    }
    Ok(())
}

/// Calls `each` with every line that Compose prints on the robot, until Compose ends or the run is
/// interrupted.
pub(crate) fn lines(
    session: &Session,
    project: &str,
    words: &[String],
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = session.command(Script::Attached.argv(&[&[project], &*words].concat()));
    let (child, mut answers) = command.spawn_held()?;
    let (sender, lines) = sync_channel(1);
    // The thread ends with the pipe, or when the receiver is dropped.
    std::thread::spawn(move || {
        let pieces = std::iter::from_fn(|| process::piece(&mut answers, process::LINE).transpose());
        pieces.into_iter().try_for_each(|piece| sender.send(piece))
    });
    let mut is_rest = false;
    while let Ok(line) = process::receive(&lines, None)? {
        let (line, is_whole) = line.context("read the output of the robot")?;
        let line = String::from_utf8_lossy(&line);
        // Compose clears the line before it writes one, even without a terminal.
        let line = line.trim_start_matches("\x1b[2K").trim_end_matches('\r');
        // The rest of a long line is marked, so that it does not look like a line of its own.
        if is_rest {
            each(&format!("… {line}"))?
        } else {
            each(line)?
        }
        is_rest = !is_whole;
    }
    child.wait()
}

/// Runs a command, or a shell if it is empty, in a service's container, attached to this terminal.
pub(crate) fn exec(session: &Session, project: &str, service: &str, command: &[String]) -> Result<()> {
    let mut words = vec!["exec"];
    if !ui::is_terminal() {
        words.push("--no-TTY");
    }
    words.extend(["--", service, "sh", "-c", WITH_ENVIRONMENT, "exec"]);
    if command.is_empty() {
        words.extend(["sh", "-c", SHELL]);
    }
    words.extend(command.iter().map(String::as_str));
    attached(session, project, &words)
}

/// Runs a command in a new container of a service, attached to this terminal. The container is removed
/// afterwards.
pub(crate) fn run(session: &Session, project: &str, service: &str, command: &[String]) -> Result<()> {
    let mut words = vec!["run", "--rm", "--no-deps", "--quiet-pull"];
    if !ui::is_terminal() {
        words.push("--no-TTY");
    }
    words.extend(["--", service]);
    words.extend(command.iter().map(String::as_str));
    attached(session, project, &words)
}

/// Runs Compose on the robot, attached to this terminal.
fn attached(session: &Session, project: &str, words: &[&str]) -> Result<()> {
    session.attach(ui::is_terminal(), &Script::ComposeExec.argv(&[&[project], words].concat()))
}
