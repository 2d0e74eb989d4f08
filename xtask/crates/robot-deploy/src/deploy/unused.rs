//! Packages and images that no robot gets: a mistake in most cases, so it is told, once.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use crate::config::{Robot, Workspace};
use crate::release::compose::ComposeDraft;
use crate::told;

/// Most names in a line.
const SHOWN: usize = 5;

/// Tells about packages that no image needs, unless the last run told the same.
pub(crate) fn tell_packages(workspace: &Workspace) {
    let packages = packages(workspace);
    let it = if packages.len() == 1 { "it" } else { "them" };
    let remedy = format!(
        "add {it} to `packages` of an image in robots.toml, or put an empty file COLCON_IGNORE beside package.xml"
    );
    tell(workspace, "package", "image", &packages, &remedy);
    let skipped = match workspace.skipped.as_slice() {
        [] => String::new(),
        all => format!("skipped packages that no image needs: {}", all.join("; ")),
    };
    told::once(workspace, "skipped-packages", "robots.toml", &skipped);
}

/// Tells about images that no robot runs, unless the last run told the same. `drafts` are the Compose files of some
/// robots, as they were rendered.
pub(crate) fn tell_images(workspace: &Workspace, drafts: &BTreeMap<&str, ComposeDraft>) {
    if let Some(images) = images(workspace, drafts) {
        let example = format!("`image: {}:NAME`", workspace.project.name);
        tell(workspace, "image", "service", &images, &format!("{example} in a Compose file runs it"));
    }
}

fn tell(workspace: &Workspace, what: &str, place: &str, names: &[&str], remedy: &str) {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let others = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (plural, are) = if names.len() == 1 { ("", "is") } else { ("s", "are") };
    let text = format!("{what}{plural} {}{others} {are} in no {place}: {remedy}", shown.join(", "));
    let text = if names.is_empty() { String::new() } else { text };
    told::once(workspace, &format!("unused-{what}s"), "robots.toml", &text);
}

/// Packages that neither an image nor another package of an image needs.
fn packages(workspace: &Workspace) -> Vec<&str> {
    let listed = workspace.images.values().flat_map(|image| &image.packages);
    let needed: BTreeSet<&str> =
        workspace.packages.full_closure(listed).into_iter().map(|package| package.name.as_str()).collect();
    // Libraries within a repository often look like packages.
    let is_plain = |name: &str| workspace.packages.get(name).is_some_and(|package| package.is_plain);
    workspace.packages.names().filter(|name| !needed.contains(name) && !is_plain(name)).collect()
}

/// Images that no robot runs; `None` unless the Compose files of all robots are known.
fn images<'a>(workspace: &'a Workspace, drafts: &BTreeMap<&str, ComposeDraft>) -> Option<Vec<&'a str>> {
    let rendered = |robot: &&Robot| drafts.contains_key(robot.name.as_str());
    let files: BTreeSet<&[Utf8PathBuf]> =
        workspace.robots.values().filter(rendered).map(|robot| robot.compose.as_slice()).collect();
    let are_all_known = workspace.robots.values().all(|robot| files.contains(robot.compose.as_slice()));
    let used: BTreeSet<&str> = drafts.values().flat_map(ComposeDraft::images).collect();
    let names = || workspace.image_names().map(String::as_str);
    are_all_known.then(|| names().filter(|name| !used.contains(name)).collect())
}
