//! `busy` of a robot: tells deploys when the robot must not be disturbed, for instance during a match.

use std::time::Duration;

use super::keys::Reader;
use super::raw::{RawBusy, Text};
use super::releases::number;

/// Greatest age of a heartbeat in seconds, unless `within` is set.
const WITHIN: u32 = 3;

/// Test for whether a robot is busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Busy {
    /// A command on the robot that succeeds while the robot is busy.
    Command(Vec<String>),
    /// A file on the robot that a process holds locked with flock(2) while the robot is busy.
    Lock(String),
    /// A file in a service's container that is written repeatedly while the robot is busy.
    Heartbeat {
        service: String,
        /// Path in the container of the service.
        file: String,
        /// Greatest age of the last write.
        within: Duration,
    },
}

const EXAMPLES: &str = "write one of `{ command = [\"pgrep\", \"match\"] }`, `{ lock = \"/run/lock/match\" }` or \
                        `{ heartbeat = \"/tmp/driving\", service = \"behavior_tree\" }`";

/// Validates `busy`; returns `None` after a mistake.
pub(super) fn busy(raw: &RawBusy<'_>, reader: &mut Reader<'_>) -> Option<Busy> {
    if raw.tests != 1 {
        reader.refuse(
            raw.span.clone(),
            "`busy` needs exactly one of `command`, `lock` and `heartbeat`",
            EXAMPLES,
        );
        return None;
    }
    for (key, span) in [
        ("service", raw.service.as_ref().map(toml::Spanned::span)),
        ("within", raw.within.as_ref().map(toml::Spanned::span)),
    ] {
        if let Some(span) = span
            && (raw.command.is_some() || raw.lock.is_some())
        {
            reader.refuse(span, format!("`{key}` is only for `heartbeat`"), EXAMPLES);
            return None;
        }
    }
    if let Some(command) = &raw.command {
        let words: Vec<String> = command.get_ref().iter().map(|word| word.get_ref().to_string()).collect();
        if words.first().is_none_or(|program| program.is_empty()) {
            reader.refuse(command.span(), "`command` has no program to run", EXAMPLES);
            return None;
        }
        return Some(Busy::Command(words));
    }
    if let Some(lock) = &raw.lock {
        return Some(Busy::Lock(absolute("lock", lock, reader)?));
    }
    heartbeat(raw, reader)
}

fn heartbeat(raw: &RawBusy<'_>, reader: &mut Reader<'_>) -> Option<Busy> {
    let file = absolute("heartbeat", raw.heartbeat.as_ref()?, reader)?;
    let Some(service) = &raw.service else {
        reader.refuse(raw.span.clone(), "`busy` has a `heartbeat` but no `service`", EXAMPLES);
        return None;
    };
    let within =
        number("within", raw.within.as_ref(), 1..=3600, "write a number of seconds, from 1 to 3600", reader);
    let within = Duration::from_secs(within.unwrap_or(WITHIN).into());
    Some(Busy::Heartbeat { service: service.get_ref().to_string(), file, within })
}

/// Refuses a path that depends on a working directory.
fn absolute(key: &str, text: &Text<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let path = *text.get_ref();
    if path.starts_with('/') && !path.contains('\0') {
        return Some(path.to_owned());
    }
    let message = format!("`{}` is not an absolute path", path.escape_debug());
    reader.refuse(text.span(), message, format!("write `{key} = \"/…\"`, a path on the robot"));
    None
}
