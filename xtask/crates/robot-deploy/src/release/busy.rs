//! Robots that must not be disturbed: what is delivered to them waits.

use std::time::Duration;

use crate::config::Busy;
use crate::error::{Exit, Failure, Result};
use crate::process;
use crate::robot::Session;
use crate::ui::{self, Progress};

use super::lock::OnLocked;

/// The robot's part.
const SCRIPT: &str = include_str!("scripts/busy.sh");

/// How often a robot is asked that is waited for.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until a robot may be disturbed, or refuses to.
///
/// # Errors
/// Fails with [`Exit::Busy`] where it may not be and is not to be waited for, and when the connection is gone.
pub fn check(
    session: &Session,
    project: &str,
    busy: &Busy,
    on_locked: OnLocked,
    progress: &Progress,
) -> Result<()> {
    let mut is_told = false;
    // A dry run asks nobody.
    while !process::mode().dry_run {
        let reason = session.command(words(project, busy)).read()?;
        if reason.is_empty() {
            break;
        }
        let message = format!("`{}` must not be disturbed: {reason}", session.robot());
        if on_locked == OnLocked::Refuse {
            return Err(Failure::new(Exit::Busy, message)
                .hint("everything is delivered: the same command starts it later, with `--wait` as soon as may be")
                .hint("`--force` starts it now; `busy` in robots.toml says what counts")
                .into());
        }
        if !is_told {
            ui::step(session.robot(), &format!("waiting: {message}"));
            is_told = true;
        }
        progress.waiting("waiting until it may be disturbed");
        process::pause(AGAIN)?;
    }
    Ok(())
}

/// What asks the robot, as words of a command there.
fn words(project: &str, busy: &Busy) -> Vec<String> {
    let of_kind = |kind: &str| ["sh", "-c", SCRIPT, "busy", project, kind].map(str::to_owned).to_vec();
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

    /// The robot's answer about a heartbeat file, in a shell of the robot, where `docker exec` prints `beat`.
    fn asked(shell: &str, dir: &std::path::Path, beat: &str) -> Result<String> {
        let docker = dir.join("docker");
        fs_err::write(
            &docker,
            format!("#!/bin/sh\ncase $2 in ls) echo cafe ;; *) printf '%s' '{beat}' ;; esac\n"),
        )?;
        fs_err::set_permissions(&docker, std::fs::Permissions::from_mode(0o755))?;
        let path = format!("PATH={}:/usr/bin:/bin", dir.display());
        let question = ["busy", "eurobot", "heartbeat", "navigation", "/tmp/beat", "5"];
        Cmd::new("env").args([path.as_str(), shell, "-c", SCRIPT]).args(question).read()
    }

    #[test]
    fn a_heartbeat_is_a_number_and_no_command_of_the_container() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let marker = dir.path().join("marker");
        let attack = format!("a[$(touch {})]", marker.display());
        for shell in ["sh", "bash"] {
            for beat in [attack.as_str(), "", "-5", "08", "99999999999999999999", "1 2", "x"] {
                assert_eq!(asked(shell, dir.path(), beat)?, "", "{shell}: {beat}");
                assert!(!marker.exists(), "{shell} ran a command of the container");
            }
            assert!(asked(shell, dir.path(), "99999999999")?.starts_with("navigation wrote /tmp/beat -"));
        }
        Ok(())
    }
}
