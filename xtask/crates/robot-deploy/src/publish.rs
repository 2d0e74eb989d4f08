//! Publishes a revision in the registry of `[hub]`: a clean checkout, a build, a push for each image and
//! platform, and tags on indexes that combine the platforms.

mod checkout;
mod push;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::config::{Hub, Platform, Workspace};
use crate::error::{Failure, Result};
use crate::hub::tags;
use crate::image::{self, Builder, ImageSpec, Options};
use crate::ui;

pub(crate) use checkout::Checkout;

/// Number of uncommitted files that the error names.
const SHOWN: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// `REPO:navigation-main`.
    pub reference: String,
    /// Digest of its manifest, or of its index for several platforms.
    pub digest: String,
    /// Platforms, separated by commas.
    pub platforms: String,
}

/// Fails unless all files are committed; the error names those that are not.
pub(crate) fn check_clean(root: &Utf8Path) -> Result<()> {
    // Has a better error than `git status` outside a repository.
    tags::revision(root)?;
    let status = tags::git(root, &["status", "--porcelain", "--untracked-files=normal"]).read()?;
    if status.is_empty() {
        return Ok(());
    }
    let files: Vec<&str> = status.lines().filter_map(|line| line.get(3..)).collect();
    let more = files.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let files: Vec<String> = files.iter().take(SHOWN).map(|file| format!("`{file}`")).collect();
    Err(Failure::failed(format!(
        "only committed files can be published, but these are not committed: {}{more}",
        files.join(", ")
    ))
    .hint(
        "commit them with `git add` and `git commit`, or set them aside with `git stash --include-untracked`",
    )
    .into())
}

/// Platforms of the workspace's robots.
pub(crate) fn platforms(workspace: &Workspace) -> BTreeSet<&Platform> {
    workspace.robots.values().map(|robot| &robot.platform).collect()
}

/// Builds all images of `checkout` for all platforms of robots and pushes them under `names`; the last name
/// is the revision. Images pushed before a failure stay in the registry.
pub(crate) fn publish(
    checkout: &Workspace,
    builder: Builder,
    hub: &Hub,
    names: &[String],
) -> Result<Vec<Tag>> {
    let specs: BTreeSet<ImageSpec> =
        platforms(checkout).into_iter().flat_map(|platform| image::all_for(checkout, platform)).collect();
    refuse_ambiguous(hub, &specs, names)?;
    let revision = names.last().map_or("", String::as_str);
    let built = image::build(checkout, builder, &specs, Options::default())?;
    let mut parts: BTreeMap<&str, Vec<(String, &Platform)>> = BTreeMap::new();
    for built in &built {
        let ImageSpec { image, platform, .. } = &built.spec;
        let part = tags::part(hub, image, revision, platform);
        ui::step("publish", &format!("pushing {part}"));
        let digest = push::part(hub, builder, built, &part)?;
        parts.entry(image).or_default().push((digest, platform));
    }
    let mut published = Vec::new();
    for (image, parts) in parts {
        let references: Vec<String> = names.iter().map(|name| tags::reference(hub, image, name)).collect();
        let digests: Vec<&str> = parts.iter().map(|(digest, _)| digest.as_str()).collect();
        let digest = push::tag(hub, &references, &digests)?;
        let platforms: Vec<String> = parts.iter().map(|(_, platform)| platform.to_string()).collect();
        published.extend(references.into_iter().map(|reference| Tag {
            reference,
            digest: digest.clone(),
            platforms: platforms.join(","),
        }));
    }
    Ok(published)
}

/// Fails if two images get the same tag, such as `nav` on branch `x-main` and `nav-x` on branch `main`.
fn refuse_ambiguous(hub: &Hub, specs: &BTreeSet<ImageSpec>, names: &[String]) -> Result<()> {
    let images: BTreeSet<&str> = specs.iter().map(|spec| spec.image.as_str()).collect();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for image in images {
        for name in names {
            let reference = tags::reference(hub, image, name);
            if let Some(other) = seen.insert(reference.clone(), image) {
                let text = format!("`{other}` and `{image}` would both be published as {reference}");
                return Err(Failure::config(text).hint("give one of the two images another name").into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_images_must_not_share_a_tag() {
        let hub = Hub { repository: "a.b/c".into() };
        let specs = ["nav", "nav-x"].map(|image| ImageSpec::of_packages(image, Platform::of_this_machine()));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(refuse_ambiguous(&hub, &specs.clone().into(), &names(&["main", "v1"])).is_ok());
        let error = refuse_ambiguous(&hub, &specs.into(), &names(&["main", "x-main"])).unwrap_err();
        assert!(error.to_string().contains("a.b/c:nav-x-main"), "{error}");
    }
}
