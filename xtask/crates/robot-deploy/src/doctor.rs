//! Report of `cargo xtask doctor`: a list of checks, each with its remedy. A failed check does not stop the
//! others.
//!
//! The host and each robot provide [`Source`]s of checks. All sources run at the same time, since most of
//! them wait for the engine, for a disk or for a robot.

use serde::Serialize;

use crate::error::panicked;
use crate::{parallel, ui};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `host`, or the name of a robot.
    pub scope: String,
    pub name: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    Good {
        /// For instance a version or a size.
        detail: String,
    },
    /// Good to know, but nothing fails because of it.
    Note {
        detail: String,
        /// Command or change, if the user may want one.
        #[serde(skip_serializing_if = "Option::is_none")]
        remedy: Option<String>,
    },
    /// Something will fail.
    Bad {
        problem: String,
        /// Command or change that fixes the problem.
        remedy: String,
    },
}

impl Outcome {
    pub fn good(detail: impl Into<String>) -> Self {
        Self::Good { detail: detail.into() }
    }

    pub fn note(detail: impl Into<String>) -> Self {
        Self::Note { detail: detail.into(), remedy: None }
    }

    pub fn note_with(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Note { detail: detail.into(), remedy: Some(remedy.into()) }
    }

    pub fn bad(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Bad { problem: problem.into(), remedy: remedy.into() }
    }

    /// Judges `free` bytes of a disk: below `least` a deploy fails, below `usual` a first one may.
    pub fn space(free: u64, at: &str, [least, usual]: [u64; 2], remedy: impl Into<String>) -> Self {
        let text = format!("{} free {at}", ui::bytes(free));
        match free {
            _ if free >= usual => Self::good(text),
            _ if free >= least => {
                Self::note_with(format!("{text}; a first deploy may need {}", ui::bytes(usual)), remedy)
            }
            _ => Self::bad(format!("only {text}, {} needed", ui::bytes(least)), remedy),
        }
    }

    pub fn note_error(error: &anyhow::Error) -> Self {
        Self::note_with(format!("{error:#}"), crate::error::hints_of(error).join("; "))
    }

    /// Turns an error into a problem, with its hints as the remedy.
    pub fn error(error: &anyhow::Error) -> Self {
        Self::bad(format!("{error:#}"), crate::error::hints_of(error).join("; "))
    }
}

impl Check {
    pub fn new(scope: impl Into<String>, name: &'static str, outcome: Outcome) -> Self {
        Self { scope: scope.into(), name, outcome }
    }

    pub fn is_bad(&self) -> bool {
        matches!(self.outcome, Outcome::Bad { .. })
    }
}

/// Performs checks that are independent of all others.
pub(crate) type Source<'a> = Box<dyn FnOnce() -> Vec<Check> + Send + 'a>;

/// Runs all sources at the same time; returns the checks in the order of the sources.
pub(crate) fn gather(sources: Vec<Source<'_>>) -> Vec<Check> {
    let checks = parallel::try_map(sources, |source| source());
    checks
        .into_iter()
        .flat_map(|checks| checks.unwrap_or_else(|panic| vec![broken(panic.as_ref())]))
        .collect()
}

/// Check for a source that panicked.
fn broken(panic: &(dyn std::any::Any + Send)) -> Check {
    let outcome = Outcome::bad(panicked(panic).to_string(), "please report it, with the lines above");
    Check { scope: "xtask".to_owned(), name: "itself", outcome }
}

/// Formats the checks as a table, each remedy below its problem.
pub(crate) fn table(checks: &[Check]) -> String {
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
    fn the_table_shows_remedies() {
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
    fn the_json_has_flat_objects() {
        let json = serde_json::to_value(checks()).unwrap();
        assert_eq!(
            json[0],
            serde_json::json!({"scope": "host", "name": "buildx", "outcome": "good", "detail": "0.13.1"})
        );
        assert_eq!(json[1]["remedy"], "`cargo xtask prune`");
    }

    #[test]
    fn sources_run_at_once_and_answer_in_order() {
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
