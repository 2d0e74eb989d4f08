//! Releases that are stored on a robot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metadata::Metadata;
use crate::error::Result;
use crate::robot::survey::Edits;
use crate::robot::{Session, outcome};
use crate::robot_side::Script;
use crate::robot_side::lines::{self, stored as word};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StoredRelease {
    /// Number of the release; each robot counts its own.
    pub release: u32,
    /// True if it is the release that runs.
    pub is_current: bool,
    /// True if it is the release that ran before the current one.
    pub is_previous: bool,
    /// Live edits of the release that runs.
    pub live_edits: Option<Edits>,
    /// The robot's record; `None` if it is missing or damaged.
    #[serde(flatten)]
    pub record: Option<Record>,
}

/// Content of `release.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The outcome in words; `activating` before there is one.
    pub outcome: String,
    /// Reason of the outcome; empty for a healthy release.
    #[serde(default)]
    pub reason: String,
    /// Time of the outcome, by the robot's clock.
    #[serde(default)]
    pub since: String,
    /// Metadata from the machine that deployed it.
    pub deploy: Option<Metadata>,
}

/// Returns what `list.sh` prints about a subject.
pub(super) fn ask(session: &Session, project: &str, what: &str) -> Result<String> {
    session.command(Script::List.argv(&[project, what])).read()
}

/// Returns the releases that are stored on a robot, latest first.
pub(crate) fn list(session: &Session, project: &str) -> Result<Vec<StoredRelease>> {
    Ok(parse(&ask(session, project, "releases")?))
}

/// Returns the hash of each service of the current release.
pub(crate) fn services(session: &Session, project: &str) -> Result<BTreeMap<String, String>> {
    Ok(wanted(&ask(session, project, "services")?))
}

/// Returns the definition of each service of the current release, or null if the Compose file cannot be
/// parsed.
pub(crate) fn definitions(session: &Session, project: &str) -> Result<Value> {
    let model: Value = serde_json::from_str(&ask(session, project, "compose")?).unwrap_or_default();
    Ok(model["services"].clone())
}

/// Parses the services in the output of `list.sh`.
pub(super) fn wanted(text: &str) -> BTreeMap<String, String> {
    let service = |line: Vec<&str>| match line[..] {
        [word::WANTED, service, hash] => Some((service.to_owned(), hash.to_owned())),
        _ => None,
    };
    lines::read(text).filter_map(service).collect()
}

/// Parses the releases in the output of `list.sh`.
pub(super) fn parse(text: &str) -> Vec<StoredRelease> {
    let edits = lines::read(text).find_map(|line| match line[..] {
        [word::EDITS, count, by] => Some(Edits::parse(count, by)),
        _ => None,
    });
    let stored = |line: Vec<&str>| match line[..] {
        [word::RELEASE, number, place, record] => Some(StoredRelease {
            release: number.parse().ok()?,
            is_current: place == "current",
            is_previous: place == "previous",
            live_edits: edits.clone().filter(|_| place == "current"),
            // A truncated record does not hide the release.
            record: serde_json::from_str(record)
                .ok()
                .map(|record: Record| Record { outcome: outcome::in_words(&record.outcome), ..record }),
        }),
        _ => None,
    };
    let mut releases: Vec<StoredRelease> = lines::read(text).filter_map(stored).collect();
    releases.sort_by_key(|stored| std::cmp::Reverse(stored.release));
    releases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_lists_of_releases_are_parsed() {
        let list = br#"release	9	previous	{"rel
edits	2	a@b
release	10	current	{"outcome":"healthy","reason":"","since":"2026","deploy":{"revision":"v1","dirty":true,"by":"a@b","at":"c","via":"registry","images":{"a":"b"}}}
wanted	navigation	cafe
release	4294967295	-	null"#;
        fuzz("releases", 1_000, &[list], |bytes| {
            let text = text(bytes);
            drop((parse(&text), wanted(&text)));
        });
    }

    #[test]
    fn releases_are_sorted_and_may_lack_records() {
        let record = r#"{ "release": 10, "outcome": "healthy", "reason": "", "since": "2026-01-01T00:00:00Z",
            "deploy": {"revision": "v1", "dirty": true, "by": "anna@laptop", "at": "…", "via": "registry", "images": {}} }"#;
        let text = format!(
            "Welcome!\nedits\t2\tben@laptop\nrelease\t9\tprevious\t{{ \"rel\nrelease\t10\tcurrent\t{}",
            record.replace('\n', " ")
        );
        let releases = parse(&text);
        assert_eq!(releases.iter().map(|stored| stored.release).collect::<Vec<_>>(), [10, 9]);
        let record = releases[0].record.as_ref().unwrap();
        assert_eq!(record.deploy.as_ref().unwrap().source.in_words(), "v1 (dirty)");
        let edits =
            |stored: &StoredRelease| stored.live_edits.as_ref().map(|edits| (edits.count, edits.by.clone()));
        assert_eq!((edits(&releases[0]), edits(&releases[1])), (Some((2, "ben@laptop".to_owned())), None));
        assert!(releases[0].is_current && releases[1].is_previous && releases[1].record.is_none());
    }
}
