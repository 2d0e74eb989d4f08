//! `busy` of a robot: what tells that it must not be disturbed, say because it plays a match.

use std::time::Duration;

use super::keys::Reader;
use super::raw::{RawBusy, Text};
use super::releases::number;

/// How old a heartbeat may be unless `within` says otherwise.
const WITHIN: u32 = 3;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Busy {
    /// A command on the robot that succeeds while it is busy.
    Command(Vec<String>),
    /// A file on the robot that somebody holds locked, flock(2), while it is busy.
    Lock(String),
    /// A file in a service's container that is written to again and again while the robot is busy.
    Heartbeat {
        /// The service.
        service: String,
        /// The file, in its container.
        file: String,
        /// How long ago it may have been written to.
        within: Duration,
    },
}

const EXAMPLES: &str = "write one of `{ command = [\"pgrep\", \"match\"] }`, `{ lock = \"/run/lock/match\" }` and \
                        `{ heartbeat = \"/tmp/driving\", service = \"behavior_tree\" }`";

/// What is written; `None` when it cannot be understood.
pub fn busy(raw: &RawBusy<'_>, reader: &mut Reader<'_>) -> Option<Busy> {
    if raw.ways != 1 {
        reader.refuse(raw.span.clone(), "`busy` has to say one thing", EXAMPLES);
        return None;
    }
    for (key, span) in [
        ("service", raw.service.as_ref().map(toml::Spanned::span)),
        ("within", raw.within.as_ref().map(toml::Spanned::span)),
    ] {
        if let Some(span) = span
            && (raw.command.is_some() || raw.lock.is_some())
        {
            reader.refuse(span, format!("`{key}` belongs to a `heartbeat`"), EXAMPLES);
            return None;
        }
    }
    if let Some(command) = &raw.command {
        let words: Vec<String> = command.get_ref().iter().map(|word| word.get_ref().to_string()).collect();
        if words.first().is_none_or(|program| program.is_empty()) {
            reader.refuse(command.span(), "`command` names no program", EXAMPLES);
            return None;
        }
        return Some(Busy::Command(words));
    }
    if let Some(lock) = &raw.lock {
        return Some(Busy::Lock(absolute("lock", lock, reader)?));
    }
    let file = absolute("heartbeat", raw.heartbeat.as_ref()?, reader)?;
    let Some(service) = &raw.service else {
        reader.refuse(raw.span.clone(), "`busy` has a `heartbeat` and no `service`", EXAMPLES);
        return None;
    };
    let within = number("within", raw.within.as_ref(), 1..=3600, "seconds, from 1 to 3600", reader);
    let within = Duration::from_secs(within.unwrap_or(WITHIN).into());
    Some(Busy::Heartbeat { service: service.get_ref().to_string(), file, within })
}

/// A path that means the same wherever one stands.
fn absolute(key: &str, text: &Text<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let path = *text.get_ref();
    if path.starts_with('/') && !path.contains('\0') {
        return Some(path.to_owned());
    }
    let message = format!("`{}` is no absolute path", path.escape_debug());
    reader.refuse(text.span(), message, format!("write `{key} = \"/…\"`, a path on the robot"));
    None
}
