//! The option `--timings`, shared by the verbs that have it.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;

use crate::config::Workspace;
use crate::delivery::Cost;
use crate::error::Result;
use crate::release::metadata::SourceRevision;
use crate::timings::{self, Subject};
use crate::{timeline, ui};

/// File name of `--timings` without FILE, in xtask's state directory.
const FILE: &str = "timings.html";

/// Starts recording if `--timings` is given. `Some(None)` is `--timings` without FILE.
pub(super) fn begin(requested: Option<&Option<Utf8PathBuf>>) {
    if requested.is_some() && !crate::mode::dry_run() {
        timeline::record();
    }
}

/// Writes the report if `--timings` is given, also after a failed verb, and returns the verb's result.
///
/// # Errors
/// Returns the verb's error. If the verb succeeded, fails when the report cannot be written.
pub(super) fn finish(
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
        revision: SourceRevision::of(workspace).title(),
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
