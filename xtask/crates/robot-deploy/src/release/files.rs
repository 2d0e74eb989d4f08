//! Files beside the Compose file that its services mount. They are part of the release.
//!
//! On the robot, each is in a directory that is named by a hash of its content, outside the releases. So a
//! container that keeps running keeps its files, and a container whose files changed has a new definition and
//! is replaced.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Failure, Result};
use crate::files;

/// The mounted files of one project.
#[derive(Debug)]
pub(super) struct Files<'a> {
    /// Directory of the Compose file.
    dir: &'a Utf8Path,
    /// Directory of `robots.toml`, without links in its path.
    root: Utf8PathBuf,
    /// Paths in the archive, by paths relative to the Compose file.
    places: BTreeMap<Utf8PathBuf, Utf8PathBuf>,
}

impl<'a> Files<'a> {
    /// Finds the files that the model mounts, and replaces their paths in it by those on the robot.
    ///
    /// # Errors
    /// Fails when a file is not below `dir`, or is a link that leads out of `root`.
    pub(super) fn relocate(root: &Utf8Path, dir: &'a Utf8Path, model: &mut Value) -> Result<Self> {
        let root = root.canonicalize_utf8().with_context(|| format!("find `{root}`"))?;
        let mut files = Self { dir, root, places: BTreeMap::new() };
        let paths: BTreeSet<Utf8PathBuf> =
            references(model).filter_map(|source| relative(source.as_str()?)).collect();
        for path in paths {
            let mut archive = new_archive();
            files.append(&mut archive, &path, &path)?;
            let hash = format!("{:x}", Sha256::digest(archive.into_inner()?));
            files.places.insert(path.clone(), Utf8Path::new("files").join(&hash[..16]).join(&path));
        }
        for source in references(model) {
            if let Some(place) = source.as_str().and_then(|path| files.places.get(&relative(path)?)) {
                *source = Value::from(doubled(&format!("../{place}")));
            }
        }
        Ok(files)
    }

    /// Packs texts, which only their owner can read, and the files. The same content gives the same bytes.
    pub(super) fn archive(&self, texts: &[(&str, String)]) -> Result<Vec<u8>> {
        let mut archive = new_archive();
        for (name, text) in texts {
            append_text(&mut archive, name, text)?;
        }
        self.places.iter().try_for_each(|(path, place)| self.append(&mut archive, path, place))?;
        archive.into_inner().context("pack the Compose project")
    }

    /// Packs a file or a directory tree under another name.
    fn append(&self, archive: &mut tar::Builder<Vec<u8>>, path: &Utf8Path, name: &Utf8Path) -> Result<()> {
        if path.components().any(|part| part.as_str() == "..") {
            return Err(Failure::config(format!("`{path}` is outside the Compose file's directory"))
                .hint("move it beside the Compose file, or use an absolute path of a file on the robot")
                .into());
        }
        let source = self.dir.join(path);
        self.resolved(&source)
            .and_then(|source| self.append_existing(archive, &source, path, name))
            .with_context(|| format!("pack `{source}`, which the Compose file mounts"))
    }

    /// Resolves links. Links out of the repository are refused, so that no private file gets to a robot.
    fn resolved(&self, source: &Utf8Path) -> Result<Utf8PathBuf> {
        let resolved = source.canonicalize_utf8().with_context(|| format!("find `{source}`"))?;
        if resolved.starts_with(&self.root) {
            return Ok(resolved);
        }
        Err(Failure::config(format!("`{source}` is a link out of `{}`, to `{resolved}`", self.root))
            .hint("copy the file beside the Compose file, or use an absolute path of a file on the robot")
            .into())
    }

    fn append_existing(
        &self,
        archive: &mut tar::Builder<Vec<u8>>,
        source: &Utf8Path,
        path: &Utf8Path,
        name: &Utf8Path,
    ) -> Result<()> {
        if source.is_file() {
            return Ok(archive.append_path_with_name(source, name)?);
        }
        // Sorted, because directories list their entries in any order.
        let mut entries: Vec<String> =
            files::entries(source)?.iter().map(|entry| entry.file_name().to_owned()).collect();
        entries.sort();
        archive.append_dir(name, source)?;
        entries.iter().try_for_each(|entry| self.append(archive, &path.join(entry), &name.join(entry)))
    }
}

/// Packs a text that only its owner can read, because it may contain values of `.env` files.
pub(super) fn append_text(archive: &mut tar::Builder<Vec<u8>>, name: &str, text: &str) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, text.as_bytes()).context("pack the Compose project")
}

/// Returns an empty archive whose entries have neither owners nor times.
fn new_archive() -> tar::Builder<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    archive.follow_symlinks(true);
    archive
}

/// Returns a text with each `$` doubled, as in the output of `docker compose config`.
pub(super) fn doubled(text: &str) -> String {
    text.replace('$', "$$")
}

pub(super) fn undoubled(text: &str) -> String {
    text.replace("$$", "$")
}

/// Returns a path relative to the Compose file, or `None` for a path on the robot.
fn relative(path: &str) -> Option<Utf8PathBuf> {
    let is_here = !path.starts_with(['/', '~']);
    is_here.then(|| Utf8PathBuf::from(undoubled(path.strip_prefix("./").unwrap_or(path))))
}

/// Returns the places in the model that name files: bind mounts, configs, secrets.
fn references(model: &mut Value) -> impl Iterator<Item = &mut Value> {
    let sections = model.as_object_mut().into_iter().flatten();
    sections.flat_map(|(section, content)| {
        let items = content.as_object_mut().into_iter().flatten();
        let of_section = section.clone();
        items.flat_map(move |(_, item)| match of_section.as_str() {
            "configs" | "secrets" => item.get_mut("file").into_iter().collect::<Vec<_>>(),
            "services" => {
                let volumes = item.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten();
                let binds = volumes.filter(|volume| volume["type"] == "bind");
                binds.filter_map(|volume| volume.get_mut("source")).collect()
            }
            _ => Vec::new(),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::{Exit, exit_of};

    /// A repository with the Compose file's directory `docker`, and a secret file outside the repository.
    fn repository() -> Result<(tempfile::TempDir, Utf8PathBuf)> {
        let dir = tempfile::tempdir()?;
        let root = Utf8PathBuf::from_path_buf(dir.path().join("repository")).unwrap();
        fs_err::create_dir_all(root.join("docker/maps"))?;
        fs_err::write(root.join("docker/maps/table.pgm"), "P2")?;
        fs_err::create_dir_all(root.join("../.ssh"))?;
        fs_err::write(root.join("../.ssh/id_ed25519"), "secret")?;
        Ok((dir, root))
    }

    fn packed(root: &Utf8Path, source: &str) -> Result<Vec<u8>> {
        let bind = json!({ "type": "bind", "source": source });
        let mut model =
            json!({ "services": { "x": { "volumes": [bind] } }, "secrets": { "y": { "file": source } } });
        Files::relocate(root, &root.join("docker"), &mut model)?.archive(&[])
    }

    #[test]
    fn links_that_lead_out_of_the_repository_are_refused() -> Result<()> {
        let (_guard, root) = repository()?;
        let link =
            |target: &str, link: &str| std::os::unix::fs::symlink(target, root.join("docker").join(link));
        link("../../.ssh/id_ed25519", "key")?;
        link("../../.ssh", "keys")?;
        link("/etc/hostname", "maps/absolute")?;
        link("key", "twice")?;
        for (source, target) in [
            ("./key", ".ssh/id_ed25519"),
            ("./keys", ".ssh"),
            ("./keys/id_ed25519", ".ssh/id_ed25519"),
            ("./maps", "/etc/hostname"),
            ("./twice", ".ssh/id_ed25519"),
        ] {
            let error = packed(&root, source).unwrap_err();
            let said = format!("{error:#}");
            assert!(said.contains("is a link out of") && said.contains(target), "{source}: {said}");
            assert_eq!(exit_of(&error), Exit::Config);
        }
        Ok(())
    }

    #[test]
    fn links_inside_the_repository_are_followed() -> Result<()> {
        let (_guard, root) = repository()?;
        fs_err::create_dir(root.join("shared"))?;
        fs_err::write(root.join("shared/table.pgm"), "P5")?;
        std::os::unix::fs::symlink("../shared", root.join("docker/tables"))?;
        // The path of the repository itself may contain a link.
        let other = root.with_file_name("other");
        std::os::unix::fs::symlink(&root, &other)?;
        for root in [root, other] {
            let archive = packed(&root, "./tables")?;
            assert!(archive.windows(2).any(|bytes| bytes == b"P5"));
        }
        Ok(())
    }
}
