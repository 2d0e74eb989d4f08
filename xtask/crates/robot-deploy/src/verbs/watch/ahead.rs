//! A build in the background of what live edits show: when saving pauses, only its delivery is left.

use std::collections::BTreeSet;

use super::Args;
use crate::config::Workspace;
use crate::deploy::drafts;
use crate::error::Result;
use crate::process::Child;
use crate::release::compose::ComposeDraft;

/// A build that runs, or has ended; dropping it ends it.
pub(super) struct Ahead(Child);

impl Ahead {
    /// Starts to build the images of packages that the robots need.
    pub(super) fn start(args: &Args, workspace: &Workspace) -> Result<Self> {
        let robots = workspace.robots_named(&args.robot)?;
        let drafts = drafts(workspace, &robots)?;
        let needed: BTreeSet<&str> = drafts.values().flat_map(ComposeDraft::images).collect();
        let images = workspace.images.keys().map(String::as_str).filter(|name| needed.contains(name));
        let platforms: BTreeSet<String> = robots.iter().map(|robot| robot.platform.to_string()).collect();
        let platforms = platforms.into_iter().collect::<Vec<_>>().join(",");
        let words = ["build-images", "--yes", "--platform", &platforms].into_iter().chain(images);
        Ok(Self(super::this_program(words, &workspace.root)?.spawn()?))
    }

    /// Returns whether it still runs.
    pub(super) fn is_running(&self) -> bool {
        self.0.is_running()
    }

    /// Waits for its end, and returns the begin of the error that it told, if it failed.
    pub(super) fn error(&self) -> Option<String> {
        let error = self.0.wait().err()?;
        let text = format!("{error:#}");
        let begin = text.find("error: ").map_or(&*text, |at| &text[at + "error: ".len()..]);
        Some(begin.lines().next().unwrap_or_default().to_owned())
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Cmd;

    #[test]
    fn the_error_of_a_build_is_that_of_the_command() {
        let build = |script| Ahead(Cmd::new("sh").args(["-c", script]).spawn().unwrap());
        assert_eq!(build("true").error(), None);
        let failed = build("echo '  build step 3'; echo 'error: `a` failed' >&2; echo 'hint: b' >&2; exit 1");
        assert_eq!(failed.error().as_deref(), Some("`a` failed"));
    }
}
