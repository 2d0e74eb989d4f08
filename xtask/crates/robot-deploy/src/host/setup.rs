//! Installs missing prerequisites: looks, plans, asks, runs the commands, and looks again.

use std::time::Instant;

use super::engine::{self, Answer, Engine};
use super::machine::{Init, Machine};
use super::plan::{self, Plan};
use super::probe::{self, Need};
use crate::error::{Failure, FollowedBy as _, Result};
use crate::{process, ui};

/// The engine's log names this file if an earlier engine is in the way.
const PID_FILE: &str = "docker.pid";
/// Last words of an engine that did not get ready in time.
const START_LIMIT: &str = "context deadline exceeded";
/// Number of lines to show of a failed engine's log.
const LOG_LINES: usize = 20;

/// See [`super::ensure`]; returns the engine if it was among the needs and answers.
pub(super) fn ensure(machine: &Machine, yes: bool, needs: &[Need]) -> Result<Option<Engine>> {
    let found = probe::look(machine, needs)?;
    if found.missing.is_empty() {
        return Ok(found.engine);
    }
    let names = probe::names(&found.missing);
    let plan = plan::plan(machine, &found.missing)?;
    ui::step("host", &format!("this machine lacks {names}; these commands install it:"));
    plan.commands().for_each(process::Cmd::show_beforehand);
    process::outcome_needed().followed_by("looking again; what follows needs these tools")?;
    check_permission(machine, yes, &found.missing)?;
    execute(machine, &plan)?;
    if plan.join.is_some() {
        // The user is a member now, but this process began without the membership.
        return Err(probe::login_again(machine).into());
    }
    let found = probe::look(machine, needs)?;
    if found.missing.is_empty() {
        ui::done("host", "everything is installed");
        return Ok(found.engine);
    }
    let names = probe::names(&found.missing);
    Err(Failure::failed(format!("all commands succeeded, but this machine still lacks {names}"))
        .hint("`cargo xtask doctor` lists what was found")
        .into())
}

/// Fails unless the commands may run: with `yes`, or after a question; not without `sudo`.
fn check_permission(machine: &Machine, yes: bool, missing: &[Need]) -> Result<()> {
    let names = probe::names(missing);
    if machine.uid != 0 && machine.program("sudo").is_none() {
        return Err(Failure::failed(format!(
            "this machine lacks {names}, and `sudo` is not available to install it"
        ))
        .hint("run the commands above as root")
        .into());
    }
    if yes || ui::confirm("Run them?") {
        return Ok(());
    }
    let emulation = missing.iter().any(|what| matches!(what, Need::Emulation(_)));
    let option = if emulation { " --emulation" } else { "" };
    Err(Failure::failed(format!("this machine lacks {names}"))
        .hint(format!("`cargo xtask setup{option} --yes` runs the commands above"))
        .into())
}

/// Returns the engine; fails if it does not answer.
pub(super) fn engine(machine: &Machine) -> Result<Engine> {
    let found = probe::look(machine, &[Need::Engine])?;
    found.engine.ok_or_else(|| {
        Failure::failed(format!("this machine lacks {}", probe::names(&found.missing)))
            .hint("`cargo xtask setup` installs and starts what is missing")
            .into()
    })
}

fn execute(machine: &Machine, plan: &Plan) -> Result<()> {
    plan.install.iter().try_for_each(process::Cmd::run)?;
    if let Some(start) = &plan.start {
        // With an init system, the package has already started the engine.
        if answers(machine).is_err() {
            start.run().map_err(|error| match machine.init() {
                // This command only puts the engine into the background: it fails only if `sudo` does.
                Init::None => error,
                Init::Systemd | Init::Scripts => with_log(machine, error),
            })?;
        }
        ui::step("host", "waiting for the Docker Engine");
        wait(machine, start).map_err(|error| with_log(machine, error))?;
    }
    for (platform, command) in &plan.register {
        if !probe::emulates(machine, platform) {
            command.run()?;
        }
    }
    plan.join.iter().try_for_each(process::Cmd::run)
}

/// Waits until the engine answers, or its log says that it failed to start.
fn wait(machine: &Machine, start: &process::Cmd) -> Result<()> {
    let begin = Instant::now();
    process::poll("the Docker Engine to answer", machine.engine_start, || {
        let Err(error) = answers(machine) else { return Ok(Ok(())) };
        let log = if machine.init() == Init::None { machine.text(plan::DAEMON_LOG) } else { String::new() };
        if !log.contains("failed to start daemon") {
            return Err(error);
        }
        // An earlier engine may still be shutting down: it stops listening long before it ends.
        if log.contains(PID_FILE) && begin.elapsed() < machine.engine_start / 4 {
            start.run()?;
            return Err(error);
        }
        Ok(Err(error))
    })?
}

/// Succeeds if an engine answers, even if it denies access.
fn answers(machine: &Machine) -> Result<()> {
    match engine::ask(machine)? {
        Answer::Engine(_) | Answer::Denied(_) => Ok(()),
        Answer::NoClient => Err(Failure::failed(Need::Client.to_string()).into()),
        Answer::Silent(message) => Err(anyhow::anyhow!(message)),
    }
}

/// Adds the end of the engine's log to an error.
fn with_log(machine: &Machine, error: anyhow::Error) -> anyhow::Error {
    let log = match machine.init() {
        Init::Systemd => {
            let journal =
                machine.cmd("journalctl").args(["--unit=docker", "--no-pager", "--output=cat", "--lines=20"]);
            journal.read().unwrap_or_default()
        }
        Init::Scripts => machine.text("/var/log/docker.log"),
        Init::None => machine.text(plan::DAEMON_LOG),
    };
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    let failure = Failure::failed("the Docker Engine does not start");
    let failure = if tail.contains(PID_FILE) {
        failure.hint("if no dockerd is running (`pgrep dockerd`), remove the PID file of an earlier one: `sudo rm /var/run/docker.pid`")
    } else if tail.contains(START_LIMIT) {
        failure.hint(
            "start it again; if that fails too, remove its build cache, whose records it reads within 10 s: \
             `sudo rm -r /var/lib/docker/buildkit`",
        )
    } else {
        failure
    };
    if tail.is_empty() {
        failure.because(error).into()
    } else {
        failure.because(error.context(format!("its log ends with\n{tail}"))).into()
    }
}
