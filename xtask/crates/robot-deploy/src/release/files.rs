//! Files of the repository that services mount.
//!
//! What services only read is part of the release; what is large of it is sent apart, once. On the robot, each file or directory is in a directory that is named
//! by a hash of its content, outside the releases. So a container that keeps running keeps its files, and a container whose
//! files changed has a new definition and is replaced.
//!
//! What a service may write belongs to the robot: it is in `data/`, is copied from here once, and nothing but
//! `cargo xtask data --reset` replaces it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Failure, Result};
use crate::files;

/// File in a project's archive: a line "HASH PATH" for each path that belongs to the robot, "-" for one that is not here.
pub(super) const DATA: &str = "data";

/// Size in bytes from which files are not packed with each release. Smaller ones are, so that the robot can repair them.
const LARGE: u64 = 1 << 20;

/// Texts of configs and secrets that no file has, by section and name.
pub(super) type Texts = BTreeMap<(String, String), String>;

/// The mounted files of one project.
#[derive(Debug)]
pub(super) struct Files<'a> {
    /// Directory of `robots.toml`, without links in its path.
    root: Utf8PathBuf,
    texts: &'a Texts,
    /// Files to send, by path relative to `root`.
    places: BTreeMap<Utf8PathBuf, Place>,
    /// Places in the archive of texts.
    text_places: BTreeMap<&'a (String, String), Utf8PathBuf>,
    /// Paths that belong to the robot, relative to `root`.
    data: BTreeSet<Utf8PathBuf>,
}

/// A file or a directory tree to send.
#[derive(Debug)]
struct Place {
    /// The first 16 hexadecimal digits of the SHA-256 of its archive.
    hash: String,
    /// Path in the archive of a release.
    path: Utf8PathBuf,
    bytes: u64,
}

impl Place {
    fn new(hash: Sha256, path: &Utf8Path, bytes: u64) -> Self {
        let hash = format!("{:x}", hash.finalize())[..16].to_owned();
        Self { path: Utf8Path::new("files").join(&hash).join(path), hash, bytes }
    }
}

/// A file or a directory tree that is sent apart from the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LargeFile {
    /// Name of its directory in `files/` on the robot.
    pub hash: String,
    /// Path relative to the repository.
    pub path: Utf8PathBuf,
    pub bytes: u64,
}

impl<'a> Files<'a> {
    /// Finds the files that the model mounts, and replaces their paths in it by those on the robot.
    ///
    /// # Errors
    /// Fails when a file is missing, is a link that leads out of `root`, or when a path is in one that a service may write.
    pub(super) fn relocate(root: &Utf8Path, model: &mut Value, texts: &'a Texts) -> Result<Self> {
        let root = root.canonicalize_utf8().with_context(|| format!("find `{root}`"))?;
        let (places, text_places) = (BTreeMap::new(), BTreeMap::new());
        let mut files = Self { root, texts, places, text_places, data: writable(model) };
        for path in paths(model) {
            if path.as_str().is_empty() {
                return Err(Failure::config("a service mounts the whole repository")
                    .hint("mount the directories that it needs; what packages or Dockerfiles install is in its image")
                    .into());
            }
            let inside =
                |data: &&Utf8PathBuf| *data != &path && (path.starts_with(data) || data.starts_with(&path));
            if let Some(data) = files.data.iter().find(inside) {
                return Err(nested(&path, data));
            }
            if files.data.contains(&path) && !files.root.join(&path).exists() {
                continue;
            }
            let mut archive = new_archive(Hashing::default());
            files.append(&mut archive, &path, &path)?;
            let Hashing { hash, bytes } = archive.into_inner()?;
            files.places.insert(path.clone(), Place::new(hash, &path, bytes));
        }
        for (key, text) in texts {
            let place = Place::new(Sha256::new_with_prefix(text), Utf8Path::new(&key.1), 0);
            files.text_places.insert(key, place.path);
        }
        for ((section, name), place) in &files.text_places {
            model[section][name]["file"] = Value::from(format!("../{place}"));
        }
        for source in references(model) {
            let Some(path) = source.as_str().and_then(relative) else { continue };
            if files.data.contains(&path) {
                *source = Value::from(doubled(&format!("../{DATA}/{path}")));
            } else if let Some(place) = files.places.get(&path) {
                *source = Value::from(doubled(&format!("../{}", place.path)));
            }
        }
        Ok(files)
    }

    /// The files that [`Files::archive`] leaves out.
    pub(super) fn large(&self) -> Vec<LargeFile> {
        let large = self.places.iter().filter(|(_, place)| place.bytes >= LARGE);
        let large = large.map(|(path, Place { hash, bytes, .. })| LargeFile {
            hash: hash.clone(),
            path: path.clone(),
            bytes: *bytes,
        });
        large.collect()
    }

    /// Packs texts, which only their owner can read, and the files, large ones only if `is_whole`. The same content gives
    /// the same bytes.
    pub(super) fn archive(&self, texts: &[(&str, String)], is_whole: bool) -> Result<Vec<u8>> {
        let mut archive = new_archive(Vec::new());
        let data = self.data.iter().map(|path| format!("{} {path}\n", self.hash(path).unwrap_or("-")));
        let data = (DATA, data.collect::<String>());
        for (name, text) in texts.iter().chain((!self.data.is_empty()).then_some(&data)) {
            append_text(&mut archive, name, text, 0o600)?;
        }
        let packed = self.places.iter().filter(|(_, place)| is_whole || place.bytes < LARGE);
        packed.into_iter().try_for_each(|(path, place)| self.append(&mut archive, path, &place.path))?;
        for (key, place) in &self.text_places {
            // The directories around it are closed to others, and the user of a container may be any.
            append_text(&mut archive, place.as_str(), &self.texts[*key], 0o444)?;
        }
        archive.into_inner().context("pack the Compose project")
    }

    /// Hash of the content of a path that is here.
    fn hash(&self, path: &Utf8Path) -> Option<&str> {
        self.places.get(path).map(|place| place.hash.as_str())
    }

    /// Packs a file or a directory tree under another name.
    fn append<W: Write>(
        &self,
        archive: &mut tar::Builder<W>,
        path: &Utf8Path,
        name: &Utf8Path,
    ) -> Result<()> {
        let source = self.root.join(path);
        self.resolved(&source, path)
            .and_then(|source| self.append_existing(archive, &source, path, name))
            .with_context(|| format!("pack `{path}`, which the Compose file mounts"))
    }

    /// Resolves links. Links out of the repository are refused, so that no private file gets to a robot.
    fn resolved(&self, source: &Utf8Path, path: &Utf8Path) -> Result<Utf8PathBuf> {
        let Ok(resolved) = source.canonicalize_utf8() else {
            return Err(Failure::config(format!("`{path}` does not exist, but a Compose file names it"))
                .hint("create it, or write an absolute path for what is on the robot")
                .into());
        };
        if resolved.starts_with(&self.root) {
            return Ok(resolved);
        }
        Err(Failure::config(format!("`{source}` is a link out of `{}`, to `{resolved}`", self.root))
            .hint("copy the file into the repository, or write an absolute path for what is on the robot")
            .into())
    }

    fn append_existing<W: Write>(
        &self,
        archive: &mut tar::Builder<W>,
        source: &Utf8Path,
        path: &Utf8Path,
        name: &Utf8Path,
    ) -> Result<()> {
        if source.is_file() {
            return Ok(archive.append_path_with_name(source, name)?);
        }
        // Sorted, because directories list their entries in any order.
        if !source.is_dir() {
            // A socket or a pipe belongs to a program of this machine.
            return Ok(());
        }
        let mut entries: Vec<String> =
            files::entries(source)?.iter().map(|entry| entry.file_name().to_owned()).collect();
        entries.sort();
        archive.append_dir(name, source)?;
        entries.iter().try_for_each(|entry| {
            let (source, path, name) = (source.join(entry), path.join(entry), name.join(entry));
            match source.read_link_utf8() {
                // As on one machine: the container follows it, in its own directories.
                Ok(target) => append_link(archive, &name, &target),
                Err(_) => self.append_existing(archive, &source, &path, &name),
            }
        })
    }
}

fn append_link<W: Write>(archive: &mut tar::Builder<W>, name: &Utf8Path, target: &Utf8Path) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    archive.append_link(&mut header, name, target).context("pack a link")
}

/// The hash and the number of the bytes written to it.
#[derive(Default)]
struct Hashing {
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Paths of the repository that a service may write.
fn writable(model: &mut Value) -> BTreeSet<Utf8PathBuf> {
    let services = model["services"].as_object().into_iter().flatten();
    let volumes = services.flat_map(|(_, service)| service["volumes"].as_array().into_iter().flatten());
    let binds = volumes.filter(|volume| volume["type"] == "bind" && volume["read_only"] != true);
    binds.filter_map(|bind| relative(bind["source"].as_str()?)).collect()
}

/// Error about a path in a directory that a service may write, or around it: a container could put a link there.
fn nested(path: &Utf8Path, data: &Utf8Path) -> anyhow::Error {
    let message =
        format!("`{path}` and `{data}` are mounted, one inside the other, and a service may write `{data}`");
    Failure::config(message)
        .hint(format!("mount the outer one in both places, or let services only read `{data}`: `./…:/…:ro`"))
        .into()
}

/// Packs a text with the permissions `mode`: one that may contain values of `.env` files is only for its owner.
pub(super) fn append_text(
    archive: &mut tar::Builder<Vec<u8>>,
    name: &str,
    text: &str,
    mode: u32,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, text.as_bytes()).context("pack the Compose project")
}

/// Returns an empty archive whose entries have neither owners nor times.
fn new_archive<W: Write>(sink: W) -> tar::Builder<W> {
    let mut archive = tar::Builder::new(sink);
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

/// Returns a path relative to the repository, or `None` for a path on the robot.
fn relative(path: &str) -> Option<Utf8PathBuf> {
    let is_here = !path.starts_with(['/', '~']);
    let path = if path == "." { "" } else { path.strip_prefix("./").unwrap_or(path) };
    is_here.then(|| Utf8PathBuf::from(undoubled(path)))
}

/// Paths of the repository that services mount.
pub(super) fn paths(model: &mut Value) -> BTreeSet<Utf8PathBuf> {
    references(model).filter_map(|source| relative(source.as_str()?)).collect()
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
        let bind = json!({ "type": "bind", "source": source, "read_only": true });
        let mut model =
            json!({ "services": { "x": { "volumes": [bind] } }, "secrets": { "y": { "file": source } } });
        Files::relocate(root, &mut model, &Texts::new())?.archive(&[], false)
    }

    #[test]
    fn links_that_lead_out_of_the_repository_are_refused() -> Result<()> {
        let (_guard, root) = repository()?;
        let link =
            |target: &str, link: &str| std::os::unix::fs::symlink(target, root.join("docker").join(link));
        link("../../.ssh/id_ed25519", "key")?;
        link("../../.ssh", "keys")?;
        link("key", "twice")?;
        for (source, target) in [
            ("./key", ".ssh/id_ed25519"),
            ("./keys", ".ssh"),
            ("./keys/id_ed25519", ".ssh/id_ed25519"),
            ("./twice", ".ssh/id_ed25519"),
        ] {
            let error = packed(&root, &source.replace("./", "./docker/")).unwrap_err();
            let said = format!("{error:#}");
            assert!(said.contains("is a link out of") && said.contains(target), "{source}: {said}");
            assert_eq!(exit_of(&error), Exit::Config);
        }
        Ok(())
    }

    #[test]
    fn links_in_directories_stay_links() -> Result<()> {
        let (_guard, root) = repository()?;
        for (target, name) in
            [("/etc/hostname", "absolute"), ("../../../.ssh", "outside"), ("..", "loop"), ("nowhere", "dead")]
        {
            std::os::unix::fs::symlink(target, root.join("docker/maps").join(name))?;
        }
        let archive = packed(&root, "./docker/maps")?;
        let mut links = BTreeMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries()? {
            let entry = entry?;
            if let Some(target) = entry.link_name()? {
                let name = entry.path()?.file_name().unwrap_or_default().to_string_lossy().into_owned();
                links.insert(name, target.to_string_lossy().into_owned());
            }
        }
        assert_eq!(links.len(), 4, "{links:?}");
        assert_eq!(links["outside"], "../../../.ssh");
        assert!(!archive.windows(6).any(|bytes| bytes == b"secret"));
        Ok(())
    }

    #[test]
    fn the_whole_repository_is_refused() -> Result<()> {
        let (_guard, root) = repository()?;
        let mut model = json!({ "services": { "x": { "volumes": [{ "type": "bind", "source": "." }] } } });
        let error = Files::relocate(&root, &mut model, &Texts::new()).unwrap_err().to_string();
        assert_eq!(error, "a service mounts the whole repository");
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
            let archive = packed(&root, "./docker/tables")?;
            assert!(archive.windows(2).any(|bytes| bytes == b"P5"));
        }
        Ok(())
    }
}
