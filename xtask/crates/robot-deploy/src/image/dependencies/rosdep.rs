//! Asks rosdep in the build tools of a base: its rules, and the versions that the base's package sources have.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;

use super::{Target, lock};
use crate::error::{Failure, Result};
use crate::image::{Builder, bake};

/// The command in the build tools that asks rosdep.
pub(super) const COMMAND: &str = "resolve-dependencies";

/// Answer of `resolve-dependencies`, which explains the fields.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    pub keys: BTreeMap<String, Vec<String>>,
    pub versions: BTreeMap<String, String>,
    pub unknown: BTreeMap<String, String>,
    pub known: Vec<String>,
    pub problems: Vec<String>,
}

impl Answer {
    /// The answer that knows no key, for a reason.
    pub(super) fn without(keys: &[&str], reason: &str) -> Self {
        let unknown = keys.iter().map(|key| ((*key).to_owned(), reason.to_owned())).collect();
        Self { unknown, ..Self::default() }
    }
}

/// Asks about keys, which needs the network.
pub(super) fn resolve(target: Target<'_>, builder: Builder, keys: &[&str]) -> Result<Answer> {
    let Target { workspace, base, platform, context } = target;
    if let Some(key) =
        keys.iter().find(|key| !key.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c)))
    {
        return Err(Failure::config(format!("`{}` cannot be a key of rosdep", key.escape_debug())).into());
    }
    let dir = workspace.state_dir().join("build").join(format!("rosdep-{}", base.name));
    let mut definition = bake::common(workspace, base, platform, context)?;
    // BuildKit has no answer of an earlier time.
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    definition["args"] = json!({ "KEYS": keys.join(" "), "TIME": time.to_string() });
    bake::into_dir(workspace, builder, definition, "rosdep", &dir)?;
    let text = bake::output(&dir, "answer.json")?;
    let answer: Answer = serde_json::from_slice(&text).context("read the answer of rosdep")?;
    match lock::malformed(&answer.keys, &answer.versions) {
        Some(word) => Err(Failure::failed(format!(
            "rosdep answered with `{}`, which is not a package",
            word.escape_debug()
        ))
        .into()),
        None => Ok(answer),
    }
}
