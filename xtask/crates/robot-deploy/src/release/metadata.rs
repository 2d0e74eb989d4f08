//! What a release says of itself: where it came from, who brought it and how.

use std::collections::BTreeMap;
use std::env;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::Workspace;
use crate::error::Result;
use crate::process::Cmd;
use crate::ui;

/// The part of `release.json` that this machine knows; how it went the robot adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The sources.
    #[serde(flatten)]
    pub source: SourceRevision,
    /// Who deployed: `user@machine`.
    pub by: String,
    /// When, by the clock of the machine that deployed.
    pub at: String,
    /// How the images travelled: `registry`, `archive`, `hub`, `bundle`; `env` where only variables did.
    pub via: String,
    /// How the robot's engine calls each image.
    pub images: BTreeMap<String, String>,
}

impl Metadata {
    /// What is deployed now, by whoever runs this.
    pub fn now(source: &SourceRevision, via: &str, images: BTreeMap<String, String>) -> Self {
        Self {
            source: source.clone(),
            by: whoami(),
            at: ui::utc(SystemTime::now()),
            via: via.to_owned(),
            images,
        }
    }

    /// As `release.json` has it.
    ///
    /// # Errors
    /// None that is known of: there is nothing in it that JSON has no form for.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// What sources are, as git says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRevision {
    /// The revision, with the nearest tag where there is one; none where they are not git's, or not known any more.
    pub revision: Option<String>,
    /// Whether files that git knows differ from it.
    pub dirty: bool,
}

impl SourceRevision {
    /// The sources of a workspace; nothing is known of them where they are not git's.
    pub fn of(workspace: &Workspace) -> Self {
        let git = Cmd::new("git").args(["describe", "--always", "--tags", "--dirty"]).dir(&workspace.root);
        Self::parse(&git.read().unwrap_or_default())
    }

    /// What `git describe --dirty` says.
    pub fn parse(text: &str) -> Self {
        let clean = text.strip_suffix("-dirty");
        let revision = clean.unwrap_or(text);
        Self { revision: (!revision.is_empty()).then(|| revision.to_owned()), dirty: clean.is_some() }
    }

    /// The revision, and whether what was deployed differed from it, for people.
    pub fn in_words(&self) -> String {
        let revision = self.revision.as_deref().unwrap_or("?");
        if self.dirty { format!("{revision} (dirty)") } else { revision.to_owned() }
    }

    /// As `git describe --dirty` says it.
    pub fn title(&self) -> Option<String> {
        let dirty = if self.dirty { "-dirty" } else { "" };
        self.revision.as_ref().map(|revision| format!("{revision}{dirty}"))
    }
}

/// Returns `user@machine` for the history of the robot: the login name of the person who runs xtask.
pub fn whoami() -> String {
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
    fn what_git_describes_is_taken_apart_and_put_together_again() {
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
