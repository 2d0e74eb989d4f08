//! The history of a robot: one line for each change that a person or the robot itself made.

use serde::Serialize;

use super::{metadata, stored};
use crate::error::Result;
use crate::process::Cmd;
use crate::robot::{Session, outcome};
use crate::robot_side::Script;
use crate::robot_side::lines::{self, stored as word};

/// A line of a robot's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// Time by the robot's clock.
    pub at: String,
    /// `user@machine`, or `robot` for changes that the robot made by itself.
    pub by: String,
    /// The verb, such as `deploy` or `rollback`.
    pub what: String,
    /// Number of the release that the entry is about, if it is about one.
    pub release: Option<u32>,
    pub outcome: String,
}

/// Records a change that was made on a robot.
pub(crate) fn record(session: &Session, project: &str, what: &str, words: &str) -> Result<()> {
    command(session, project, what, words).run()
}

/// Records a command that a person runs by hand. A history that cannot be written does not stop the command.
pub(crate) fn try_record(session: &Session, project: &str, what: &str, words: &[String]) {
    command(session, project, what, &shell_words::join(words)).clean_up();
}

/// Returns the argv that records a command in the history and then runs it. Without a command it starts the
/// login shell of the robot's user.
pub(crate) fn recorded(project: &str, what: &str, command: &[String]) -> Vec<String> {
    let (by, words) = (metadata::whoami(), shell_words::join(command));
    let recorded = Script::RecordAndRun.argv(&[project, &by, what, &words]);
    recorded.into_iter().chain(command.iter().cloned()).collect()
}

fn command(session: &Session, project: &str, what: &str, words: &str) -> Cmd {
    session.command(Script::Record.argv(&[project, &metadata::whoami(), what, words]))
}

/// Reads a robot's history, oldest entry first.
pub(crate) fn read(session: &Session, project: &str) -> Result<Vec<Entry>> {
    let text = stored::ask(session, project, "history")?;
    Ok(lines::read(&text).filter_map(|line| parse(&line)).collect())
}

fn parse(line: &[&str]) -> Option<Entry> {
    let [word::ENTRY, at, by, what, release, outcome] = *line else { return None };
    let [at, by, what] = [at, by, what].map(str::to_owned);
    Some(Entry { at, by, what, release: release.parse().ok(), outcome: outcome::in_words(outcome) })
}
