//! A robot's Compose project, rendered on this machine: variables filled in, images named by digest.
//!
//! Compose itself reads the file (`docker compose config`), so that everything it understands works; what
//! it gives back is complete, and the robot needs nothing of this machine to bring it up.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::{Robot, Workspace};
use crate::error::{Failure, Result};
use crate::process::{self, Cmd};
use crate::robot::registry;
use crate::{host, ui};

/// A rendered project whose images are still named by tag: which images it needs is known, their digests
/// are not.
#[derive(Clone, Debug)]
pub struct Draft {
    model: Value,
    /// Image of the workspace that each service runs, where it is one.
    images: BTreeMap<String, String>,
    dir: Utf8PathBuf,
}

/// A project as it goes to the robot.
#[derive(Clone, Debug)]
pub struct Project {
    /// A tar archive: `compose.json` and the files it mounts.
    pub archive: Vec<u8>,
    /// SHA-256 of the archive: what is the same has the same name.
    pub id: String,
    /// For each service that runs an image of the workspace, the reference it has to run.
    pub services: BTreeMap<String, String>,
    /// All services.
    pub names: BTreeSet<String>,
    /// Those that have to be started one after the other, because others start after them.
    pub order: Vec<String>,
}

impl Draft {
    /// Lets Compose read the robot's file with the robot's variables.
    ///
    /// # Errors
    /// Fails when Compose refuses the file, or it names an image of the project that does not exist.
    pub fn render(workspace: &Workspace, robot: &Robot) -> Result<Self> {
        if process::mode().dry_run && host::lacks_compose()? {
            return Ok(Self::assumed(workspace, robot));
        }
        let project = &workspace.project.name;
        let mut command = Cmd::new("docker")
            .args(["compose", "--file", robot.compose.as_str(), "--project-name", project])
            .args(["config", "--format", "json", "--no-path-resolution"]);
        for (name, value) in robot.variables()? {
            command = command.hidden_env(name, value);
        }
        let text = command.read().map_err(|error| {
            Failure::config(format!(
                "Compose refuses `{}` for `{}`",
                workspace.relative(&robot.compose),
                robot.name
            ))
            .hint(format!(
                "its variables come from `env` and `env_files` of [robots.{}] in robots.toml",
                robot.name
            ))
            .because(error)
        })?;
        let model: Value = serde_json::from_str(&text).context("read what Compose made of the file")?;
        let mut images = BTreeMap::new();
        for (service, definition) in services(&model) {
            let Some(image) = definition["image"].as_str() else {
                return Err(Failure::config(format!(
                    "`{}`: service `{service}` has no image",
                    workspace.relative(&robot.compose)
                ))
                .hint(format!("image: {project}:NAME, with an [images.NAME] in robots.toml"))
                .into());
            };
            if let Some(name) = image.strip_prefix(&format!("{project}:")) {
                workspace.image(name).with_context(|| {
                    format!("service `{service}` of `{}`", workspace.relative(&robot.compose))
                })?;
                images.insert(service.clone(), name.to_owned());
            }
        }
        Ok(Self { model, images, dir: directory(robot) })
    }

    /// Stands for the project in a dry run on a machine that cannot read it yet: a service for each image.
    fn assumed(workspace: &Workspace, robot: &Robot) -> Self {
        let file = workspace.relative(&robot.compose);
        ui::warn(&robot.name, &format!("without Compose `{file}` cannot be read: taken to use all images"));
        let images = workspace.images.keys().map(|name| (name.clone(), name.clone())).collect();
        Self { model: Value::Null, images, dir: directory(robot) }
    }

    /// The images of the workspace that the robot needs.
    pub fn images(&self) -> BTreeSet<&str> {
        self.images.values().map(String::as_str).collect()
    }

    /// Names the images by digest; `digests` has one for each of [`Draft::images`].
    ///
    /// # Errors
    /// Fails when a file that the project mounts cannot be read.
    pub fn with_digests(&self, repository: &str, digests: &BTreeMap<String, String>) -> Result<Project> {
        let mut model = self.model.clone();
        let mut expected = BTreeMap::new();
        for (service, image) in &self.images {
            let digest = digests.get(image).with_context(|| format!("image `{image}` has not been built"))?;
            let reference = reference(repository, digest);
            model["services"][service]["image"] = Value::from(reference.clone());
            if let Some(definition) = model["services"][service].as_object_mut() {
                // A robot builds nothing.
                definition.remove("build");
            }
            expected.insert(service.clone(), reference);
        }
        let order = take_order(&mut model);
        let archive = self.archive(&model)?;
        let id = format!("{:x}", Sha256::digest(&archive));
        let names = services(&model).map(|(name, _)| name.clone()).collect();
        Ok(Project { archive, id, services: expected, names, order })
    }

    /// `compose.json` and what it mounts from beside the Compose file, the same bytes for the same content.
    fn archive(&self, model: &Value) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.mode(tar::HeaderMode::Deterministic);
        archive.follow_symlinks(true);
        let text = serde_json::to_vec_pretty(model).context("write the Compose project")?;
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        // Values of `.env` files are in it.
        header.set_mode(0o600);
        archive
            .append_data(&mut header, "compose.json", text.as_slice())
            .context("pack the Compose project")?;
        for path in mounted_files(model) {
            self.append(&mut archive, &path)
                .with_context(|| format!("pack `{}`, which the Compose file mounts", self.dir.join(&path)))?;
        }
        archive.into_inner().context("pack the Compose project")
    }

    fn append(&self, archive: &mut tar::Builder<Vec<u8>>, path: &Utf8Path) -> Result<()> {
        let source = self.dir.join(path);
        if path.components().any(|part| part.as_str() == "..") {
            return Err(Failure::config(format!("`{path}` is outside the Compose file's directory"))
                .hint("what a robot needs has to be beside its Compose file, or have an absolute path on the robot")
                .into());
        }
        if source.is_file() {
            archive.append_path_with_name(&source, path)?;
            return Ok(());
        }
        // Directories list their entries in no particular order.
        let mut entries: Vec<String> =
            source.read_dir_utf8()?.map(|entry| Ok(entry?.file_name().to_owned())).collect::<Result<_>>()?;
        entries.sort();
        archive.append_dir(path, &source)?;
        entries.iter().try_for_each(|entry| self.append(archive, &path.join(entry)))
    }
}

fn directory(robot: &Robot) -> Utf8PathBuf {
    robot.compose.parent().unwrap_or(Utf8Path::new(".")).to_owned()
}

/// How the robot's engine calls an image of the project.
pub fn reference(repository: &str, digest: &str) -> String {
    format!("{}/{repository}@{digest}", registry::HOST)
}

fn services(model: &Value) -> impl Iterator<Item = (&String, &Value)> {
    model["services"].as_object().into_iter().flatten()
}

/// Takes those dependencies out of the model that say no more than "start after", and gives the services in
/// the order that follows from them; none where nothing was taken out.
///
/// Compose up to 2.26, which Debian 13 has, stops with a container that it replaces all those that depend on
/// it, although they ask for nothing of the kind: one edit would restart half the robot.
fn take_order(model: &mut Value) -> Vec<String> {
    let Some(services) = model["services"].as_object_mut() else { return Vec::new() };
    let mut after: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, service) in services.iter_mut() {
        let Some(dependencies) = service.get_mut("depends_on").and_then(Value::as_object_mut) else {
            continue;
        };
        let plain = |definition: &Value| {
            definition["condition"] == "service_started" && definition["restart"] != Value::Bool(true)
        };
        let names = dependencies.iter().filter(|(_, definition)| plain(definition));
        after.insert(name.clone(), names.map(|(name, _)| name.clone()).collect());
        dependencies.retain(|_, definition| !plain(definition));
        if dependencies.is_empty()
            && let Some(service) = service.as_object_mut()
        {
            service.remove("depends_on");
        }
    }
    let mut order = Vec::new();
    for name in after.keys() {
        visit(name, &after, &mut order);
    }
    order
}

/// Appends what `name` starts after, then `name`. Compose has refused cycles.
fn visit(name: &str, after: &BTreeMap<String, Vec<String>>, order: &mut Vec<String>) {
    if order.iter().any(|other| other == name) {
        return;
    }
    for other in after.get(name).into_iter().flatten() {
        visit(other, after, order);
    }
    order.push(name.to_owned());
}

/// Relative paths that services mount, or that configs and secrets are read from.
fn mounted_files(model: &Value) -> BTreeSet<Utf8PathBuf> {
    let volumes =
        services(model).flat_map(|(_, service)| service["volumes"].as_array().into_iter().flatten());
    let binds =
        volumes.filter(|volume| volume["type"] == "bind").filter_map(|volume| volume["source"].as_str());
    let files = ["configs", "secrets"]
        .iter()
        .flat_map(|kind| model[kind].as_object().into_iter().flatten())
        .filter_map(|(_, definition)| definition["file"].as_str());
    binds
        .chain(files)
        .filter(|path| !path.starts_with(['/', '~']))
        .map(|path| Utf8PathBuf::from(path.strip_prefix("./").unwrap_or(path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(dir: &Utf8Path) -> Draft {
        Draft {
            model: json!({
                "services": {
                    "navigation": {
                        "image": "eurobot:navigation",
                        "build": { "context": "." },
                        "volumes": [
                            { "type": "bind", "source": "./maps", "target": "/maps" },
                            { "type": "bind", "source": "/dev", "target": "/dev" },
                            { "type": "volume", "source": "data", "target": "/data" },
                        ],
                    },
                    "database": { "image": "postgres:17" },
                },
                "secrets": { "token": { "file": "token.txt" } },
            }),
            images: BTreeMap::from([("navigation".to_owned(), "navigation".to_owned())]),
            dir: dir.to_owned(),
        }
    }

    fn directory() -> Result<(tempfile::TempDir, Utf8PathBuf)> {
        let dir = tempfile::tempdir()?;
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        fs_err::create_dir(path.join("maps"))?;
        fs_err::write(path.join("maps/table.pgm"), "P2")?;
        fs_err::write(path.join("token.txt"), "secret")?;
        Ok((dir, path))
    }

    fn digests() -> BTreeMap<String, String> {
        BTreeMap::from([("navigation".to_owned(), "sha256:aa".to_owned())])
    }

    #[test]
    fn our_images_are_named_by_digest_and_others_left_alone() -> Result<()> {
        let (_guard, path) = directory()?;
        let project = draft(&path).with_digests("eurobot", &digests())?;
        assert_eq!(project.services["navigation"], "localhost:5000/eurobot@sha256:aa");
        assert_eq!(project.names, ["database", "navigation"].map(str::to_owned).into());
        let mut archive = tar::Archive::new(project.archive.as_slice());
        let mut files = BTreeMap::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text)?;
            files.insert(entry.path()?.to_string_lossy().into_owned(), (entry.header().mode()?, text));
        }
        assert_eq!(files.keys().collect::<Vec<_>>(), ["compose.json", "maps", "maps/table.pgm", "token.txt"]);
        let (mode, text) = &files["compose.json"];
        assert_eq!(*mode, 0o600);
        assert!(text.contains("localhost:5000/eurobot@sha256:aa") && text.contains("postgres:17"));
        assert!(!text.contains("build"));
        Ok(())
    }

    #[test]
    fn the_id_follows_the_content_of_mounted_files() -> Result<()> {
        let (_guard, path) = directory()?;
        let before = draft(&path).with_digests("eurobot", &digests())?.id;
        assert_eq!(draft(&path).with_digests("eurobot", &digests())?.id, before);
        fs_err::write(path.join("maps/table.pgm"), "P3")?;
        assert_ne!(draft(&path).with_digests("eurobot", &digests())?.id, before);
        Ok(())
    }

    #[test]
    fn an_order_of_starting_is_no_reason_to_restart() {
        let after =
            |name: &str, condition: &str| json!({ name: { "condition": condition, "required": true } });
        let mut model = json!({ "services": {
            "behavior_tree": { "depends_on": after("navigation", "service_started") },
            "communication": {},
            "navigation": { "depends_on": after("communication", "service_started") },
            "recorder": { "depends_on": after("communication", "service_healthy") },
        }});
        assert_eq!(take_order(&mut model), ["communication", "navigation", "behavior_tree", "recorder"]);
        assert!(model["services"]["navigation"].get("depends_on").is_none());
        assert!(model["services"]["recorder"]["depends_on"]["communication"].is_object());
        assert_eq!(take_order(&mut json!({ "services": { "one": {} } })), [""; 0]);
    }

    #[test]
    fn a_missing_mounted_file_is_named() -> Result<()> {
        let (_guard, path) = directory()?;
        fs_err::remove_file(path.join("token.txt"))?;
        let error = draft(&path).with_digests("eurobot", &digests()).unwrap_err();
        assert!(format!("{error:#}").contains("token.txt"), "{error:#}");
        Ok(())
    }
}
