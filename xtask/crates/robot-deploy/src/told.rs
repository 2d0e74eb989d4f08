//! Messages that are told once, until they change.

use crate::config::Workspace;
use crate::{files, process, ui};

/// Warns about `text`, unless the last run has told the same under this name. An empty text is not told, and forgotten.
pub(crate) fn once(workspace: &Workspace, name: &str, scope: &str, text: &str) {
    let file = workspace.state_dir().join(format!("told-{name}"));
    if fs_err::read_to_string(&file).unwrap_or_default() == text {
        return;
    }
    if !text.is_empty() {
        ui::warn(scope, text);
    }
    // Without the file, the next run tells it again.
    if process::outcome_needed().is_ok() {
        drop(files::replace(&file, text));
    }
}
