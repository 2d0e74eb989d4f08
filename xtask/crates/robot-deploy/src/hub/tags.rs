//! Names of a workspace's state in the registry: branch, git tags and revision.

use camino::Utf8Path;

use crate::config::{Hub, Platform};
use crate::error::{Failure, Result};
use crate::process::Cmd;

/// Longest tag that registries accept
/// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>).
const LENGTH: usize = 128;

/// Number of characters of the revision in a tag.
const REVISION: usize = 12;

/// Variables in which CI systems (GitHub, GitLab) name the branch or tag, as their checkouts have a detached
/// HEAD.
const CI_NAMES: [&str; 2] = ["GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"];

/// Replaces every character that a tag must not contain by `-`.
pub(crate) fn sanitised(text: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    let tag: String =
        text.chars().map(|character| if allowed(character) { character } else { '-' }).collect();
    tag.chars().take(LENGTH).collect()
}

/// Reference of an image under a name: `REPO:navigation-main`.
pub(crate) fn reference(hub: &Hub, image: &str, name: &str) -> String {
    format!("{}:{}", hub.repository, sanitised(&format!("{image}-{name}")))
}

/// Reference of one platform of an image of one revision: `REPO:navigation-REVISION-linux-amd64`. Other tags
/// point to it.
pub(crate) fn part(hub: &Hub, image: &str, revision: &str, platform: &Platform) -> String {
    reference(hub, image, &format!("{revision}-{}", platform.slug()))
}

/// Names of the state checked out in `dir`; the last one is the [`revision`].
pub(crate) fn names(dir: &Utf8Path) -> Result<Vec<String>> {
    let branch = git(dir, &["symbolic-ref", "--quiet", "--short", "HEAD"]).read().ok();
    let by_ci = || CI_NAMES.iter().find_map(|name| std::env::var(name).ok()).filter(|name| !name.is_empty());
    let tags = git(dir, &["tag", "--points-at", "HEAD"]).read()?;
    let mut names: Vec<String> = Vec::new();
    let all =
        branch.or_else(by_ci).into_iter().chain(tags.lines().map(str::to_owned)).chain([revision(dir)?]);
    for name in all.map(|name| sanitised(&name)) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Revision checked out in `dir`, shortened as in tags.
pub(crate) fn revision(dir: &Utf8Path) -> Result<String> {
    let head = git(dir, &["rev-parse", "--verify", "HEAD"]).read().map_err(|error| {
        Failure::failed("images are published from a git revision, but this workspace has none")
            .hint("`git init`, `git add --all` and `git commit` make one")
            .because(error)
    })?;
    Ok(head.chars().take(REVISION).collect())
}

pub(crate) fn git(dir: &Utf8Path, args: &[&str]) -> Cmd {
    Cmd::new("git").args(args.iter().copied()).dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_only_allowed_characters() {
        let hub = Hub { repository: "a.b/c".into() };
        assert_eq!(reference(&hub, "navigation", "feature/größer#2"), "a.b/c:navigation-feature-gr--er-2");
        assert_eq!(
            part(&hub, "camera", "0123", &Platform::from_machine("aarch64")),
            "a.b/c:camera-0123-linux-arm64"
        );
        assert_eq!(sanitised(&"x".repeat(200)).len(), 128);
    }
}
