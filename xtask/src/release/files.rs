//! The files that a Compose project mounts from beside its Compose file: they travel with it.
//!
//! On the robot each has a place that is named by its content, beside the releases: a container that goes
//! on running goes on seeing its files, and one whose files changed is another one to Compose.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Failure, Result};

/// The mounted files of one project.
#[derive(Debug)]
pub struct Files<'a> {
    /// The Compose file's directory.
    dir: &'a Utf8Path,
    /// Their places in the archive, by their paths beside the Compose file.
    places: BTreeMap<Utf8PathBuf, Utf8PathBuf>,
}

impl<'a> Files<'a> {
    /// Finds the files that the model mounts, and names them there as they will be on the robot.
    ///
    /// # Errors
    /// Fails when a file cannot be read or is not below `dir`.
    pub fn relocate(dir: &'a Utf8Path, model: &mut Value) -> Result<Self> {
        let mut files = Self { dir, places: BTreeMap::new() };
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

    /// An archive of texts, readable by their owner only, and of the files: the same bytes for the same content.
    ///
    /// # Errors
    /// Fails when a file cannot be read.
    pub fn archive(&self, texts: &[(&str, String)]) -> Result<Vec<u8>> {
        let mut archive = new_archive();
        for (name, text) in texts {
            append_text(&mut archive, name, text)?;
        }
        self.places.iter().try_for_each(|(path, place)| self.append(&mut archive, path, place))?;
        archive.into_inner().context("pack the Compose project")
    }

    /// Packs a file, or a directory with all that is in it, under another name.
    fn append(&self, archive: &mut tar::Builder<Vec<u8>>, path: &Utf8Path, name: &Utf8Path) -> Result<()> {
        if path.components().any(|part| part.as_str() == "..") {
            return Err(Failure::config(format!("`{path}` is outside the Compose file's directory"))
                .hint("what a robot needs has to be beside its Compose file, or have an absolute path on the robot")
                .into());
        }
        let source = self.dir.join(path);
        self.append_existing(archive, &source, path, name)
            .with_context(|| format!("pack `{source}`, which the Compose file mounts"))
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
        // Directories list their entries in no particular order.
        let mut entries: Vec<String> =
            source.read_dir_utf8()?.map(|entry| Ok(entry?.file_name().to_owned())).collect::<Result<_>>()?;
        entries.sort();
        archive.append_dir(name, source)?;
        entries.iter().try_for_each(|entry| self.append(archive, &path.join(entry), &name.join(entry)))
    }
}

/// Packs a text that only its owner can read: values of `.env` files may be in it.
///
/// # Errors
/// Fails when the archive cannot be written.
pub fn append_text(archive: &mut tar::Builder<Vec<u8>>, name: &str, text: &str) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, text.as_bytes()).context("pack the Compose project")
}

/// An archive that does not say who packed it and when.
fn new_archive() -> tar::Builder<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    archive.follow_symlinks(true);
    archive
}

/// A text as Compose gives it back: each `$` doubled, for being read once more.
pub fn doubled(text: &str) -> String {
    text.replace('$', "$$")
}

/// The text that Compose has given back.
pub fn undoubled(text: &str) -> String {
    text.replace("$$", "$")
}

/// A path on this machine, beside the Compose file; none if it is one on the robot.
fn relative(path: &str) -> Option<Utf8PathBuf> {
    let is_here = !path.starts_with(['/', '~']);
    is_here.then(|| Utf8PathBuf::from(undoubled(path.strip_prefix("./").unwrap_or(path))))
}

/// Where the model names files: bind mounts, configs, secrets.
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
