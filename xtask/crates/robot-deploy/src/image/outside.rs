//! Run dependencies outside of the workspace: the base has to have them, or the node fails on the robot.

use crate::config::{Base, Outside, Package, PackageGraph, Workspace, instead};
use crate::error::{Failure, Result};
use crate::told;

use super::facts::Facts;

/// Returns whether a package depends on something outside of the workspace.
pub(super) fn any(packages: &PackageGraph) -> bool {
    packages.iter().any(|package| !package.outside.is_empty())
}

/// Checks that a base has what the packages on it need at run time. A key that may have another name in the base is told,
/// once.
///
/// # Errors
/// Fails with exit code 2 if the base lacks a ROS or Python package.
pub(super) fn check(workspace: &Workspace, base: &Base, facts: &Facts) -> Result<()> {
    if facts.know_no_packages() {
        return Ok(());
    }
    let graph = workspace.packages_on(&base.name);
    let images = workspace.images.values().filter(|image| image.base == base.name);
    let shipped = graph.run_closure(images.flat_map(|image| &image.packages));
    let lacking =
        shipped.into_iter().flat_map(|package| package.outside.iter().map(move |key| (package, key)));
    let is_ignored = |package: &Package, key: &Outside| {
        workspace.ignored.get(&package.name).is_some_and(|ignored| ignored.contains(&key.name))
    };
    let lacking = lacking.filter(|(package, key)| !facts.have(&key.name) && !is_ignored(package, key));
    let (lacking, unsure): (Vec<_>, Vec<_>) =
        lacking.partition(|(_, key)| is_certain(&key.name) && !facts.have_similar(&key.name));
    told::once(workspace, &format!("outside-{}", base.name), &base.name, &unsure_in_words(base, &unsure));
    let Some((first, key)) = lacking.first() else { return Ok(()) };
    let known = graph.names().chain(facts.ros.iter().map(String::as_str));
    let failure = Failure::config(format!("the base `{}` lacks {}", base.name, in_words(&lacking)));
    let failure = match instead("packages", &key.name, known).split_once('?') {
        Some((near, _)) => failure.hint(format!("{near}?")),
        None => failure,
    };
    Err(failure
        .hint("install it in a base of your own: a Dockerfile `FROM` this one, built by `docker build --tag my-ros`, and `image = \"my-ros\"` in robots.toml")
        .hint(format!("a package of PyPI can be a line of requirements/python.in beside `{}`", workspace.relative(&base.dockerfile)))
        .hint(format!(
            "if the robot does not need it: `[packages.{}]` with `ignore = [\"{}\"]` in robots.toml",
            first.name, key.name
        ))
        .into())
}

/// Returns whether a key has the same name in every base: a ROS package, or a Python package of Debian.
fn is_certain(key: &str) -> bool {
    let is_ros = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '_');
    let is_client = ["rclcpp", "rclpy", "tf2", "launch"].contains(&key);
    key.starts_with("python3-") || is_client || (key.contains('_') && key.chars().all(is_ros))
}

/// `nav2_msgs` (src/nav/package.xml:12:5), …
fn in_words(keys: &[(&Package, &Outside)]) -> String {
    let words: Vec<String> = keys.iter().map(|(_, key)| format!("`{}` ({})", key.name, key.place)).collect();
    words.join(", ")
}

fn unsure_in_words(base: &Base, keys: &[(&Package, &Outside)]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    format!(
        "no Debian, Python or ROS package of the base `{}` is called {}: if nodes need it, check that the base has it under another name",
        base.name,
        in_words(keys)
    )
}
