//! Data of a robot: paths of the repository that services mount and may write.

use super::compose::ComposeProject;
use crate::config::{Workspace, nearest};
use crate::error::{Failure, Result};
use crate::robot::survey::Survey;
use crate::robot::{Session, registry};
use crate::robot_side::Script;
use crate::robot_side::lines::{self, data as word};
use crate::{number, told};

/// A path of a robot's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// Path in the repository.
    pub path: String,
    /// Size on the robot's disk.
    pub bytes: u64,
}

impl Data {
    /// Path on the robot, relative to the home of the SSH user.
    pub(crate) fn place(&self, project: &str) -> String {
        format!(".deploy/{project}/data/{}", self.path)
    }
}

/// Lists a robot's data.
pub(crate) fn list(session: &Session, project: &str) -> Result<Vec<Data>> {
    let text = session.script(Script::Data, &[project, "list"]).read()?;
    let data = |line: Vec<&str>| match line[..] {
        [word::DATA, kibibytes, path] => {
            Some(Data { path: path.to_owned(), bytes: number::kibibytes(kibibytes).unwrap_or_default() })
        }
        _ => None,
    };
    Ok(lines::read(&text).filter_map(data).collect())
}

/// Checks that a robot has a path in its data.
///
/// # Errors
/// Fails with exit code 2 if not.
pub(crate) fn check(robot: &str, all: &[Data], path: &str) -> Result<()> {
    if all.iter().any(|data| data.path == path) {
        return Ok(());
    }
    let failure = Failure::config(format!("`{robot}` has no data `{}`", path.escape_debug()));
    Err(match nearest(path, all.iter().map(|data| data.path.as_str())) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("`cargo xtask data --robot {robot}` lists what it has")),
    }
    .into())
}

/// Removes a path of a robot's data, with the containers that use it; the next deploy copies it from the repository again.
pub(crate) fn reset(session: &Session, project: &str, path: &str) -> Result<()> {
    session.script(Script::Data, &[project, "reset", path, registry::CONTAINER]).run()
}

/// Tells, until it changes, which files of the repository do not reach a robot, because its own are different ones.
pub(crate) fn tell(workspace: &Workspace, release: &ComposeProject, survey: &Survey) {
    let robot = &survey.robot;
    let is_other = |(path, hash): &(&String, &String)| {
        hash.as_str() != "-" && survey.seeds.get(*path).is_some_and(|seed| seed != *hash)
    };
    let others: Vec<String> =
        release.data.iter().filter(is_other).map(|(path, _)| format!("`{path}`")).collect();
    let text = match others.is_empty() {
        true => String::new(),
        false => format!(
            "{} belongs to `{robot}`, because a service may write it: what has changed here stays here; mount it with `:ro` \
             to send it with each release, or give up that of the robot: `cargo xtask data --robot {robot} --reset PATH`",
            others.join(", ")
        ),
    };
    told::once(workspace, &format!("data-{robot}"), robot, &text);
}
