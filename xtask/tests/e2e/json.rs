//! `--json`: every field is documented, with its type, and every documented field is printed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::harness::{Lab, MAIN, ODOMETRY, PROJECT, Workspace};

const DOCUMENT: &str = include_str!("../../../docs/json.md");

/// Types of the documented fields of a verb.
fn documented(heading: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## `{heading}`\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        Some((cells.next()?.trim().trim_end_matches('`'), cells.next()?.trim()))
    };
    section.lines().filter_map(row).collect()
}

/// Compares a value and all below it with the documented types; adds the fields that were seen.
fn compare(value: &Value, path: &str, types: &BTreeMap<&'static str, &str>, seen: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    let is_inner = types.keys().any(|known| known.starts_with(path) && *known != path);
    match types.get(path) {
        Some(documented) => {
            assert!(documented.split(" or ").any(|known| known == kind), "`{path}` is {kind}: {value}");
            seen.insert(path.to_owned());
        }
        None => assert!(is_inner, "`{path}` is not documented: {value}"),
    }
    if !is_inner {
        return;
    }
    let joined = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Array(items) => items.iter().for_each(|item| compare(item, &format!("{path}[]"), types, seen)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, item)| compare(item, &joined(name), types, seen))
        }
        _ => {}
    }
}

/// Runs verbs and fails unless they print exactly the documented fields. `by_robot` tells whether the outer object has
/// the robots.
fn check(workspace: &Workspace, heading: &str, runs: &[&[&str]], by_robot: bool) {
    let (types, mut seen) = (documented(heading), BTreeSet::new());
    for args in runs {
        let printed: Value = serde_json::from_str(&workspace.xtask(args).stdout).unwrap();
        match printed.as_object().filter(|_| by_robot) {
            Some(robots) => robots.values().for_each(|value| compare(value, "*", &types, &mut seen)),
            None => compare(&printed, "", &types, &mut seen),
        }
    }
    let missing: Vec<&&str> = types.keys().filter(|path| !seen.contains(**path)).collect();
    assert!(missing.is_empty(), "{heading}: documented and not printed: {missing:?}");
}

pub fn what_is_printed_is_what_is_documented(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.xtask(&["stop", "--robot", "main", "navigation"]).expect_exit(0);
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # to be planned");
    let plan: &[&str] = &["deploy", "--robot", "main", "--plan", "--json", "--yes"];
    check(workspace, "deploy --plan --json", &[plan], false);
    check(workspace, "releases --json", &[&["releases", "--robot", "main", "--json"]], true);
    check(workspace, "history --json", &[&["history", "--robot", "main", "--json"]], true);
    let status: &[&str] = &["status", "--robot", "main", "--json"];
    let toml = workspace.read("robots.toml");
    let away = "\n[robots.away]\nhost = \"nobody@127.0.0.1:9\"\nplatform = \"linux/amd64\"\nreconnect = 0\n";
    workspace.write("robots.toml", toml.clone() + away);
    let edits = format!("/home/robot/.deploy/{PROJECT}/edits");
    MAIN.sh(&format!("printf 'alice@laptop\\t0123\\n' >{edits}"));
    check(workspace, "status --json", &[status, &["status", "--robot", "away", "--json"]], true);
    check(workspace, "doctor --json", &[&["doctor", "--json"]], false);
    workspace.write("robots.toml", toml);
    lab.deploy(MAIN);
}
