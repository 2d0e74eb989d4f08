//! A robot's Compose project, rendered on this machine: variables filled in, images named by digest.
//!
//! `docker compose config` reads the file, so that every feature of Compose works. Its output is complete:
//! the robot needs nothing else from this machine to start the services.

mod graph;
mod images;
mod portable;
mod renamed;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::files::{DATA, Files, LargeFile, Texts, append_text};
use crate::config::{Platform, Robot, Workspace};
use crate::error::Result;
use crate::image::{self, ImageSpec};
use images::Images;
use resolve::Question;

/// File in a project's archive: the Compose project.
const COMPOSE: &str = "compose.json";

/// File in a project's archive: see [`service_lines`].
const SERVICES: &str = "services";

/// File in a project's archive: see [`relation_lines`].
const RELATIONS: &str = "relations";

/// File in a project's archive: see [`image_lines`].
const IMAGES: &str = "images";

/// Label with the hash of the service that a container was created for: see [`service_lines`].
const HASH_LABEL: &str = "xtask.hash";

/// Label of a container that may hold devices: see [`holds_devices`].
const DEVICES_LABEL: &str = "xtask.devices";

/// A rendered project whose images are still named by tag, because their digests are not known yet.
#[derive(Clone, Debug)]
pub(crate) struct ComposeDraft {
    model: Value,
    images: Images,
    /// Texts of configs and secrets that no file has.
    texts: Texts,
    project: String,
    /// Directory of `robots.toml`.
    root: Utf8PathBuf,
}

/// A project in the form that is sent to the robot.
#[derive(Clone, Debug)]
pub(crate) struct ComposeProject {
    /// A tar archive: `compose.json`, `services`, `images`, and the files that services mount.
    pub archive: Vec<u8>,
    /// SHA-256 of the archive.
    pub id: String,
    /// Files that are sent apart.
    pub large: Vec<LargeFile>,
    /// Image reference by service.
    pub services: BTreeMap<String, String>,
    /// Names of all services.
    pub names: BTreeSet<String>,
    /// Services that may end, because nothing restarts them.
    pub jobs: BTreeSet<String>,
    /// Definition of each service, in Compose's JSON.
    pub definitions: Value,
    /// Hash of what is here of each path that belongs to the robot, `-` if nothing is.
    pub data: BTreeMap<String, String>,
    /// Hash of each service's definition. The robot replaces containers whose hash has changed.
    pub hashes: BTreeMap<String, String>,
}

impl ComposeDraft {
    /// Renders the robot's Compose files with the robot's variables.
    ///
    /// # Errors
    /// Fails with exit code 2 if Compose refuses the files, or if a robot could not do what they say.
    pub(crate) fn render(workspace: &Workspace, robot: &Robot) -> Result<Self> {
        let question = Question::new(workspace, robot)?;
        let file = workspace.relative(&robot.compose[0]);
        let mut model = question.answer()?;
        let images = Images::of(workspace, file, &model)?;
        if robot.compose.iter().any(|file| may_have(file, graph::KEY)) {
            graph::expect(&mut model, &question.with_extensions()?, file, &images.of_packages())?;
        }
        portable::adapt(&mut model, file.as_str(), &robot.platform)?;
        let texts = portable::take_texts(&mut model, &question.variables)?;
        let (root, project) = (workspace.root.clone(), workspace.project.name.clone());
        // Fails before anything is built. The files are read again for the release: a person may edit them during
        // the build.
        drop(Files::relocate(&root, &mut model.clone(), &texts)?);
        Ok(Self { model, images, texts, project, root })
    }

    /// Names of the images that the robot needs.
    pub(crate) fn images(&self) -> BTreeSet<&str> {
        self.images.names()
    }

    /// Names of the services.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        self.images.by_service().map(|(service, _)| service.clone()).collect()
    }

    /// The services, in Compose's JSON.
    pub(crate) fn definitions(&self) -> &Value {
        &self.model["services"]
    }

    /// Paths of the repository that services mount, or that their images are built from, relative to the repository.
    pub(crate) fn inputs(&self) -> Vec<Utf8PathBuf> {
        let mut model = self.model.clone();
        let mounted = super::files::paths(&mut model);
        mounted.into_iter().chain(self.images.contexts()).collect()
    }

    /// The images that the robot needs.
    pub(crate) fn specs(&self, platform: &Platform) -> Vec<ImageSpec> {
        self.images.specs(platform)
    }

    /// Replaces the images by references with digests; `references` has one for each of
    /// [`ComposeDraft::images`].
    pub(crate) fn with_references(&self, references: &BTreeMap<String, String>) -> Result<ComposeProject> {
        self.packed(references, false)
    }

    /// Like [`ComposeDraft::with_references`], with everything in the archive.
    pub(crate) fn bundled(&self, references: &BTreeMap<String, String>) -> Result<ComposeProject> {
        self.packed(references, true)
    }

    fn packed(&self, references: &BTreeMap<String, String>, is_whole: bool) -> Result<ComposeProject> {
        let mut model = self.model.clone();
        for (service, image) in self.images.by_service() {
            let reference =
                references.get(image).with_context(|| format!("image `{image}` has not been built"))?.clone();
            model["services"][service]["image"] = Value::from(reference);
            if let Some(definition) = model["services"][service].as_object_mut() {
                // Robots never build images.
                definition.remove("build");
            }
        }
        let files = Files::relocate(&self.root, &mut model, &self.texts)?;
        let lines = service_lines(&model);
        label(&mut model, &hashes(&lines));
        let text = serde_json::to_string_pretty(&model).context("write the Compose project")?;
        let images = image_lines(&self.project, references);
        let relations = relation_lines(&model);
        let texts = [(COMPOSE, text), (SERVICES, lines), (IMAGES, images), (RELATIONS, relations)];
        let archive = files.archive(&texts, is_whole)?;
        let large = if is_whole { Vec::new() } else { files.large() };
        Ok(ComposeProject { large, ..ComposeProject::read(archive, references)? })
    }
}

impl ComposeProject {
    /// Reads a project's archive. `references` has the references of the workspace's images.
    pub(crate) fn read(archive: Vec<u8>, references: &BTreeMap<String, String>) -> Result<Self> {
        let texts = texts(&archive).context("read the Compose project")?;
        let text =
            |name: &str| texts.get(name).with_context(|| format!("the Compose project has no `{name}`"));
        let model: Value = serde_json::from_str(text(COMPOSE)?).context("read the Compose project")?;
        let ours: BTreeSet<&String> = references.values().collect();
        let expected = services(&model)
            .filter_map(|(service, definition)| {
                Some((service.clone(), definition["image"].as_str()?.to_owned()))
            })
            .filter(|(_, image)| ours.contains(image))
            .collect();
        let hashes = hashes(text(SERVICES)?);
        let id = format!("{:x}", Sha256::digest(&archive));
        let data = texts.get(DATA).into_iter().flat_map(|text| text.lines());
        let data = data
            .filter_map(|line| line.split_once(' '))
            .map(|(hash, path)| (path.to_owned(), hash.to_owned()));
        let data = data.collect();
        let names = services(&model).map(|(name, _)| name.clone()).collect();
        let jobs = services(&model).filter(|(_, service)| may_end(service)).map(|(name, _)| name.clone());
        Ok(Self {
            archive,
            id,
            large: Vec::new(),
            services: expected,
            names,
            jobs: jobs.collect(),
            definitions: model["services"].clone(),
            data,
            hashes,
        })
    }
}

impl ComposeProject {
    /// Returns the project's archive with more files in it, which only their owner can read.
    pub(crate) fn with_files(&self, files: &[(&str, String)]) -> Result<Vec<u8>> {
        with_texts(&self.archive, files).context("pack the release")
    }
}

/// Returns an archive with these texts, in place of files with their names or behind all others.
fn with_texts(archive: &[u8], texts: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut new = tar::Builder::new(Vec::new());
    let mut added = BTreeSet::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let (mut header, path) = (entry.header().clone(), entry.path()?.into_owned());
        match texts.iter().find(|(name, _)| path.to_str() == Some(*name)) {
            Some((name, text)) => {
                append_text(&mut new, name, text, 0o600)?;
                added.insert(*name);
            }
            None => new.append_data(&mut header, path, &mut entry)?,
        }
    }
    for (name, text) in texts.iter().filter(|(name, _)| !added.contains(name)) {
        append_text(&mut new, name, text, 0o600)?;
    }
    Ok(new.into_inner()?)
}

/// Reads `compose.json` and `services` from a project's archive.
fn texts(archive: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if [COMPOSE, SERVICES, DATA].contains(&name.as_str()) {
            texts.extend([(name, std::io::read_to_string(&mut entry)?)]);
        }
    }
    Ok(texts)
}

/// Returns whether a file has a text; one that cannot be read may have it.
fn may_have(file: &Utf8Path, text: &str) -> bool {
    fs_err::read_to_string(file).is_ok_and(|content| content.contains(text))
}

fn services(model: &Value) -> impl Iterator<Item = (&String, &Value)> {
    model["services"].as_object().into_iter().flatten()
}

/// Returns whether a service may end, because nothing restarts it.
fn may_end(service: &Value) -> bool {
    !matches!(service["restart"].as_str(), Some("always" | "unless-stopped"))
}

/// Returns a line `HASH FLAGS SERVICE` for each service with containers: a hash of its definition, and the flag `j` for a
/// job, which may end, or `-`.
fn service_lines(model: &Value) -> String {
    let line = |(name, service): (&String, &Value)| {
        let hash = Sha256::digest(format!("{}{service}", used_by(service, model)));
        let flags = if may_end(service) { "j" } else { "-" };
        format!("{hash:x} {flags} {name}\n")
    };
    services(model).filter(|(_, service)| portable::replicas(service) > 0).map(line).collect()
}

/// Returns a line `SERVICE COUNT FOLLOWED` for each service that has not exactly one container or is replaced with others:
/// the number of its containers, and those services, separated by commas.
fn relation_lines(model: &Value) -> String {
    let line = |(name, service): (&String, &Value)| {
        let (count, followed) = (portable::replicas(service), portable::followed(service).join(","));
        (count > 1 || !followed.is_empty()).then(|| format!("{name} {count} {followed}\n"))
    };
    services(model).filter_map(line).collect()
}

/// Returns the networks, volumes, configs and secrets that a service uses: if one changes, only the services
/// that use it are replaced.
fn used_by(service: &Value, model: &Value) -> Value {
    let mut used = serde_json::Map::new();
    for section in ["networks", "volumes", "configs", "secrets"] {
        // Compose writes networks as a table, and the others as lists of elements with a `source`.
        let names: Vec<&str> = match &service[section] {
            Value::Object(table) => table.keys().map(String::as_str).collect(),
            Value::Array(list) => list.iter().filter_map(|item| item["source"].as_str()).collect(),
            _ => Vec::new(),
        };
        for name in names {
            let definition = &model[section][name];
            if !definition.is_null() {
                used.extend([(format!("{section}.{name}"), definition.clone())]);
            }
        }
    }
    Value::Object(used)
}

/// Parses [`service_lines`] into hashes by service.
fn hashes(lines: &str) -> BTreeMap<String, String> {
    let entry = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [hash, _, service] => Some((service.to_owned(), hash.to_owned())),
        _ => None,
    };
    lines.lines().filter_map(entry).collect()
}

/// Adds labels to the services: their hash, and whether they may hold devices.
fn label(model: &mut Value, hashes: &BTreeMap<String, String>) {
    for (name, service) in model["services"].as_object_mut().into_iter().flatten() {
        let holds_devices = holds_devices(service);
        let Some(service) = service.as_object_mut() else { continue };
        let labels = service.entry("labels").or_insert_with(|| Value::Object(serde_json::Map::new()));
        labels[HASH_LABEL] = Value::from(hashes.get(name).cloned().unwrap_or_default());
        if holds_devices {
            labels[DEVICES_LABEL] = Value::from("yes");
        }
    }
}

/// Returns whether a label is one that [`label`] adds.
pub(crate) fn is_ours(label: &str) -> bool {
    [HASH_LABEL, DEVICES_LABEL].contains(&label)
}

/// Returns whether a service may hold a device that only one process at a time can open: a serial port, a
/// camera.
fn holds_devices(service: &Value) -> bool {
    let mut sources = service["volumes"].as_array().into_iter().flatten().map(|volume| &volume["source"]);
    let is_device =
        |source: &Value| source.as_str().is_some_and(|path| path == "/dev" || path.starts_with("/dev/"));
    let has_devices = service["devices"].as_array().is_some_and(|list| !list.is_empty());
    has_devices || service["privileged"] == true || sources.any(is_device)
}

/// Returns a line `REFERENCE NAME` for each image. The robot tags the image with the name while a stored
/// release needs it, so that `docker image prune` does not remove it.
fn image_lines(project: &str, references: &BTreeMap<String, String>) -> String {
    let line = |(image, reference): (&String, &String)| match reference.split_once('@') {
        Some((_, digest)) => format!("{reference} {project}:{image}-{}\n", image::short(digest)),
        None => format!("{reference} {reference}\n"),
    };
    references.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(dir: &Utf8Path) -> ComposeDraft {
        ComposeDraft {
            model: json!({
                "services": {
                    "navigation": {
                        "image": "eurobot:navigation",
                        "build": { "context": "." },
                        "volumes": [
                            { "type": "bind", "source": "./maps", "target": "/maps", "read_only": true },
                            { "type": "bind", "source": "/dev", "target": "/dev" },
                            { "type": "volume", "source": "data", "target": "/data" },
                        ],
                    },
                    "database": { "image": "other.example/postgres@sha256:cc" },
                },
                "secrets": { "token": { "file": "token.txt" } },
            }),
            images: Images::testing("navigation", "navigation"),
            texts: Texts::new(),
            project: "eurobot".to_owned(),
            root: dir.to_owned(),
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

    fn references() -> BTreeMap<String, String> {
        BTreeMap::from([(
            "navigation".to_owned(),
            crate::robot::registry::reference(5000, "eurobot", "sha256:aa"),
        )])
    }

    /// Returns the files of a project's archive: mode and text by name.
    fn unpack(project: &ComposeProject) -> Result<BTreeMap<String, (u32, String)>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(project.archive.as_slice()).entries()? {
            let mut entry = entry?;
            let text = std::io::read_to_string(&mut entry)?;
            files.insert(entry.path()?.to_string_lossy().into_owned(), (entry.header().mode()?, text));
        }
        Ok(files)
    }

    #[test]
    fn our_images_are_named_by_digest_and_others_are_unchanged() -> Result<()> {
        let (_guard, path) = directory()?;
        let project = draft(&path).with_references(&references())?;
        assert_eq!(project.services["navigation"], "127.0.0.1:5000/eurobot@sha256:aa");
        assert_eq!(project.names, ["database", "navigation"].map(str::to_owned).into());
        let files = unpack(&project)?;
        let names: Vec<&str> = files.keys().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
        for name in ["compose.json", "services", "maps", "table.pgm", "token.txt"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        let (mode, text) = &files["compose.json"];
        assert_eq!(*mode, 0o600);
        assert!(
            text.contains("127.0.0.1:5000/eurobot@sha256:aa")
                && text.contains("other.example/postgres@sha256:cc")
        );
        assert!(!text.contains("build"));
        assert!(text.contains("\"../files/") && text.contains("\"/dev\""), "{text}");
        Ok(())
    }

    #[test]
    fn a_service_that_is_restarted_is_not_a_job() -> Result<()> {
        let (_guard, path) = directory()?;
        let mut draft = draft(&path);
        draft.model["services"]["navigation"]["restart"] = json!("unless-stopped");
        assert_eq!(draft.with_references(&references())?.jobs, ["database".to_owned()].into());
        Ok(())
    }

    #[test]
    fn the_id_follows_the_content_of_mounted_files() -> Result<()> {
        let (_guard, path) = directory()?;
        let before = draft(&path).with_references(&references())?.id;
        assert_eq!(draft(&path).with_references(&references())?.id, before);
        fs_err::write(path.join("maps/table.pgm"), "P3")?;
        assert_ne!(draft(&path).with_references(&references())?.id, before);
        Ok(())
    }

    #[test]
    fn a_changed_image_changes_its_service_and_no_other() -> Result<()> {
        let (_guard, path) = directory()?;
        let before = service_lines(&draft(&path).model);
        let mut model = draft(&path).model;
        model["services"]["navigation"]["image"] = json!("127.0.0.1:5000/eurobot@sha256:bb");
        let after = service_lines(&model);
        let same: Vec<&str> =
            before.lines().filter(|line| after.lines().any(|other| other == *line)).collect();
        assert_eq!(same.len(), 1);
        assert!(same[0].ends_with(" database"));
        Ok(())
    }

    #[test]
    fn a_network_that_one_service_uses_changes_no_other() -> Result<()> {
        let (_guard, path) = directory()?;
        let before = service_lines(&draft(&path).model);
        let mut model = draft(&path).model;
        model["networks"] = json!({ "default": { "name": "eurobot_default" } });
        model["services"]["database"]["networks"] = json!({ "default": null });
        let after = service_lines(&model);
        assert!(before.lines().any(|line| line.ends_with(" navigation") && after.contains(line)));
        model["networks"]["default"]["name"] = json!("another");
        let changed = service_lines(&model);
        assert!(after.lines().any(|line| line.ends_with(" database") && !changed.contains(line)));
        Ok(())
    }

    #[test]
    fn a_service_changes_with_its_image_and_its_files_and_no_other_does() -> Result<()> {
        let (_guard, path) = directory()?;
        let hashes = |digest: &str| -> Result<String> {
            let references = BTreeMap::from([(
                "navigation".to_owned(),
                crate::robot::registry::reference(5000, "eurobot", digest),
            )]);
            let project = draft(&path).with_references(&references)?;
            Ok(unpack(&project)?.remove("services").map(|(_, text)| text).unwrap_or_default())
        };
        let changed = |before: &str, after: &str| -> Vec<String> {
            let names = after
                .lines()
                .filter(|line| !before.contains(*line))
                .filter_map(|line| line.split(' ').nth(2));
            names.map(str::to_owned).collect()
        };
        let before = hashes("sha256:aa")?;
        assert_eq!(changed(&before, &hashes("sha256:aa")?), [""; 0]);
        assert_eq!(changed(&before, &hashes("sha256:bb")?), ["navigation"]);
        fs_err::write(path.join("maps/table.pgm"), "P3")?;
        assert_eq!(changed(&before, &hashes("sha256:aa")?), ["navigation"]);
        Ok(())
    }

    #[test]
    fn a_mounted_file_may_have_a_dollar_in_its_name() -> Result<()> {
        let (_guard, path) = directory()?;
        fs_err::rename(path.join("maps"), path.join("${HOME} maps"))?;
        let mut draft = draft(&path);
        draft.model["services"]["navigation"]["volumes"][0]["source"] = json!("./$${HOME} maps");
        let files = unpack(&draft.with_references(&references())?)?;
        assert!(files.keys().any(|name| name.ends_with("/${HOME} maps/table.pgm")), "{:?}", files.keys());
        assert!(files["compose.json"].1.contains("/$${HOME} maps\""), "{}", files["compose.json"].1);
        Ok(())
    }

    #[test]
    fn a_missing_mounted_file_is_named() -> Result<()> {
        let (_guard, path) = directory()?;
        fs_err::remove_file(path.join("token.txt"))?;
        let error = draft(&path).with_references(&references()).unwrap_err();
        assert!(format!("{error:#}").contains("token.txt"), "{error:#}");
        Ok(())
    }
}
