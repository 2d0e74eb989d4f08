//! Changes that a release makes to the definitions of services, for people to read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compose::is_ours;
use super::files::undoubled;

/// Returns a line for each setting that differs between two definitions of a service. Values that contain one
/// of `secrets` are hidden. Old values are always hidden, because any of them may have come from an `.env`
/// file.
pub(crate) fn lines(before: &Value, after: &Value, secrets: &BTreeSet<String>) -> Vec<String> {
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

/// Returns all settings of a definition by path, such as `environment.SPEED`.
fn settings(definition: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut remaining = vec![(String::new(), definition)];
    while let Some((path, value)) = remaining.pop() {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(table) => {
                remaining.extend(
                    table.iter().filter(|(key, _)| !is_ours(key)).map(|(key, value)| (below(key), value)),
                );
            }
            Value::Array(list) => {
                remaining
                    .extend(list.iter().enumerate().map(|(index, value)| (below(&index.to_string()), value)));
            }
            Value::Null => {}
            Value::String(text) => found.extend([(path, undoubled(text))]),
            other => found.extend([(path, other.to_string())]),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_shown_and_secrets_are_not() {
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
