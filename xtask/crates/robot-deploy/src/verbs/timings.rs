//! `--timings`: what the verbs that take it have in common.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use crate::config::Workspace;
use crate::delivery::Cost;
use crate::error::Result;
use crate::process;
use crate::release::metadata::Source;
use crate::timings::{self, Subject};
use crate::{timeline, ui};

/// What `--timings` without a file stands for, beside what else xtask keeps.
const FILE: &str = "timings.html";

/// Begins to record if the verb was asked to: `Some(None)` is `--timings` without a file.
pub fn begin(requested: Option<&Option<Utf8PathBuf>>) {
    if requested.is_some() && !process::mode().dry_run {
        timeline::record();
    }
}

/// Writes the page if the verb was asked to, however it ended, and gives the verb's result on.
///
/// # Errors
/// The verb's; or, where it went well, fails when the page cannot be written.
pub fn finish(
    requested: Option<&Option<Utf8PathBuf>>,
    verb: &str,
    workspace: &Workspace,
    robots: BTreeMap<String, Cost>,
    result: Result<()>,
) -> Result<()> {
    let (Some(file), Some(timeline)) = (requested, timeline::recorded()) else { return result };
    let path = file.clone().unwrap_or_else(|| workspace.state_dir().join(FILE));
    let subject = Subject {
        verb: verb.to_owned(),
        project: workspace.project.name.clone(),
        revision: Source::of(workspace).title(),
        robots,
        failure: result.as_ref().err().map(|error| format!("{error:#}")),
    };
    match timings::write(&path, &subject, &timeline) {
        Ok(()) => ui::done("timings", &format!("written to {path}")),
        Err(error) if result.is_err() => ui::error(Some("timings"), &error),
        Err(error) => return Err(error),
    }
    result
}
