//! How a state of the workspace is called in the registry: by branch, git tags, revision, as CI does.

use camino::Utf8Path;

use crate::config::{Hub, Platform};
use crate::error::{Failure, Result};
use crate::process::Cmd;

/// The longest tag that registries take
/// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>).
const LENGTH: usize = 128;

/// Characters of the revision that are part of a tag.
const REVISION: usize = 12;

/// Where CI systems leave the branch or tag that they have checked out without a name: GitHub, GitLab.
const CI_NAMES: [&str; 2] = ["GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"];

/// `text` with everything replaced by `-` that a tag may not contain.
pub fn sanitised(text: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    let tag: String =
        text.chars().map(|character| if allowed(character) { character } else { '-' }).collect();
    tag.chars().take(LENGTH).collect()
}

/// An image under a name: `REPO:navigation-main`.
pub fn reference(hub: &Hub, image: &str, name: &str) -> String {
    format!("{}:{}", hub.repository, sanitised(&format!("{image}-{name}")))
}

/// One platform of an image of one revision, which the other tags refer to: `REPO:navigation-REVISION-linux-amd64`.
pub fn part(hub: &Hub, image: &str, revision: &str, platform: &Platform) -> String {
    reference(hub, image, &format!("{revision}-{}", platform.slug()))
}

/// The names of what is checked out in `dir`; the last one is the [`revision`].
///
/// # Errors
/// Fails when `dir` is in no git repository, or that has no revision.
pub fn names(dir: &Utf8Path) -> Result<Vec<String>> {
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

/// The revision that is checked out, as it is in tags.
///
/// # Errors
/// As [`names`].
pub fn revision(dir: &Utf8Path) -> Result<String> {
    let head = git(dir, &["rev-parse", "--verify", "HEAD"]).read().map_err(|error| {
        Failure::failed("published images are those of a git revision, and there is none")
            .hint("`git init`, `git add --all` and `git commit` make one")
            .because(error)
    })?;
    Ok(head.chars().take(REVISION).collect())
}

/// git, in the workspace.
pub fn git(dir: &Utf8Path, args: &[&str]) -> Cmd {
    Cmd::new("git").args(args.iter().copied()).dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_only_what_registries_take() {
        let hub = Hub { repository: "a.b/c".into() };
        assert_eq!(reference(&hub, "navigation", "feature/größer#2"), "a.b/c:navigation-feature-gr--er-2");
        assert_eq!(
            part(&hub, "camera", "0123", &Platform::from_machine("aarch64")),
            "a.b/c:camera-0123-linux-arm64"
        );
        assert_eq!(sanitised(&"x".repeat(200)).len(), 128);
    }
}
