//! What `cargo xtask doctor` reports: a list of checks, all of them made, each with its remedy.
//!
//! Whoever knows something to look at gives a [`Source`]; sources are asked at the same time, since most of
//! them wait: for the engine, for a disk, for a robot.

use serde::Serialize;

use crate::error::panicked;
use crate::ui;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Where: `host`, or a robot's name.
    pub scope: String,
    /// What.
    pub name: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Good {
        /// What there is: a version, a size.
        detail: String,
    },
    /// Good to know; nothing fails because of it.
    Note {
        /// What there is.
        detail: String,
        /// How to change it, where one might want to.
        #[serde(skip_serializing_if = "Option::is_none")]
        remedy: Option<String>,
    },
    /// Something will fail.
    Bad {
        /// What is wrong.
        problem: String,
        /// The command or the change that mends it.
        remedy: String,
    },
}

impl Outcome {
    /// All is well.
    pub fn good(detail: impl Into<String>) -> Self {
        Self::Good { detail: detail.into() }
    }

    /// Good to know.
    pub fn note(detail: impl Into<String>) -> Self {
        Self::Note { detail: detail.into(), remedy: None }
    }

    /// Good to know, and how to change it.
    pub fn note_with(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Note { detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// Something will fail.
    pub fn bad(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Bad { problem: problem.into(), remedy: remedy.into() }
    }

    /// An error that is no more than good to know.
    pub fn note_error(error: &anyhow::Error) -> Self {
        Self::note_with(format!("{error:#}"), crate::error::hints_of(error).join("; "))
    }

    /// An error: its chain is the problem, its hints are the remedy.
    pub fn error(error: &anyhow::Error) -> Self {
        Self::bad(format!("{error:#}"), crate::error::hints_of(error).join("; "))
    }
}

impl Check {
    /// A check of `scope`.
    pub fn new(scope: impl Into<String>, name: &'static str, outcome: Outcome) -> Self {
        Self { scope: scope.into(), name, outcome }
    }

    /// Whether something will fail.
    pub fn is_bad(&self) -> bool {
        matches!(self.outcome, Outcome::Bad { .. })
    }
}

/// Something that can be looked at on its own.
pub type Source<'a> = Box<dyn FnOnce() -> Vec<Check> + Send + 'a>;

/// Asks all sources at the same time; the answers come in the order of the sources.
pub fn gather(sources: Vec<Source<'_>>) -> Vec<Check> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = sources.into_iter().map(|source| scope.spawn(source)).collect();
        asked
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| vec![broken(panic.as_ref())]))
            .collect()
    })
}

/// The finding of a source that panics.
fn broken(panic: &(dyn std::any::Any + Send)) -> Check {
    let outcome = Outcome::bad(panicked(panic).to_string(), "please report it, with the lines above");
    Check { scope: "xtask".to_owned(), name: "itself", outcome }
}

/// The checks as a table for people, remedies below what they mend.
pub fn table(checks: &[Check]) -> String {
    let rows = checks.iter().flat_map(|check| {
        let (state, text, remedy) = match &check.outcome {
            Outcome::Good { detail } => ("ok", detail, None),
            Outcome::Note { detail, remedy } => ("note", detail, remedy.as_ref()),
            Outcome::Bad { problem, remedy } => ("BAD", problem, Some(remedy)),
        };
        let remedy = remedy.filter(|remedy| !remedy.is_empty()).map(|remedy| format!("help: {remedy}"));
        let lines = text.lines().map(str::to_owned).chain(remedy);
        lines.enumerate().map(move |(number, line)| match number {
            0 => [state.to_owned(), check.scope.clone(), check.name.to_owned(), line],
            _ => [String::new(), String::new(), String::new(), line],
        })
    });
    ui::table(["", "where", "what", "finding"], &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            Check::new("host", "buildx", Outcome::good("0.13.1")),
            Check::new("main", "disk", Outcome::bad("1.2 GB free\nof 16 GB", "`cargo xtask prune`")),
        ]
    }

    #[test]
    fn people_read_a_table_with_remedies() {
        assert_eq!(
            table(&checks()),
            "     where  what    finding\n\
             ok   host   buildx  0.13.1\n\
             BAD  main   disk    1.2 GB free\n\
             \x20                   of 16 GB\n\
             \x20                   help: `cargo xtask prune`"
        );
    }

    #[test]
    fn scripts_read_flat_objects() {
        let json = serde_json::to_value(checks()).unwrap();
        assert_eq!(
            json[0],
            serde_json::json!({"scope": "host", "name": "buildx", "outcome": "good", "detail": "0.13.1"})
        );
        assert_eq!(json[1]["remedy"], "`cargo xtask prune`");
    }

    #[test]
    fn sources_are_asked_at_once_and_answer_in_order() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let waits: Source<'_> = Box::new(move || {
            receiver.recv().unwrap();
            vec![checks().remove(0)]
        });
        let releases: Source<'_> = Box::new(move || {
            sender.send(()).unwrap();
            vec![checks().remove(1)]
        });
        assert_eq!(gather(vec![waits, releases]), checks());
    }
}
