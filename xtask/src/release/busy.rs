//! Robots that must not be disturbed: what is delivered to them waits.

use std::time::Duration;

use crate::config::Busy;
use crate::error::{Exit, Failure, Result};
use crate::process;
use crate::robot::Session;
use crate::ui::{self, Progress};

use super::lock::Patience;

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
    patience: Patience,
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
        if patience == Patience::Refuse {
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
    let of_kind = |kind: &str| {
        ["sh", "-c", include_str!("scripts/busy.sh"), "busy", project, kind].map(str::to_owned).to_vec()
    };
    match busy {
        Busy::Command(command) => [of_kind("command"), command.clone()].concat(),
        Busy::Lock(file) => [of_kind("lock"), vec![file.clone()]].concat(),
        Busy::Heartbeat { service, file, within } => {
            [of_kind("heartbeat"), vec![service.clone(), file.clone(), within.as_secs().to_string()]].concat()
        }
    }
}
