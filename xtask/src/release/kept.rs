//! The releases that a robot keeps, and its diary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::about::{self, About};
use crate::error::Result;
use crate::process::{self, Cmd};
use crate::robot::Session;

/// The robot's part.
const LIST: &str = concat!(include_str!("scripts/release.sh"), include_str!("scripts/list.sh"));

/// The robot's part: `WHO WHAT WORDS`.
const NOTE: &str = concat!(include_str!("scripts/release.sh"), include_str!("scripts/note.sh"));

/// The same, and then what is noted.
const MENTIONED: &str = concat!(
    "mask=$(umask)\n",
    include_str!("scripts/release.sh"),
    "(\n",
    include_str!("scripts/note.sh"),
    ") 2>/dev/null\n",
    "umask \"$mask\"\nshift 3\n[ $# -gt 0 ] || set -- \"${SHELL:-sh}\" -l\nexec \"$@\"\n",
);

/// A release that a robot keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its number: releases of a robot are counted.
    pub release: u32,
    /// Whether it is the one that runs.
    pub is_current: bool,
    /// Whether it is the one that ran before that.
    pub is_previous: bool,
    /// What the robot knows of it; none where that was lost.
    #[serde(flatten)]
    pub record: Option<Record>,
}

/// What `release.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `healthy`, `activating`, `restored`, `unhealthy` or `broken-off`: what came of it.
    pub outcome: String,
    /// Why, unless all went well.
    #[serde(default)]
    pub reason: String,
    /// Since when that is so, by the robot's clock.
    #[serde(default)]
    pub since: String,
    /// Who brought it, and what it is.
    pub deploy: Option<About>,
}

/// What somebody did on a robot, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// When, by the robot's clock.
    pub at: String,
    /// Who: `user@machine`, or `robot` for what it did by itself.
    pub by: String,
    /// The verb.
    pub what: String,
    /// The release that it was about.
    pub release: String,
    /// What came of it.
    pub outcome: String,
}

/// Writes into a robot's diary what has been done there.
///
/// # Errors
/// Fails when the connection is gone.
pub fn note(session: &Session, project: &str, what: &str, words: &str) -> Result<()> {
    entry(session, project, what, words).run()
}

/// The same for what people look at or try by hand, which a diary that cannot be written must not keep them from.
pub fn mention(session: &Session, project: &str, what: &str, words: &[String]) {
    entry(session, project, what, &shell_words::join(words)).clean_up();
}

/// What runs a command on a robot, or a shell of its user if there is none, after the same.
pub fn mentioned(project: &str, what: &str, command: &[String]) -> Vec<String> {
    let words =
        ["sh", "-c", MENTIONED, "note", project, &about::somebody(), what, &shell_words::join(command)];
    words.into_iter().map(str::to_owned).chain(command.iter().cloned()).collect()
}

fn entry(session: &Session, project: &str, what: &str, words: &str) -> Cmd {
    session.command(["sh", "-c", NOTE, "note", project, &about::somebody(), what, words])
}

/// What a robot says of itself. A dry run asks nobody.
fn ask(session: &Session, project: &str, what: &str) -> Result<String> {
    if process::mode().dry_run {
        return Ok(String::new());
    }
    session.command(["sh", "-c", LIST, "list", project, what]).read()
}

/// The releases that a robot keeps, latest first.
///
/// # Errors
/// Fails when the connection is gone.
pub fn list(session: &Session, project: &str) -> Result<Vec<Kept>> {
    Ok(parse(&ask(session, project, "releases")?))
}

/// What the release that runs says of each service, as a hash.
///
/// # Errors
/// Fails when the connection is gone.
pub fn services(session: &Session, project: &str) -> Result<BTreeMap<String, String>> {
    Ok(wanted(&ask(session, project, "services")?))
}

/// What Compose was told of each service of the release that runs; null where that cannot be read.
///
/// # Errors
/// Fails when the connection is gone.
pub fn definitions(session: &Session, project: &str) -> Result<Value> {
    let model: Value = serde_json::from_str(&ask(session, project, "compose")?).unwrap_or_default();
    Ok(model["services"].clone())
}

/// The services in what the robot's script says.
pub(super) fn wanted(text: &str) -> BTreeMap<String, String> {
    let service = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        ["wanted", service, hash] => Some((service.to_owned(), hash.to_owned())),
        _ => None,
    };
    text.lines().filter_map(service).collect()
}

/// What was done on a robot, oldest first.
///
/// # Errors
/// Fails when the connection is gone.
pub fn history(session: &Session, project: &str) -> Result<Vec<Deed>> {
    let text = ask(session, project, "history")?;
    let deed = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        ["deed", at, by, what, release, outcome] => {
            let [at, by, what, release, outcome] = [at, by, what, release, outcome].map(str::to_owned);
            Some(Deed { at, by, what, release, outcome })
        }
        // A login shell may print a greeting of its own.
        _ => None,
    };
    Ok(text.lines().filter_map(deed).collect())
}

/// The releases in what the robot's script says.
pub(super) fn parse(text: &str) -> Vec<Kept> {
    let kept = |line: &str| match line.splitn(4, '\t').collect::<Vec<_>>()[..] {
        ["release", number, place, record] => Some(Kept {
            release: number.parse().ok()?,
            is_current: place == "current",
            is_previous: place == "previous",
            // Of a file that was cut off nothing is known.
            record: serde_json::from_str(record).ok(),
        }),
        _ => None,
    };
    let mut releases: Vec<Kept> = text.lines().filter_map(kept).collect();
    releases.sort_by_key(|kept| std::cmp::Reverse(kept.release));
    releases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_lists_of_releases_are_read() {
        let list = br#"release	9	previous	{"rel
release	10	current	{"outcome":"healthy","reason":"","since":"2026","deploy":{"revision":"v1","dirty":true,"by":"a@b","at":"c","via":"registry","images":{"a":"b"}}}
wanted	navigation	cafe
release	4294967295	-	null"#;
        fuzz("releases", 1_000, &[list], |bytes| {
            let text = text(bytes);
            drop((parse(&text), wanted(&text)));
        });
    }

    #[test]
    fn releases_are_read_latest_first_and_lost_records_are_no_obstacle() {
        let record = r#"{ "release": 10, "outcome": "healthy", "reason": "", "since": "2026-01-01T00:00:00Z",
            "deploy": {"revision": "v1", "dirty": true, "by": "anna@laptop", "at": "…", "via": "registry", "images": {}} }"#;
        let text = format!(
            "Welcome!\nrelease\t9\tprevious\t{{ \"rel\nrelease\t10\tcurrent\t{}",
            record.replace('\n', " ")
        );
        let releases = parse(&text);
        assert_eq!(releases.iter().map(|kept| kept.release).collect::<Vec<_>>(), [10, 9]);
        let record = releases[0].record.as_ref().unwrap();
        assert_eq!(record.deploy.as_ref().unwrap().source.in_words(), "v1 (dirty)");
        assert!(releases[0].is_current && releases[1].is_previous && releases[1].record.is_none());
    }
}
