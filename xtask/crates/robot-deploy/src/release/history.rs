//! The history of a robot: one line for each change that a person or the robot itself made.

use serde::Serialize;

use super::{metadata, stored};
use crate::error::Result;
use crate::process::Cmd;
use crate::robot::Session;

/// `record.sh` with its common part. Arguments: `PROJECT BY ACTION OUTCOME`.
const RECORD: &str = concat!(include_str!("scripts/release.sh"), include_str!("scripts/record.sh"));

/// Records an entry, whether or not the disk takes it, and then runs the command in the remaining arguments.
const RECORD_AND_RUN: &str = concat!(
    "mask=$(umask)\n",
    include_str!("scripts/release.sh"),
    "(\n",
    include_str!("scripts/record.sh"),
    ") 2>/dev/null\n",
    "umask \"$mask\"\nshift 3\n[ $# -gt 0 ] || set -- \"${SHELL:-sh}\" -l\nexec \"$@\"\n",
);

/// A line of a robot's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Time by the robot's clock.
    pub at: String,
    /// `user@machine`, or `robot` for changes that the robot made by itself.
    pub by: String,
    /// The verb, such as `deploy` or `rollback`.
    pub what: String,
    /// Number of the release that the entry is about.
    pub release: String,
    pub outcome: String,
}

/// Records a change that was made on a robot.
pub fn record(session: &Session, project: &str, what: &str, words: &str) -> Result<()> {
    command(session, project, what, words).run()
}

/// Records a command that a person runs by hand. A history that cannot be written does not stop the command.
pub fn try_record(session: &Session, project: &str, what: &str, words: &[String]) {
    command(session, project, what, &shell_words::join(words)).clean_up();
}

/// Returns the argv that records a command in the history and then runs it. Without a command it starts the
/// login shell of the robot's user.
pub fn recorded(project: &str, what: &str, command: &[String]) -> Vec<String> {
    let by = metadata::whoami();
    let words = ["sh", "-c", RECORD_AND_RUN, "record", project, &by, what, &shell_words::join(command)];
    words.into_iter().map(str::to_owned).chain(command.iter().cloned()).collect()
}

fn command(session: &Session, project: &str, what: &str, words: &str) -> Cmd {
    session.command(["sh", "-c", RECORD, "record", project, &metadata::whoami(), what, words])
}

/// Reads a robot's history, oldest entry first.
pub fn read(session: &Session, project: &str) -> Result<Vec<Entry>> {
    let text = stored::ask(session, project, "history")?;
    Ok(text.lines().filter_map(parse).collect())
}

/// Parses a line of `list.sh`. Other lines, such as the greeting of a login shell, are not entries.
fn parse(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split('\t').collect();
    let ["entry", at, by, what, release, outcome] = fields[..] else { return None };
    let [at, by, what, release, outcome] = [at, by, what, release, outcome].map(str::to_owned);
    Some(Entry { at, by, what, release, outcome })
}
