//! Comparison of a robot's state with a release.

use super::compose::ComposeProject;
use crate::error::{Failure, Result};
use crate::robot::Survey;
use crate::robot::survey::Container;

/// Returns whether the robot runs exactly this project, without live edits, so that there is nothing to activate.
pub(crate) fn is_current(project: &ComposeProject, survey: &Survey) -> bool {
    survey.release.as_deref() == Some(project.id.as_str()) && survey.edits.is_none() && runs(project, survey)
}

/// Returns whether exactly the services of the project run, with the right definitions and images. Jobs may
/// have ended, but only successfully.
fn runs(project: &ComposeProject, survey: &Survey) -> bool {
    let is_wanted = |container: &Container| {
        project.hashes.get(&container.service).is_some_and(|hash| *hash == container.hash)
    };
    survey.containers.iter().all(is_wanted)
        && project.names.iter().all(|service| {
            let mut containers =
                survey.containers.iter().filter(|container| container.service == *service).peekable();
            let is_job = project.jobs.contains(service);
            containers.peek().is_some()
                && containers.all(|container| {
                    (container.state == "running" || is_job && container.ended_well())
                        && container.health != "unhealthy"
                })
        })
        && check_images(project, survey).is_ok()
}

/// Fails if a container runs another image than the project says. Compares image ids, since names can be
/// moved.
pub(crate) fn check_images(project: &ComposeProject, survey: &Survey) -> Result<()> {
    for container in &survey.containers {
        if let Some(expected) = project.services.get(&container.service)
            && !survey.runs(container, expected)
        {
            let Survey { robot, .. } = survey;
            let message =
                format!("`{}` on `{robot}` runs {}, not {expected}", container.service, container.reference);
            return Err(Failure::failed(message)
                .hint("another user may have started containers there; deploy again")
                .into());
        }
    }
    Ok(())
}
