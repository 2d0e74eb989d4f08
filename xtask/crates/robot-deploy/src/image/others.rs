//! Images that are not made of packages: of a Dockerfile that a Compose file names, or of others.

use camino::Utf8PathBuf;
use serde_json::{Map, Value, json};

use super::own::OwnRepository;
use super::provenance::{self, Provenance};
use super::{Builder, ImageSpec, Origin, base, pins, unchanged};
use crate::config::Workspace;
use crate::error::{Failure, Result};

/// Keys of `build` in a Compose file that Bake has under the same name and with the same values.
const SAME: [&str; 9] =
    ["target", "args", "labels", "no_cache_filter", "extra_hosts", "shm_size", "ulimits", "network", "pull"];

/// Keys of `build` that change nothing on a robot: other names, other platforms, caches of this machine.
const WITHOUT_EFFECT: [&str; 5] = ["tags", "platforms", "cache_to", "provenance", "sbom"];

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
                "dockerfile-inline": "FROM image\n",
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

/// Bake target of a `build`, and its directories; `None` for the latter if one is not on this machine.
fn dockerfile(
    workspace: &Workspace,
    spec: &ImageSpec,
    build: &Map<String, Value>,
) -> Result<(Value, Option<Vec<Utf8PathBuf>>)> {
    let mut target = json!({ "secret": super::secrets::of_this_machine() });
    let mut inputs = Some(Vec::new());
    let mut place = |path: &str| match path.strip_prefix("./").or((path == ".").then_some("")) {
        Some(inside) => {
            let dir = workspace.root.join(inside);
            if let Some(inputs) = &mut inputs {
                inputs.push(dir.clone());
            }
            dir.into_string()
        }
        None => {
            // A repository, an archive, an image, or another target.
            inputs = None;
            path.to_owned()
        }
    };
    for (key, value) in build {
        match (key.as_str(), value) {
            ("context", Value::String(path)) => target["context"] = json!(place(path)),
            ("dockerfile", _) => target["dockerfile"] = value.clone(),
            ("dockerfile_inline", _) => target["dockerfile-inline"] = value.clone(),
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
    let provenance = Provenance::of(workspace, inputs.as_deref().unwrap_or_default())?;
    target["args"]["SOURCE_DATE_EPOCH"] = json!(provenance.time.to_string());
    for (name, value) in provenance.labels(workspace, &spec.image) {
        target["labels"][name] = json!(value);
    }
    Ok((target, inputs))
}

fn refused(spec: &ImageSpec, key: &str) -> anyhow::Error {
    let known = "context, dockerfile, dockerfile_inline, additional_contexts without `service:`, secrets, ssh, cache_from, no_cache";
    Failure::config(format!("`build` of `{}`: `{key}` cannot be built here", spec.image))
        .hint(format!("supported are {known}, {}", SAME.join(", ")))
        .into()
}
