//! The services of what was deployed last, as people speak of them: Compose on the robot does what they ask for.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::instead;
use crate::error::{Failure, Result};
use crate::process::{self, Cmd};
use crate::robot::{Endpoint, Session};
use crate::ui;

/// Runs Compose on the robot.
const COMPOSE: &str = concat!(include_str!("scripts/compose.sh"), "exec docker compose \"$@\"\n");

/// Runs Compose there for as long as it is listened to.
const ATTACHED: &str = concat!(include_str!("scripts/compose.sh"), include_str!("scripts/attached.sh"));

/// How long a robot may say nothing before somebody looks whether anyone still listens.
const QUIET: Duration = Duration::from_millis(200);

/// Runs a command with what the image's entrypoint sets for it, say the environment of ROS; in an image without one,
/// as it is.
const WITH_ENVIRONMENT: &str = r#"entrypoint=/usr/local/bin/entrypoint
[ ! -x "$entrypoint" ] || set -- "$entrypoint" "$@"
exec "$@""#;

/// What makes a shell of whatever the image has.
const SHELL: &str = "if command -v bash >/dev/null; then exec bash; fi; exec sh";

/// The command line of Compose on a robot.
fn argv<'a>(project: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["sh", "-c", COMPOSE, "compose", project], words].concat()
}

/// Compose, on what was deployed last.
pub fn compose(session: &Session, project: &str, words: &[&str]) -> Cmd {
    session.command(argv(project, words))
}

/// Fails where the robot has no such service.
///
/// # Errors
/// Names the nearest of those that it has; fails as well when nothing has been deployed.
pub fn check(session: &Session, project: &str, services: &[String]) -> Result<()> {
    if services.is_empty() || process::mode().dry_run {
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

/// Gives `each` the lines that Compose prints on the robot, until it ends or this run does.
///
/// # Errors
/// Fails when Compose does, the connection drops, `each` fails, or the run is interrupted.
pub fn lines(
    session: &Session,
    project: &str,
    words: &[&str],
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let command = session.command([&["sh", "-c", ATTACHED, "compose", project], words].concat());
    if process::mode().dry_run {
        return command.run();
    }
    let (child, mut answers) = command.spawn_held()?;
    let (heard, lines) = sync_channel(1);
    // It ends with the pipe, or when nobody wants its lines any more.
    std::thread::spawn(move || {
        let pieces = std::iter::from_fn(|| process::piece(&mut answers, process::LINE).transpose());
        pieces.into_iter().try_for_each(|piece| heard.send(piece))
    });
    let mut goes_on = false;
    loop {
        match lines.recv_timeout(QUIET) {
            Ok(line) => {
                let (line, is_whole) = line.context("read what the robot prints")?;
                let line = String::from_utf8_lossy(&line);
                // Compose clears the line before it writes one, whether there is a terminal or not.
                let line = line.trim_start_matches("\x1b[2K").trim_end_matches('\r');
                // The rest of a line is none of its own, whatever it looks like.
                if goes_on {
                    each(&format!("… {line}"))?
                } else {
                    each(line)?
                }
                goes_on = !is_whole;
            }
            Err(RecvTimeoutError::Timeout) => process::check_interrupted()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    process::check_interrupted()?;
    child.wait()
}

/// Runs a command in a service's container, with the terminal in its hands; without a command a shell.
///
/// # Errors
/// Fails when the service does not run, or as the command does.
pub fn exec(endpoint: &Endpoint, project: &str, service: &str, command: &[String]) -> Result<()> {
    let mut words = vec!["exec"];
    if !ui::is_terminal() {
        words.push("--no-TTY");
    }
    words.extend(["--", service, "sh", "-c", WITH_ENVIRONMENT, "exec"]);
    if command.is_empty() {
        words.extend(["sh", "-c", SHELL]);
    }
    words.extend(command.iter().map(String::as_str));
    attached(endpoint, project, &words)
}

/// Runs a command in a container of its own that is like a service's, beside it, with the terminal in its hands; the
/// container is gone when the command has ended.
///
/// # Errors
/// Fails as the command does.
pub fn run(endpoint: &Endpoint, project: &str, service: &str, command: &[String]) -> Result<()> {
    let mut words = vec!["run", "--rm", "--no-deps", "--quiet-pull"];
    if !ui::is_terminal() {
        words.push("--no-TTY");
    }
    words.extend(["--", service]);
    words.extend(command.iter().map(String::as_str));
    attached(endpoint, project, &words)
}

/// Compose on the robot, with the terminal in its hands.
fn attached(endpoint: &Endpoint, project: &str, words: &[&str]) -> Result<()> {
    let mut ssh = endpoint.ssh();
    if ui::is_terminal() {
        ssh = ssh.arg("-tt");
    }
    ssh.args(["--", &endpoint.destination]).arg(shell_words::join(argv(project, words))).interactive()
}
