//! Results of activations, as the robot's `activate` script reports them.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};

/// Result of an activation: the word behind `end` in the events of a release (`robot-side/activate.sh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new release runs and is healthy.
    Active,
    /// The new release was unhealthy, and the robot rolled back to the one before.
    #[serde(rename = "restored")]
    RolledBack,
    /// The activation was broken off, for example by a power cut, and the robot rolled back.
    BrokenOff,
    /// The new release is unhealthy and was left running (`--no-rollback`).
    Kept,
    /// The release is unhealthy, and there is no other release to roll back to.
    Unhealthy,
    /// The robot rolls back as soon as its Docker runs again.
    PutOff,
    /// The robot did not start the activation.
    Refused,
    /// A live edit made a service unhealthy, and the old files were put back.
    Undone,
    /// Nothing was started: the containers do not have the files that a live edit expects, or refuse it.
    NotEdited,
    /// The new release was unhealthy, and the one before does not work any more either. Also every word that
    /// this version of xtask does not know.
    Stuck,
}

impl Outcome {
    /// Parses the word that the robot reports.
    pub fn parse(word: &str) -> Self {
        Self::deserialize(StrDeserializer::<Error>::new(word)).unwrap_or(Self::Stuck)
    }
}

/// The outcome in a robot's records in the words of all tables: the text begins with a word of [`Outcome`], which a
/// reason may follow.
pub fn in_words(text: &str) -> String {
    let (word, reason) = text.split_once(": ").map_or((text, None), |(word, reason)| (word, Some(reason)));
    let words = match word {
        "active" => "healthy",
        "restored" => "rolled back",
        "broken-off" => "interrupted and rolled back",
        "kept" => "unhealthy, left running",
        "put-off" => "rollback postponed",
        other => other,
    };
    reason.map_or(words.to_owned(), |reason| format!("{words}: {reason}"))
}

/// Result of an activation that no person has seen yet, because the connection was lost before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingOutcome {
    /// Number of the release that was to be activated.
    pub release: String,
    pub outcome: Outcome,
    /// Empty for [`Outcome::Active`].
    pub reason: String,
}

impl PendingOutcome {
    /// Parses the fields of a line `news`.
    pub fn parse(release: &str, word: &str, reason: &str) -> Self {
        Self { release: release.to_owned(), outcome: Outcome::parse(word), reason: reason.to_owned() }
    }
}

impl fmt::Display for PendingOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, outcome, reason } = self;
        match outcome {
            Outcome::Active => write!(f, "release {release} was activated after the connection was lost"),
            Outcome::RolledBack | Outcome::BrokenOff => {
                write!(f, "release {release} was rolled back: {reason}")
            }
            Outcome::Unhealthy => {
                write!(f, "release {release} is unhealthy: {reason}; `cargo xtask logs` shows its output")
            }
            _ => write!(f, "release {release} is unhealthy: {reason}"),
        }
    }
}
