//! Puts a rendered project on the robot, brings it up there, and looks at what runs.

use std::time::Duration;

use anyhow::Context as _;

use super::compose::Project;
use crate::error::{Failure, Result};
use crate::process;
use crate::robot::{Session, Survey};

/// How long containers may take from created to running.
const RUNNING: Duration = Duration::from_secs(30);

/// Whether the robot runs exactly this project, so that nothing has to be done.
pub fn is_current(project: &Project, survey: &Survey) -> bool {
    survey.release.as_deref() == Some(project.id.as_str()) && difference(project, survey).is_none()
}

/// Brings the project up and waits until every service runs the image it has to run.
///
/// # Errors
/// Fails when Compose on the robot fails, or a container does not run or runs another image.
pub fn start(session: &Session, name: &str, repository: &str, project: &Project) -> Result<Survey> {
    let script = include_str!("scripts/start.sh");
    // Digests are unknown in a dry run, and what follows from them.
    let id = if process::mode().dry_run { "RELEASE-ID" } else { project.id.as_str() };
    session
        .command(["sh", "-c", script, "start", name, id])
        // Values of `.env` files are in it: it is never printed.
        .stdin_from("release.tar", project.archive.clone())
        .run()
        .with_context(|| format!("start the containers on `{}`", session.robot()))?;
    if process::mode().dry_run {
        return Ok(Survey::default());
    }
    process::poll("the containers to run", RUNNING, || {
        let survey = Survey::of(session, name, repository)?;
        match difference(project, &survey) {
            None => Ok(survey),
            Some(difference) => Err(Failure::failed(difference)
                .hint(format!(
                    "`cargo xtask ssh --robot {} -- docker compose -p {name} logs --tail 50` shows why",
                    session.robot()
                ))
                .into()),
        }
    })
}

/// What on the robot is not as the project says, if anything.
///
/// Services that nobody restarts may have ended, but only successfully.
fn difference(project: &Project, survey: &Survey) -> Option<String> {
    for service in &project.names {
        let mut containers =
            survey.containers.iter().filter(|container| container.service == *service).peekable();
        if containers.peek().is_none() {
            return Some(format!("service `{service}` has no container"));
        }
        for container in containers {
            let may_end = project.jobs.contains(service);
            if container.state != "running" && !(may_end && container.ended_well()) {
                return Some(format!("service `{service}` is {}", container.state));
            }
            let Some(expected) = project.services.get(service) else { continue };
            if !survey.runs(container, expected) {
                return Some(format!("service `{service}` runs {}, not {expected}", container.reference));
            }
        }
    }
    None
}
