//! Images that are not made of packages: of a Dockerfile that a Compose file names, or of others.

use camino::Utf8PathBuf;
use serde_json::{Map, Value, json};

use super::own::OwnRepository;
use super::provenance::{self, Provenance};
use super::{Builder, ImageSpec, Origin, base, pins, unchanged};
use crate::config::Workspace;
use crate::error::{Failure, Result};
use crate::process;

/// Keys of `build` in a Compose file that Bake has under the same name and with the same values.
const SAME: [&str; 9] =
    ["target", "args", "labels", "no_cache_filter", "extra_hosts", "shm_size", "ulimits", "network", "pull"];

/// Keys of `build` that change nothing on a robot: its name and others, other platforms, caches of this machine.
const WITHOUT_EFFECT: [&str; 6] = ["image", "tags", "platforms", "cache_to", "provenance", "sbom"];

/// Bake target of an image, and the hash of its inputs if they are known.
///
/// # Errors
/// Fails with exit code 2 for a `build` that asks for what Bake cannot do, and if an image of others cannot be had.
pub(super) fn target(
    workspace: &Workspace,
    builder: Builder,
    spec: &ImageSpec,
    own: &OwnRepository,
) -> Result<(Value, Option<String>)> {
    let (mut target, inputs) = match &spec.origin {
        Origin::Foreign { reference } => {
            let tag = pins::ensure(workspace, reference, &spec.platform)?;
            let target = json!({
                "context": workspace.state_dir().join("build"),
                "dockerfile": file_of(workspace, "FROM image\n")?,
                "contexts": { "image": base::context(workspace, builder, &tag)? },
                "args": { "SOURCE_DATE_EPOCH": "0" },
                "labels": { provenance::PROJECT: workspace.project.name },
            });
            (target, Some(Vec::new()))
        }
        Origin::Dockerfile { build } => dockerfile(workspace, spec, &serde_json::from_str(build)?)?,
        Origin::Packages => anyhow::bail!("`{}` is made of packages", spec.image),
    };
    let reference = spec.reference(workspace);
    target["platforms"] = json!([spec.platform.to_string()]);
    target["tags"] = json!([reference, own.of(&reference)]);
    target["output"] = json!([builder.output(&reference)]);
    let hash = inputs.and_then(|inputs| unchanged::of_directories(workspace, &target, &inputs));
    Ok((target, hash))
}

/// Path of a file with the text of a Dockerfile: buildx leaves a temporary directory behind for each text that it is given as one.
fn file_of(workspace: &Workspace, text: &str) -> Result<Utf8PathBuf> {
    let dir = workspace.state_dir().join("build");
    let file = dir.join(format!("{}.Dockerfile", super::content_tag([text])));
    process::create_dir(&dir)?;
    process::provide_file(&file, text)?;
    Ok(file)
}

/// Path relative to the repository of a context that is in it: not a repository, an archive, an image, or a target.
fn inside(context: &str) -> Option<Utf8PathBuf> {
    context.strip_prefix("./").or((context == ".").then_some("")).map(Utf8PathBuf::from)
}

/// Files and directories of the repository that a `build` reads, relative to it, and whether these are all of its inputs.
pub(crate) fn places(build: &Map<String, Value>) -> (Vec<Utf8PathBuf>, bool) {
    let text = |key: &str| build.get(key).and_then(Value::as_str);
    let context = text("context").unwrap_or(".");
    let others = build.get("additional_contexts").and_then(Value::as_object).into_iter().flatten();
    let contexts = || others.clone().filter_map(|(_, path)| path.as_str()).chain([context]);
    let dockerfile = text("dockerfile").zip(inside(context)).map(|(path, context)| context.join(path));
    let secrets = build.get("secrets").and_then(Value::as_array).into_iter().flatten();
    let secrets = secrets.filter_map(|secret| inside(secret["file"].as_str()?));
    let places = contexts().filter_map(inside).chain(dockerfile).chain(secrets).collect();
    (places, contexts().all(|context| inside(context).is_some()))
}

/// Bake target of a `build`, and its files and directories; `None` for the latter if one is not on this machine.
fn dockerfile(
    workspace: &Workspace,
    spec: &ImageSpec,
    build: &Map<String, Value>,
) -> Result<(Value, Option<Vec<Utf8PathBuf>>)> {
    let mut target = json!({ "secret": super::secrets::of_this_machine() });
    let (places, all) = places(build);
    let inputs: Vec<Utf8PathBuf> = places.iter().map(|path| workspace.root.join(path)).collect();
    let place =
        |path: &str| inside(path).map_or(path.to_owned(), |path| workspace.root.join(path).into_string());
    for (key, value) in build {
        match (key.as_str(), value) {
            ("context", Value::String(path)) => target["context"] = json!(place(path)),
            ("dockerfile", _) => target["dockerfile"] = value.clone(),
            ("dockerfile_inline", Value::String(text)) => {
                target["dockerfile"] = json!(file_of(workspace, text)?);
            }
            ("additional_contexts", Value::Object(contexts)) => {
                for (name, path) in contexts {
                    if path.as_str().is_some_and(|path| path.starts_with("service:")) {
                        return Err(refused(spec, &format!("additional_contexts.{name}")));
                    }
                    target["contexts"][name] = json!(place(path.as_str().unwrap_or_default()));
                }
            }
            ("cache_from", _) => target["cache-from"] = value.clone(),
            ("no_cache", _) => target["no-cache"] = value.clone(),
            ("ssh", _) => target["ssh"] = value.clone(),
            ("secrets", Value::Array(secrets)) => {
                for secret in secrets {
                    let (id, file) = (secret["target"].as_str(), secret["file"].as_str());
                    let file = workspace.root.join(file.unwrap_or_default().trim_start_matches("./"));
                    let secret = format!("id={},src={file}", id.unwrap_or_default());
                    if let Some(all) = target["secret"].as_array_mut() {
                        all.push(json!(secret));
                    }
                }
            }
            (same, _) if SAME.contains(&same) => target[same.replace('_', "-")] = value.clone(),
            (other, _) if WITHOUT_EFFECT.contains(&other) || value.is_null() => {}
            (other, _) => return Err(refused(spec, other)),
        }
    }
    let provenance = Provenance::of(workspace, &inputs)?;
    target["args"]["SOURCE_DATE_EPOCH"] = json!(provenance.time.to_string());
    for (name, value) in provenance.labels(workspace, &spec.image) {
        target["labels"][name] = json!(value);
    }
    Ok((target, all.then_some(inputs)))
}

fn refused(spec: &ImageSpec, key: &str) -> anyhow::Error {
    let known = "context, dockerfile, dockerfile_inline, additional_contexts without `service:`, secrets, ssh, cache_from, no_cache";
    Failure::config(format!("`build` of `{}`: `{key}` cannot be built here", spec.image))
        .hint(format!("supported are {known}, {}", SAME.join(", ")))
        .into()
}
