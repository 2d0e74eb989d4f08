//! The images that services run: of packages, of a Dockerfile, or of others. All of them travel.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::{Platform, Workspace, nearest};
use crate::error::{Failure, Result};
use crate::image::{ImageSpec, Origin, pins};

/// Name of an image in the project's repository, and its origin, by service.
#[derive(Clone, Debug)]
pub(super) struct Images(BTreeMap<String, (String, Origin)>);

impl Images {
    /// Finds the images of all services.
    ///
    /// # Errors
    /// Fails with exit code 2 for a service without an image, and if a name of the project has no image in `robots.toml`.
    pub(super) fn of(workspace: &Workspace, file: &Utf8Path, model: &Value) -> Result<Self> {
        let mut images = BTreeMap::new();
        // Services that are built in the same way share an image.
        let mut names: BTreeMap<Origin, String> = BTreeMap::new();
        for (service, definition) in super::services(model) {
            // The image of a service that is built may be that of others, too.
            let builder = super::services(model).find(|(_, other)| {
                definition["build"].is_null()
                    && other["build"].is_object()
                    && other["image"].is_string()
                    && other["image"] == definition["image"]
            });
            let (builder, built) = builder.unwrap_or((service, definition));
            let (name, origin) = image(workspace, file, model, builder, built)?;
            let name = match &origin {
                Origin::Dockerfile { .. } => names.entry(origin.clone()).or_insert(name).clone(),
                Origin::Packages | Origin::Foreign { .. } => name,
            };
            images.insert(service.clone(), (name, origin));
        }
        let mut images = Self(images);
        images.keep_names_apart(workspace);
        Ok(images)
    }

    /// Gives images of Compose files another name if they are called like one of `robots.toml`, or like each other.
    fn keep_names_apart(&mut self, workspace: &Workspace) {
        let mut origins: BTreeMap<String, BTreeSet<Origin>> = BTreeMap::new();
        for (name, origin) in self.0.values() {
            origins.entry(name.clone()).or_default().insert(origin.clone());
        }
        let of_file = |name: &str, origin: &Origin| match origin {
            Origin::Packages => true,
            Origin::Foreign { .. } => false,
            Origin::Dockerfile { build } => {
                workspace.dockerfiles.get(name).map(ToString::to_string).as_ref() == Some(build)
            }
        };
        for (name, origin) in self.0.values_mut().filter(|(name, origin)| !of_file(name, origin)) {
            // Arguments may differ between robots.
            let has_arguments =
                matches!(&origin, Origin::Dockerfile { build } if build.contains("\"args\":{"));
            if has_arguments || origins[name].len() > 1 || workspace.image_names().any(|ours| ours == name) {
                let hash = format!("{:x}", Sha256::digest(format!("{origin:?}")));
                name.push_str(&format!("-{}", &hash[..6]));
            }
        }
    }

    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.0.values().map(|(name, _)| name.as_str()).collect()
    }

    /// Names by service.
    pub(super) fn by_service(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().map(|(service, (name, _))| (service, name))
    }

    /// Names of images of packages, by service.
    pub(super) fn of_packages(&self) -> BTreeMap<String, String> {
        let ours = self.0.iter().filter(|(_, (_, origin))| *origin == Origin::Packages);
        ours.map(|(service, (name, _))| (service.clone(), name.clone())).collect()
    }

    /// Files and directories of this repository that images are built from.
    pub(super) fn contexts(&self) -> BTreeSet<Utf8PathBuf> {
        let builds = self.0.values().filter_map(|(_, origin)| match origin {
            Origin::Dockerfile { build } => serde_json::from_str(build).ok(),
            Origin::Packages | Origin::Foreign { .. } => None,
        });
        builds.flat_map(|build| crate::image::places(&build).0).collect()
    }

    pub(super) fn specs(&self, platform: &Platform) -> Vec<ImageSpec> {
        let spec = |(name, origin): &(String, Origin)| ImageSpec {
            image: name.clone(),
            platform: platform.clone(),
            origin: origin.clone(),
        };
        self.0.values().map(spec).collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[cfg(test)]
    pub(super) fn testing(service: &str, image: &str) -> Self {
        Self(BTreeMap::from([(service.to_owned(), (image.to_owned(), Origin::Packages))]))
    }
}

/// Name and origin of a service's image.
fn image(
    workspace: &Workspace,
    file: &Utf8Path,
    model: &Value,
    service: &str,
    definition: &Value,
) -> Result<(String, Origin)> {
    let project = &workspace.project.name;
    let reference = definition["image"].as_str();
    if let Some(build) = definition.get("build").filter(|build| build.is_object()) {
        let mut build = build.clone();
        add_secrets(&mut build, model, service)?;
        build["image"] = definition["image"].clone();
        return Ok((tag(service), Origin::Dockerfile { build: build.to_string() }));
    }
    let Some(reference) = reference else {
        return Err(Failure::config(format!("`{file}`: service `{service}` has no image"))
            .hint(format!("image: {project}:NAME, with an [images.NAME] in robots.toml; or the name of any other image; or `build: DIRECTORY`"))
            .into());
    };
    if let Some(name) = reference.strip_prefix(&format!("{project}:")) {
        if let Some(build) = workspace.dockerfiles.get(name) {
            return Ok((name.to_owned(), Origin::Dockerfile { build: build.to_string() }));
        }
        workspace.image(name).with_context(|| format!("service `{service}` of `{file}`"))?;
        return Ok((name.to_owned(), Origin::Packages));
    }
    if let Some((other, name)) = reference.split_once(':').filter(|(other, _)| !other.contains(['/', '.']))
        && workspace.images.contains_key(name)
    {
        // The project has been renamed, or its name is misspelt.
        let message =
            format!("`{file}`: service `{service}` has `image: {reference}`, but the project is `{project}`");
        let hint = format!("`image: {project}:{name}` is the image of [images.{name}] in robots.toml");
        let is_misspelt = nearest(other, [project.as_str()]).is_some();
        let failure = Failure::config(message).hint(hint);
        return Err(match is_misspelt {
            true => failure,
            false => failure.hint(format!("or set `name = \"{other}\"` in [project]")),
        }
        .into());
    }
    Ok((tag(reference), Origin::Foreign { reference: reference.to_owned() }))
}

/// Adds the files of secrets to a `build`, which only names them.
fn add_secrets(build: &mut Value, model: &Value, service: &str) -> Result<()> {
    for secret in build.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = secret["source"].as_str().unwrap_or_default().to_owned();
        let Some(file) = model["secrets"][&name]["file"].as_str() else {
            let message = format!("the secret `{name}`, for the build of `{service}`, has no `file`");
            return Err(Failure::config(message).hint("builds here read secrets from files").into());
        };
        secret["file"] = Value::from(file);
        if secret["target"].is_null() {
            secret["target"] = Value::from(name);
        }
    }
    Ok(())
}

/// A name as a tag: letters, digits, `.`, `_` and `-`, at most 128 (the OCI distribution specification, "Pulling manifests").
fn tag(name: &str) -> String {
    let short = name.split('@').next().unwrap_or(name);
    let text: String = pins::familiar(short)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect();
    let text = text.trim_start_matches(['.', '-']);
    text[text.len().saturating_sub(100)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn names_become_tags() {
        for (name, expected) in [
            ("eclipse-mosquitto:2", "eclipse-mosquitto-2"),
            ("docker.io/library/redis", "redis"),
            ("ghcr.io/a/b:1.2@sha256:00", "ghcr.io-a-b-1.2"),
            ("navigation", "navigation"),
        ] {
            assert_eq!(tag(name), expected);
        }
    }
}
