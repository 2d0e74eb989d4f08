//! Reads bundles: what is in one is known at once, and believed only after its checksums.

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

/// What a bundle says of itself is small; a file that says otherwise is none.
const LIMIT: u64 = 16 << 20;

/// Bytes that are copied between two looks whether this run has been interrupted.
const PIECE: u64 = 64 << 20;

/// A bundle in a file.
#[derive(Clone, Debug)]
pub struct Bundle {
    file: Members,
    /// Of each member, as hexadecimal digits.
    sums: BTreeMap<String, String>,
    contents: BundleContents,
}

/// A tar archive that is read here and there.
#[derive(Clone, Debug)]
struct Members {
    path: Utf8PathBuf,
    /// Opened once: whatever is put in its place, what has been checked is what is used.
    file: Arc<File>,
    /// Where each begins in the file, and how long it is.
    places: BTreeMap<String, (u64, u64)>,
}

impl Bundle {
    /// Opens a bundle and finds out what is in it.
    ///
    /// # Errors
    /// Fails when the file cannot be read, is no bundle, or was cut off.
    pub fn open(path: &Utf8Path) -> Result<Self> {
        Self::of_file(path, file(path)?, |_, _| Ok(()))
    }

    /// The same of one that one of `signers` has to have signed: nothing of it is believed before that is known. Its bytes
    /// are copied into `dir` first, to a file that nobody else can open, since a stick may say something else when it is
    /// read again.
    ///
    /// # Errors
    /// As [`Bundle::open`]; and where the signature is missing or wrong.
    pub fn open_signed(path: &Utf8Path, signers: &Signers, dir: &Utf8Path) -> Result<Self> {
        let mut file = file(path)?;
        if !process::mode().dry_run {
            file = private_copy(file, dir).with_context(|| format!("copy `{path}` into `{dir}`"))?;
        }
        Self::of_file(path, file, |members, sums| {
            if !members.places.contains_key(SIGNATURE) {
                return Err(Failure::failed(format!("`{path}` is not signed"))
                    .hint("have it written anew: `cargo xtask deploy --via archive --to FILE` signs it")
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
        let broken =
            |error: anyhow::Error| damaged(path, "it is cut off, or no bundle at all").because(error);
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
                .hint("write it anew with this one: `cargo xtask deploy --via archive --to FILE`")
                .into());
        }
        Ok(bundle)
    }

    /// What is in it.
    pub fn contents(&self) -> &BundleContents {
        &self.contents
    }

    /// Compares all of it with its checksums.
    ///
    /// # Errors
    /// Names the member that is not what was written.
    pub fn verify(&self) -> Result<()> {
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
        Err(damaged(path, &format!("`{name}` in it is not what was written")).into())
    }

    /// The images that a robot runs.
    ///
    /// # Errors
    /// Fails when the bundle was not made for the robot, or for another platform.
    pub fn images_of(&self, robot: &Robot) -> Result<Images<'_>> {
        let Self { file: Members { path, .. }, contents, .. } = self;
        let of = contents.robots.get(&robot.name);
        let archive = of.and_then(|of| contents.archives.iter().find(|archive| archive.name == of.images));
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

    /// The archive of a robot's Compose project.
    ///
    /// # Errors
    /// Fails when there is none, or it cannot be read.
    pub fn release_of(&self, robot: &Robot) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let of = self.contents.robots.get(&robot.name);
        let name = of.map(|of| of.release.as_str()).unwrap_or_default();
        let _count = self.file.open(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Members {
    /// Looks where they are; fails unless the end of the last one is there.
    fn find(path: &Utf8Path, file: File) -> Result<Self> {
        let length = file.metadata()?.len();
        let mut places = BTreeMap::new();
        // Names in it are short: what says otherwise is no member, and not read into memory.
        for entry in tar::Archive::new(&file).entries_with_seek()?.raw(true) {
            let entry = entry?;
            let (start, size) = (entry.raw_file_position(), entry.size());
            anyhow::ensure!(start.checked_add(size).is_some_and(|end| end <= length), "its end is missing");
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let _earlier = places.insert(name, (start, size));
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

/// A file from some place on: several readers of it do not disturb each other.
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

/// The bytes of a file in one without a name, which is gone when it is closed.
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
        .hint("copy it anew from where it was written, and eject a stick before pulling it out")
}

/// The images of a bundle that a robot runs: what an archive is loaded from.
#[derive(Clone, Debug)]
pub struct Images<'a> {
    bundle: &'a Bundle,
    archive: &'a Archive,
    items: Vec<ArchiveImage>,
}

impl Images<'_> {
    /// The images.
    pub fn items(&self) -> &[ArchiveImage] {
        &self.items
    }
}

impl ArchiveSource for Images<'_> {
    fn layers(&self, items: &[&ArchiveImage]) -> Result<Vec<Vec<String>>> {
        let wanted = self.archive.images.iter().filter(|image| items.contains(&&image.item));
        Ok(wanted.map(|image| image.layers.clone()).collect())
    }

    fn command(&self, _items: &[&ArchiveImage]) -> Cmd {
        Cmd::new("tar").args(["-xOf", self.bundle.file.path.as_str(), &self.archive.name])
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
        if missing == 0 || process::mode().dry_run {
            return Ok(());
        }
        let path = &self.bundle.file.path;
        let other = self.bundle.contents.against.as_deref().unwrap_or("another");
        Err(Failure::failed(format!("`{robot}` lacks {missing} layers that `{path}` leaves out"))
            .hint(format!("it was written against {other}: load that one first"))
            .hint("or write one with everything: `--to FILE` without `--against`")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::fuzz::{fuzz, with_sums};

    /// Content of `bundle.json`.
    const SAID: &str = r#"{"format":1,"project":"eurobot","revision":"v1","made":1700000000,"against":null,
        "archives":[{"name":"images-1.tar.zst","platform":"linux/amd64","left_out":["sha256:aa"],
          "images":[{"image":"navigation","digest":"sha256:bb","other":null,"layers":["sha256:aa"]}]}],
        "robots":{"main":{"release":"robots/main.tar","images":"images-1.tar.zst"}}}"#;

    /// A bundle that says this of itself.
    fn bundle(said: &[u8]) -> Vec<u8> {
        let members: [(&str, &[u8]); 3] =
            [("images-1.tar.zst", b"images"), ("robots/main.tar", b"release"), (CONTENTS, said)];
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

    /// Returns whether it can be read; reads all that there is in it.
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
    fn a_name_without_end_takes_little_memory() {
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
        let whole = bundle(SAID.as_bytes());
        assert!(read(&whole));
        fuzz("bundle", 300, &[&whole], |bytes| {
            let _ = read(&with_sums(bytes));
        });
    }

    #[test]
    fn fuzzed_bundles_may_say_anything_of_themselves() {
        let far = SAID.replace("1700000000", "18446744073709551615");
        fuzz("bundle.json", 400, &[SAID.as_bytes(), far.as_bytes()], |bytes| {
            let _ = read(&bundle(bytes));
        });
    }
}
