//! Robots that must not be disturbed: their images are delivered, but the activation waits.

use std::time::Duration;

use crate::config::Busy;
use crate::error::{Exit, Failure, FollowedBy as _, Result};
use crate::process;
use crate::robot::Session;
use crate::robot_side::Script;
use crate::robot_side::lines::busy as word;
use crate::ui::{self, Progress};

use super::lock::OnLocked;

/// Time between two checks while waiting.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits until a robot may be disturbed.
///
/// # Errors
/// Fails with [`Exit::Busy`] if it must not be disturbed and `on_locked` says not to wait.
pub(crate) fn check(
    session: &Session,
    project: &str,
    busy: &Busy,
    on_locked: OnLocked,
    progress: &Progress,
) -> Result<()> {
    let mut is_reported = false;
    loop {
        let said = session.command(argv(project, busy)).read()?;
        let Some(reason) = reason(&said) else { return Ok(()) };
        let message = format!("`{}` must not be disturbed: {reason}", session.robot());
        if on_locked == OnLocked::Refuse {
            return Err(Failure::new(Exit::Busy, message)
                .hint("images are delivered; run it again to start them, or add `--wait` to start as soon as the robot is free")
                .hint("`--force` starts them now; `busy` in robots.toml defines when the robot is busy")
                .into());
        }
        if !is_reported {
            ui::step(session.robot(), &format!("waiting: {message}"));
            is_reported = true;
        }
        process::outcome_needed().followed_by("starting the release when the robot is free")?;
        progress.waiting("waiting until it is free");
        process::pause(INTERVAL)?;
    }
}

/// Reads the reason from the script's output: a login shell may have greeted before. A reason may have several lines, since
/// a name may.
fn reason(said: &str) -> Option<&str> {
    let line = format!("{}\t", word::BUSY);
    let after_greeting = || said.split_once(&format!("\n{line}")).map(|(_, reason)| reason);
    said.strip_prefix(&line).or_else(after_greeting)
}

/// Returns the argv of the script, on the robot.
fn argv(project: &str, busy: &Busy) -> Vec<String> {
    let of_kind = |kind: &str| Script::Busy.argv(&[project, kind]);
    match busy {
        Busy::Command(command) => [of_kind("command"), command.clone()].concat(),
        Busy::Lock(file) => [of_kind("lock"), vec![file.clone()]].concat(),
        Busy::Heartbeat { service, file, within } => {
            [of_kind("heartbeat"), vec![service.clone(), file.clone(), within.as_secs().to_string()]].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::process::Cmd;

    /// Output of the script about a heartbeat file, run by `shell`, with a `docker exec` that prints `beat`.
    fn output(shell: &str, dir: &std::path::Path, beat: &str) -> Result<String> {
        let docker = dir.join("docker");
        fs_err::write(
            &docker,
            format!("#!/bin/sh\ncase $2 in ls) echo cafe ;; *) printf '%s' '{beat}' ;; esac\n"),
        )?;
        fs_err::set_permissions(&docker, std::fs::Permissions::from_mode(0o755))?;
        let path = format!("PATH={}:/usr/bin:/bin", dir.display());
        let args = ["busy", "eurobot", "heartbeat", "navigation", "/tmp/beat", "5"];
        Cmd::new("env").args([path.as_str(), shell, "-c", &Script::Busy.text()]).args(args).read()
    }

    #[test]
    fn a_greeting_is_no_reason() {
        assert_eq!(reason("Welcome to Ubuntu!\n\nbusy with updates"), None);
        assert_eq!(reason("busy\ta\nb is locked"), Some("a\nb is locked"));
        assert_eq!(reason("Welcome!\nbusy\t/run/match is locked"), Some("/run/match is locked"));
    }

    #[test]
    fn a_heartbeat_is_a_number_and_never_run_as_a_command() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let marker = dir.path().join("marker");
        let attack = format!("a[$(touch {})]", marker.display());
        for shell in ["sh", "bash"] {
            for beat in [attack.as_str(), "", "-5", "08", "99999999999999999999", "1 2", "x"] {
                assert_eq!(output(shell, dir.path(), beat)?, "", "{shell}: {beat}");
                assert!(!marker.exists(), "{shell} ran a command of the container");
            }
            assert!(
                output(shell, dir.path(), "99999999999")?.starts_with("busy\tnavigation wrote /tmp/beat -")
            );
        }
        Ok(())
    }
}
