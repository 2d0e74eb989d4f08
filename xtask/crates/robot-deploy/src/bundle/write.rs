//! Writes bundles atomically.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufWriter, ErrorKind, Seek, Write};
use std::time::SystemTime;

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{Archive, BundleContents, BundledImage, CONTENTS, FORMAT, RobotEntry, SIGNATURE, SUMS, Signer};
use crate::config::Platform;
use crate::delivery::archive::{self, ArchiveImage, ArchiveSource as _, Engine};
use crate::error::{Failure, Result, explained, has_kind};
use crate::ui::{self, Progress};

/// Images and Compose project of one robot.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    /// Name of the robot in `robots.toml`.
    pub robot: &'a str,
    pub platform: &'a Platform,
    /// Images to write, all in this machine's engine.
    pub images: Vec<ArchiveImage>,
    /// Archive of the Compose project.
    pub release: Vec<u8>,
}

/// Content of a bundle to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BundleSpec<'a> {
    pub project: &'a str,
    /// Output of `git describe`, if any.
    pub revision: Option<&'a str>,
    pub loads: &'a [Load<'a>],
    /// Description of another bundle, whose layers are omitted.
    pub against: Option<&'a BundleContents>,
    /// Key that signs the bundle, if bundles must be signed.
    pub signer: Option<&'a Signer<'a>>,
}

/// Writes a bundle and returns its size in bytes. After a failure an existing file at `path` is unchanged.
pub(crate) fn write(path: &Utf8Path, spec: &BundleSpec<'_>, progress: &Progress) -> Result<u64> {
    let dir = path.parent().filter(|dir| !dir.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    let write = || -> Result<u64> {
        let mut tar = Tar::new(BufWriter::new(NamedTempFile::new_in(dir)?));
        let contents = fill(&mut tar, spec, progress)?;
        tar.append(CONTENTS, serde_json::to_string_pretty(&contents)?.as_bytes())?;
        let file =
            tar.finish(|sums| spec.signer.map(|signer| signer.sign(path, sums)).transpose())?.into_inner()?;
        let size = file.as_file().metadata()?.len();
        // A USB stick may be unplugged as soon as the command has ended.
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs_err::File::open(dir)?.sync_all()?;
        Ok(size)
    };
    let explain = |error: anyhow::Error| {
        let mut failure = Failure::failed(format!("cannot write the bundle `{path}`"));
        if has_kind(&error, ErrorKind::StorageFull) {
            failure = failure.hint(format!("`df -h {dir}` shows the free space"));
        }
        failure.because(error).into()
    };
    write().map_err(|error| explained(error, explain))
}

/// Writes images and Compose projects, and returns the description of the bundle.
fn fill(
    tar: &mut Tar<impl Write + Seek>,
    spec: &BundleSpec<'_>,
    progress: &Progress,
) -> Result<BundleContents> {
    let made = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut contents = BundleContents {
        format: FORMAT,
        project: spec.project.to_owned(),
        revision: spec.revision.map(str::to_owned),
        made,
        against: spec.against.map(BundleContents::title),
        archives: Vec::new(),
        robots: BTreeMap::new(),
    };
    for load in spec.loads {
        let images = match contents.archives.iter().find(|archive| archive.is_for(load)) {
            Some(archive) => archive.name.clone(),
            None => {
                let name = format!("images-{}.tar.zst", contents.archives.len() + 1);
                contents.archives.push(images(tar, &name, load, spec.against, progress)?);
                name
            }
        };
        let release = format!("robots/{}.tar", load.robot);
        tar.append(&release, &load.release)?;
        contents.robots.insert(load.robot.to_owned(), RobotEntry { release, images });
    }
    Ok(contents)
}

impl Archive {
    /// Returns whether it has exactly the images of a load.
    fn is_for(&self, load: &Load<'_>) -> bool {
        self.platform == load.platform.to_string()
            && self
                .images
                .iter()
                .map(|image| &image.item.digest)
                .eq(load.images.iter().map(|item| &item.digest))
    }
}

/// Writes the images of a load as member `name`.
fn images(
    tar: &mut Tar<impl Write + Seek>,
    name: &str,
    load: &Load<'_>,
    against: Option<&BundleContents>,
    progress: &Progress,
) -> Result<Archive> {
    let items: Vec<&ArchiveImage> = load.images.iter().collect();
    let layers = Engine.layers(&items)?;
    anyhow::ensure!(layers.len() == items.len(), "Docker did not report the layers of the images");
    let known = against.map(|contents| contents.chains(load.platform)).unwrap_or_default();
    let omitted = archive::common(&layers, &known);
    progress.doing(&format!("writing {}", ui::count(items.len(), "image")), None);
    let packed = tar.append_with(name, |sink| {
        let counted = archive::Observed::new(sink, |bytes| progress.advance(bytes.len() as u64));
        archive::read_from(&Engine::save(&items), |source| archive::pack(source, counted, &omitted))
    })?;
    let left_out: BTreeSet<String> =
        packed.layers(true).into_iter().map(|layer| layer.digest.to_string()).collect();
    let image = |(item, layers): (&ArchiveImage, Vec<String>)| {
        let ids = packed.ids(&item.digest)?;
        let other = ids.into_iter().find(|id| *id != item.digest);
        Ok(BundledImage { item: ArchiveImage { other, ..item.clone() }, layers })
    };
    Ok(Archive {
        name: name.to_owned(),
        platform: load.platform.to_string(),
        images: load.images.iter().zip(layers).map(image).collect::<Result<_>>()?,
        left_out,
    })
}

/// Tar archive of a bundle, with the checksums of the members written so far.
struct Tar<W: Write> {
    builder: tar::Builder<W>,
    sums: String,
}

impl<W: Write + Seek> Tar<W> {
    fn new(sink: W) -> Self {
        Self { builder: tar::Builder::new(sink), sums: String::new() }
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.append_with(name, |sink| Ok(sink.write_all(bytes)?))
    }

    /// Appends a member whose length is not known in advance.
    fn append_with<T>(&mut self, name: &str, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
        let mut header = tar::Header::new_gnu();
        // Compose projects contain values of `.env` files.
        header.set_mode(0o600);
        let mut entry = self.builder.append_writer(&mut header, name)?;
        let mut hash = Sha256::new();
        let value = write(&mut archive::Observed::new(&mut entry, |bytes| hash.update(bytes)))?;
        writeln!(self.sums, "{:x}  {name}", hash.finalize())?;
        entry.finish()?;
        Ok(value)
    }

    fn finish(mut self, sign: impl FnOnce(&str) -> Result<Option<String>>) -> Result<W> {
        let sums = std::mem::take(&mut self.sums);
        self.append(SUMS, sums.as_bytes())?;
        if let Some(signature) = sign(&sums)? {
            self.append(SIGNATURE, signature.as_bytes())?;
        }
        Ok(self.builder.into_inner()?)
    }
}
