//! Reads bundles: opening one reads only its description; the caller verifies the checksums of all members.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::{Archive, BundleContents, CONTENTS, FORMAT, SIGNATURE, SUMS, Signers};
use crate::config::Robot;
use crate::delivery::archive::{self, ArchiveContents, ArchiveImage, ArchiveSource, Pass};
use crate::error::{Failure, Result};
use crate::files;
use crate::process::{self, Cmd};
use crate::robot::Session;
use crate::ui;

/// Most bytes that are read of a text member.
const LIMIT: u64 = 16 << 20;

/// Bytes that are copied between two checks for an interrupt.
const PIECE: u64 = 64 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    file: Members,
    /// Hexadecimal checksum of each member.
    sums: BTreeMap<String, String>,
    contents: BundleContents,
}

/// Tar archive with random access to its members.
#[derive(Clone, Debug)]
struct Members {
    path: Utf8PathBuf,
    /// Opened once: if the path is replaced, the verified file is still the one used.
    file: Arc<File>,
    /// Offset and length of each member.
    places: BTreeMap<String, (u64, u64)>,
}

impl Bundle {
    /// Opens a bundle and reads its description.
    pub(crate) fn open(path: &Utf8Path) -> Result<Self> {
        Self::of_file(path, file(path)?, |_, _| Ok(()))
    }

    /// Opens a bundle that one of `signers` must have signed; the signature is verified before anything else
    /// is used.
    ///
    /// The file is first copied to an unnamed file in `dir`, because a USB stick may return other bytes when
    /// it is read again.
    pub(crate) fn open_signed(path: &Utf8Path, signers: &Signers, dir: &Utf8Path) -> Result<Self> {
        let file = private_copy(file(path)?, dir).with_context(|| format!("copy `{path}` into `{dir}`"))?;
        Self::of_file(path, file, |members, sums| {
            if !members.places.contains_key(SIGNATURE) {
                return Err(Failure::failed(format!("`{path}` is not signed"))
                    .hint("write it again: `cargo xtask deploy --via archive --to FILE` signs it")
                    .into());
            }
            let name = signers.verify(path, sums, &members.text(SIGNATURE)?)?;
            ui::step("bundle", &format!("signed by {name}"));
            Ok(())
        })
    }

    fn of_file(
        path: &Utf8Path,
        file: File,
        check: impl FnOnce(&Members, &str) -> Result<()>,
    ) -> Result<Self> {
        let broken = |error: anyhow::Error| damaged(path, "it is truncated").because(error);
        if !is_archive(&file)? {
            return Err(Failure::failed(format!("`{path}` is not a bundle"))
                .hint("`cargo xtask deploy --via archive --to FILE` writes one; if it was one, copy it again")
                .into());
        }
        let file = Members::find(path, file).map_err(broken)?;
        let sums = file.text(SUMS).map_err(broken)?;
        check(&file, &sums)?;
        let read = || -> Result<Self> {
            let pairs = sums.lines().filter_map(|line| line.split_once("  "));
            let sums = pairs.map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect();
            let bundle = Self { contents: serde_json::from_str(&file.text(CONTENTS)?)?, file, sums };
            bundle.verify_member(CONTENTS)?;
            Ok(bundle)
        };
        let bundle = read().map_err(broken)?;
        if bundle.contents.format != FORMAT {
            return Err(Failure::failed(format!("`{path}` was written by another version of this program"))
                .hint("write it again with this version: `cargo xtask deploy --via archive --to FILE`")
                .into());
        }
        Ok(bundle)
    }

    pub(crate) fn contents(&self) -> &BundleContents {
        &self.contents
    }

    /// Compares all members with their checksums.
    pub(crate) fn verify(&self) -> Result<()> {
        let is_summed = |name: &&String| ![SUMS, SIGNATURE].contains(&name.as_str());
        self.file.places.keys().filter(is_summed).try_for_each(|name| self.verify_member(name))
    }

    fn verify_member(&self, name: &str) -> Result<()> {
        process::check_interrupted()?;
        let path = &self.file.path;
        let sum = self.file.open(name).and_then(|file| Ok(files::digest(file)?));
        let sum = sum.map_err(|error| damaged(path, "it cannot be read").because(error))?;
        if self.sums.get(name).is_some_and(|written| *written == *sum.hex()) {
            return Ok(());
        }
        Err(damaged(path, &format!("`{name}` in it does not match its checksum")).into())
    }

    /// Images of a robot; fails if the bundle has nothing for the robot or is for another platform.
    pub(crate) fn images_of(&self, robot: &Robot) -> Result<Images<'_>> {
        let Self { file: Members { path, .. }, contents, .. } = self;
        let entry = contents.robots.get(&robot.name);
        let archive =
            entry.and_then(|entry| contents.archives.iter().find(|archive| archive.name == entry.images));
        let Some(archive) = archive else {
            let names: Vec<&str> = contents.robots().collect();
            return Err(Failure::config(format!("`{path}` has nothing for `{}`", robot.name))
                .hint(format!("it was made for {}", names.join(", ")))
                .hint(format!(
                    "`cargo xtask deploy --robot {} --via archive --to FILE` makes one",
                    robot.name
                ))
                .into());
        };
        if archive.platform != robot.platform.to_string() {
            return Err(Failure::config(format!(
                "`{path}` has images for {}, but robots.toml says that `{}` is {}",
                archive.platform, robot.name, robot.platform
            ))
            .into());
        }
        let items = archive.images.iter().map(|image| image.item.clone()).collect();
        Ok(Images { bundle: self, archive, items })
    }

    /// Archive of a robot's Compose project.
    pub(crate) fn release_of(&self, robot: &Robot) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let entry = self.contents.robots.get(&robot.name);
        let name = entry.map(|entry| entry.release.as_str()).unwrap_or_default();
        self.file.open(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Members {
    /// Scans the archive for its members; fails if one of them is truncated.
    fn find(path: &Utf8Path, file: File) -> Result<Self> {
        let length = file.metadata()?.len();
        let mut places = BTreeMap::new();
        // `raw` does not read extended names into memory; the names of real members are short.
        for entry in tar::Archive::new(&file).entries_with_seek()?.raw(true) {
            let entry = entry?;
            let (start, size) = (entry.raw_file_position(), entry.size());
            anyhow::ensure!(start.checked_add(size).is_some_and(|end| end <= length), "its end is missing");
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            places.insert(name, (start, size));
        }
        Ok(Self { path: path.to_owned(), file: Arc::new(file), places })
    }

    fn open(&self, name: &str) -> Result<impl Read + use<>> {
        let (start, length) =
            *self.places.get(name).with_context(|| format!("there is no `{name}` in it"))?;
        let part = OffsetReader { file: Arc::clone(&self.file), position: start };
        Ok(io::BufReader::with_capacity(1 << 17, part.take(length)))
    }

    fn text(&self, name: &str) -> Result<String> {
        Ok(io::read_to_string(self.open(name)?.take(LIMIT))?)
    }
}

/// Reader of a shared file from an offset on, independent of other readers.
struct OffsetReader {
    file: Arc<File>,
    position: u64,
}

impl Read for OffsetReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

fn file(path: &Utf8Path) -> Result<File> {
    let explain = |error| Failure::failed(format!("cannot read the bundle `{path}`")).because(error);
    Ok(fs_err::File::open(path).map_err(explain)?.into_parts().0)
}

/// Returns whether a file begins like an archive of tar(5).
fn is_archive(file: &File) -> Result<bool> {
    let mut magic = [0; 5];
    Ok(file.read_at(&mut magic, 257)? == magic.len() && magic == *b"ustar")
}

/// Copies a file to an unnamed temporary file in `dir`, which other users cannot open.
fn private_copy(from: File, dir: &Utf8Path) -> Result<File> {
    fs_err::create_dir_all(dir)?;
    let mut to = tempfile::tempfile_in(dir)?;
    while io::copy(&mut (&from).take(PIECE), &mut to)? > 0 {
        process::check_interrupted()?;
    }
    to.rewind()?;
    Ok(to)
}

fn damaged(path: &Utf8Path, how: &str) -> Failure {
    Failure::failed(format!("`{path}` is damaged: {how}"))
        .hint("copy it again from where it was written, and eject a USB stick before unplugging it")
}

/// Images of a robot in a bundle, as the source of an archive transfer.
#[derive(Clone, Debug)]
pub(crate) struct Images<'a> {
    bundle: &'a Bundle,
    archive: &'a Archive,
    items: Vec<ArchiveImage>,
}

impl Images<'_> {
    pub(crate) fn items(&self) -> &[ArchiveImage] {
        &self.items
    }
}

impl ArchiveSource for Images<'_> {
    fn layers(&self, items: &[&ArchiveImage]) -> Result<Vec<Vec<String>>> {
        let images = self.archive.images.iter().filter(|image| items.contains(&&image.item));
        Ok(images.map(|image| image.layers.clone()).collect())
    }

    fn send(
        &self,
        _items: &[&ArchiveImage],
        session: &Session,
        load: &Cmd,
        pass: Pass<'_>,
    ) -> Result<ArchiveContents> {
        archive::write_to(session, load, |sink| {
            let mut plain = zstd::Decoder::new(self.bundle.file.open(&self.archive.name)?)?;
            pass(&mut plain, sink)
        })
    }

    fn is_fixed(&self) -> bool {
        true
    }

    fn check(&self, robot: &str, there: &BTreeSet<String>) -> Result<()> {
        let missing = self.archive.left_out.difference(there).count();
        if missing == 0 {
            return Ok(());
        }
        let path = &self.bundle.file.path;
        let other = self.bundle.contents.against.as_deref().unwrap_or("another");
        Err(Failure::failed(format!("`{robot}` lacks {} that `{path}` omits", ui::count(missing, "layer")))
            .hint(format!("it was written against {other}: load that one first"))
            .hint("or write a full bundle: `--to FILE` without `--against`")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::fuzz::{fuzz, with_sums};

    const DESCRIPTION: &str = r#"{"format":1,"project":"eurobot","revision":"v1","made":1700000000,"against":null,
        "archives":[{"name":"images-1.tar.zst","platform":"linux/amd64","left_out":["sha256:aa"],
          "images":[{"image":"navigation","digest":"sha256:bb","other":null,"layers":["sha256:aa"]}]}],
        "robots":{"main":{"release":"robots/main.tar","images":"images-1.tar.zst"}}}"#;

    /// Bundle with this `bundle.json`.
    fn bundle(description: &[u8]) -> Vec<u8> {
        let members: [(&str, &[u8]); 3] =
            [("images-1.tar.zst", b"images"), ("robots/main.tar", b"release"), (CONTENTS, description)];
        let sums: String =
            members.iter().map(|(name, bytes)| format!("{:x}  {name}\n", Sha256::digest(bytes))).collect();
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in members.into_iter().chain([(SUMS, sums.as_bytes())]) {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// Reads everything in a bundle; returns whether it is valid.
    fn read(bytes: &[u8]) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        let Ok(bundle) = Bundle::open(Utf8Path::from_path(file.path()).unwrap()) else { return false };
        let BundleContents { archives, robots, .. } = bundle.contents();
        let members = archives.iter().map(|archive| &archive.name);
        for name in members.chain(robots.values().map(|robot| &robot.release)) {
            let member = bundle.file.open(name);
            drop(member.and_then(|mut member| Ok(io::copy(&mut member, &mut io::sink())?)));
        }
        drop((bundle.contents().title(), bundle.contents().check_project("eurobot")));
        bundle.verify().is_ok()
    }

    #[test]
    fn an_endless_name_takes_little_memory() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(150 << 20);
        header.set_cksum();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), header.as_bytes()).unwrap();
        file.as_file().set_len(151 << 20).unwrap();
        let memory = allocation_counter::measure(|| {
            drop(Bundle::open(Utf8Path::from_path(file.path()).unwrap()).unwrap_err());
        });
        assert!(memory.bytes_max < 16 << 20, "{} bytes of memory", memory.bytes_max);
    }

    #[test]
    fn fuzzed_bundles_are_read_or_refused() {
        let whole = bundle(DESCRIPTION.as_bytes());
        assert!(read(&whole));
        fuzz("bundle", 300, &[&whole], |bytes| {
            let _ = read(&with_sums(bytes));
        });
    }

    #[test]
    fn fuzzed_descriptions_are_read_or_refused() {
        let far = DESCRIPTION.replace("1700000000", "18446744073709551615");
        fuzz("bundle.json", 400, &[DESCRIPTION.as_bytes(), far.as_bytes()], |bytes| {
            let _ = read(&bundle(bytes));
        });
    }
}
