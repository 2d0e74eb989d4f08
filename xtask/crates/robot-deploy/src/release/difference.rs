//! What a release would change about services, for people to read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compose::is_ours;
use super::files::undoubled;

/// Differences between the definitions of a service, a line for each setting. Values that contain one of `secrets` are not
/// shown; old values never are: nobody knows any more which of them came from an `.env` file.
pub fn lines(before: &Value, after: &Value, secrets: &BTreeSet<String>) -> Vec<String> {
    let (before, after) = (settings(before), settings(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let line = |name: &&String| {
        let new = after.get(*name);
        if before.get(*name) == new {
            return None;
        }
        Some(match new {
            Some(value) if secrets.iter().any(|secret| value.contains(secret)) => {
                format!("{name}: another value")
            }
            Some(value) => format!("{name}: `{}` now", value.escape_debug()),
            None => format!("{name}: not set now"),
        })
    };
    names.iter().filter_map(line).collect()
}

/// All that a definition says, each under its path.
fn settings(definition: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![(String::new(), definition)];
    while let Some((path, value)) = left.pop() {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(table) => {
                left.extend(
                    table.iter().filter(|(key, _)| !is_ours(key)).map(|(key, value)| (below(key), value)),
                );
            }
            Value::Array(list) => {
                left.extend(list.iter().enumerate().map(|(index, value)| (below(&index.to_string()), value)));
            }
            Value::Null => {}
            Value::String(text) => drop(found.insert(path, undoubled(text))),
            other => drop(found.insert(path, other.to_string())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_setting_is_told_and_no_secret() {
        let before = json!({"environment": {"SPEED": "1", "KEY": "hush", "OLD": "x"}, "command": ["a", "b"],
            "labels": {"xtask.hash": "1"}, "init": true});
        let after = json!({"environment": {"SPEED": "2", "KEY": "key=qui$$et"}, "command": ["a", "c"],
            "labels": {"xtask.hash": "2"}, "init": true});
        assert_eq!(
            lines(&before, &after, &["qui$et".to_owned()].into()),
            [
                "command.1: `c` now",
                "environment.KEY: another value",
                "environment.OLD: not set now",
                "environment.SPEED: `2` now",
            ]
        );
    }
}
