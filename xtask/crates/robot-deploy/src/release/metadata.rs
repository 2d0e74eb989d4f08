//! Metadata of a release: the revision of its sources, the user who deployed it, its images.

use std::collections::BTreeMap;
use std::env;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::Workspace;
use crate::error::Result;
use crate::process::Cmd;
use crate::ui;

/// The part of `release.json` that this machine writes. The robot adds the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    #[serde(flatten)]
    pub source: SourceRevision,
    /// The user who deployed: `user@machine`.
    pub by: String,
    /// Time of the deploy, by the clock of the machine that deployed.
    pub at: String,
    /// Transport of the images: `registry`, `archive`, `hub` or `bundle`; `env` if only variables were sent.
    pub via: String,
    /// Reference of each image in the robot's engine, by the image's name.
    pub images: BTreeMap<String, String>,
}

impl Metadata {
    /// Metadata of a deploy by this user at this time.
    pub(crate) fn now(source: &SourceRevision, via: &str, images: BTreeMap<String, String>) -> Self {
        Self {
            source: source.clone(),
            by: whoami(),
            at: ui::utc(SystemTime::now()),
            via: via.to_owned(),
            images,
        }
    }

    /// Returns the JSON for `release.json`.
    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// Revision of the sources, as git describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceRevision {
    /// Output of `git describe` without `-dirty`; `None` if the sources are not in git or the revision is
    /// unknown.
    pub revision: Option<String>,
    /// True if tracked files differ from the revision.
    pub dirty: bool,
}

impl SourceRevision {
    /// Returns the revision of a workspace; unknown if it is not in git.
    pub(crate) fn of(workspace: &Workspace) -> Self {
        let git = Cmd::new("git").args(["describe", "--always", "--tags", "--dirty"]).dir(&workspace.root);
        Self::parse(&git.read().unwrap_or_default())
    }

    /// Parses the output of `git describe --dirty`.
    pub(crate) fn parse(text: &str) -> Self {
        let clean = text.strip_suffix("-dirty");
        let revision = clean.unwrap_or(text);
        Self { revision: (!revision.is_empty()).then(|| revision.to_owned()), dirty: clean.is_some() }
    }

    /// Returns the revision for people: `v1 (dirty)`.
    pub(crate) fn in_words(&self) -> String {
        let revision = self.revision.as_deref().unwrap_or("?");
        if self.dirty { format!("{revision} (dirty)") } else { revision.to_owned() }
    }

    /// Returns the revision in the format of `git describe --dirty`.
    pub(crate) fn title(&self) -> Option<String> {
        let dirty = if self.dirty { "-dirty" } else { "" };
        self.revision.as_ref().map(|revision| format!("{revision}{dirty}"))
    }
}

/// Returns `user@machine` for the history of the robot: the login name of the person who runs xtask.
pub(crate) fn whoami() -> String {
    let from_environment = |name| env::var(name).ok().filter(|user: &String| !user.is_empty());
    let user = from_environment("USER").or_else(|| from_environment("LOGNAME")).unwrap_or_else(login_name);
    let machine = gethostname::gethostname().to_string_lossy().into_owned();
    let text = format!("{user}@{machine}");
    // The history is tab-separated lines.
    text.replace(char::is_control, " ")
}

/// Returns the name that belongs to the user id of this process, or the number where it has no name.
fn login_name() -> String {
    Cmd::new("sh").args(["-c", "id -un 2>/dev/null || id -u"]).read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_git_describe_is_parsed_and_formatted() {
        for (text, revision, dirty) in [
            ("v1.2-3-gabc1234-dirty", Some("v1.2-3-gabc1234"), true),
            ("abc1234", Some("abc1234"), false),
            ("", None, false),
        ] {
            let source = SourceRevision::parse(text);
            assert_eq!((source.revision.as_deref(), source.dirty), (revision, dirty));
            assert_eq!(source.title().unwrap_or_default(), text);
        }
    }
}
