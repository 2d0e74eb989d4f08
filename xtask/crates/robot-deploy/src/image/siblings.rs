//! Images of this project that the Dockerfile of another one builds upon: `FROM team/base`, or `COPY --from=team/base`.
//!
//! `docker compose build` takes such an image from this machine's store, as it was built last. Here each is a target of
//! the same build, so that what is delivered is made of what is in the repository now.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::build::Inputs;
use super::{ImageSpec, Origin, content_tag, pins};
use crate::config::Workspace;
use crate::error::{Failure, Result};

/// Key of a Bake target with the targets that it builds upon, which [`hoist`] makes targets of the Bake file.
const SIBLINGS: &str = "siblings";

/// Returns `specs` with the images among `all` that their Dockerfiles name.
pub(crate) fn with_those_below(
    workspace: &Workspace,
    specs: &BTreeSet<ImageSpec>,
    all: &BTreeSet<ImageSpec>,
) -> BTreeSet<ImageSpec> {
    let mut closed = specs.clone();
    let mut above: Vec<ImageSpec> = specs.iter().cloned().collect();
    while let Some(spec) = above.pop() {
        let found: Vec<_> = below(workspace, &spec, all).map(|(_, other)| other.clone()).collect();
        above.extend(found.into_iter().filter(|other| closed.insert(other.clone())));
    }
    closed
}

/// Has each Dockerfile that names another image of `all` build upon a target that is like that image's.
///
/// # Errors
/// Fails with exit code 2 if images build upon each other.
pub(super) fn link(workspace: &Workspace, all: &mut BTreeMap<&ImageSpec, Inputs>) -> Result<()> {
    let alone = all.clone();
    let specs = alone.keys().map(|spec| (*spec).clone()).collect();
    for (spec, inputs) in all {
        *inputs = linked(workspace, &alone, &specs, spec, &[])?;
    }
    Ok(())
}

fn linked(
    workspace: &Workspace,
    all: &BTreeMap<&ImageSpec, Inputs>,
    specs: &BTreeSet<ImageSpec>,
    spec: &ImageSpec,
    above: &[&ImageSpec],
) -> Result<Inputs> {
    let mut inputs = all[spec].clone();
    let above = [above, &[spec]].concat();
    for (name, other) in below(workspace, spec, specs) {
        if above.contains(&other) {
            let names: Vec<_> = above.iter().map(|spec| format!("`{}`", spec.image)).collect();
            let message = format!("images build upon each other: {}", names.join(", "));
            return Err(Failure::config(message).hint("see the `FROM` lines of their Dockerfiles").into());
        }
        let mut below = linked(workspace, all, specs, other, &above)?;
        // Only built upon: a target that others link to is exported with another configuration.
        let target = format!("below-{}", other.target());
        if let Some(definition) = below.bake_target.definition.as_object_mut() {
            definition.retain(|key, _| !["output", "tags"].contains(&key.as_str()));
        }
        let definition = &mut inputs.bake_target.definition;
        definition["contexts"][name] = json!(format!("target:{target}"));
        definition[SIBLINGS][target] = below.bake_target.definition;
        let hashes = inputs.hash.zip(below.hash);
        inputs.hash = hashes.map(|(above, below)| content_tag([above.as_str(), below.as_str()]));
    }
    Ok(inputs)
}

/// Images that the Dockerfile of an image names, with these names.
fn below<'a>(
    workspace: &'a Workspace,
    spec: &'a ImageSpec,
    all: &'a BTreeSet<ImageSpec>,
) -> impl Iterator<Item = (String, &'a ImageSpec)> {
    let words = words(workspace, spec).unwrap_or_default();
    let others = all.iter().filter(move |other| other.platform == spec.platform && *other != spec);
    others
        .filter_map(move |other| Some((name_in_dockerfiles(workspace, other)?, other)))
        .filter(move |(name, _)| words.contains(name))
}

/// Name by which the Dockerfiles of a project call one of its images.
fn name_in_dockerfiles(workspace: &Workspace, spec: &ImageSpec) -> Option<String> {
    match &spec.origin {
        Origin::Packages => Some(format!("{}:{}", workspace.project.name, spec.image)),
        Origin::Foreign { .. } => None,
        Origin::Dockerfile { build } => {
            let build: Value = serde_json::from_str(build).ok()?;
            Some(short(build["image"].as_str()?).to_owned())
        }
    }
}

/// Words of the instructions of an image's Dockerfile that name images, and the values of its arguments. `None` for an image
/// without a Dockerfile in this repository.
fn words(workspace: &Workspace, spec: &ImageSpec) -> Option<Vec<String>> {
    let Origin::Dockerfile { build } = &spec.origin else { return None };
    let build: Value = serde_json::from_str(build).ok()?;
    let text = match build["dockerfile_inline"].as_str() {
        Some(text) => text.to_owned(),
        None => {
            let context = workspace.root.join(build["context"].as_str().unwrap_or("."));
            fs_err::read_to_string(context.join(build["dockerfile"].as_str().unwrap_or("Dockerfile"))).ok()?
        }
    };
    let arguments = build["args"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
    let instructions = text.lines().filter(|line| {
        let instruction = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        ["FROM", "COPY", "ARG", "RUN"].contains(&instruction.as_str())
    });
    let words =
        instructions.flat_map(|line| line.split(|it: char| it.is_whitespace() || "=,\"'".contains(it)));
    Some(words.chain(arguments).map(|word| short(word).to_owned()).collect())
}

/// The name of an image without what Docker adds to one that lacks it.
fn short(name: &str) -> &str {
    let name = pins::familiar(name);
    name.strip_suffix(":latest").unwrap_or(name)
}

/// Targets of a Bake file, with those that they build upon.
pub(super) fn hoist(targets: &serde_json::Map<String, Value>) -> serde_json::Map<String, Value> {
    let mut all = targets.clone();
    for (name, target) in targets {
        all.extend(target[SIBLINGS].as_object().map(hoist).unwrap_or_default());
        all[name].as_object_mut().and_then(|target| target.remove(SIBLINGS));
    }
    all
}
