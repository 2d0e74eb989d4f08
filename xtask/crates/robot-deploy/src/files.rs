//! Atomic writes, locks, temporary files, and directories with a size limit.

use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::time::SystemTime;

use anyhow::Context as _;
use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::digest::Digest;
use crate::error::{Failure, Result};

/// Replaces the content of a file atomically and creates its directory if needed. Only the owner can read the
/// file.
pub fn replace(path: &Utf8Path, text: &str) -> Result<()> {
    let dir = path.parent().unwrap_or(Utf8Path::new("."));
    fs_err::create_dir_all(dir)?;
    let mut file =
        tempfile::NamedTempFile::new_in(dir).with_context(|| format!("create a file in `{dir}`"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write `{path}`"))?;
    file.persist(path).with_context(|| format!("replace `{path}`"))?;
    Ok(())
}

/// Home directory of this user: `HOME`, or what the system knows of the user.
pub fn home() -> Result<Utf8PathBuf> {
    let home = std::env::home_dir().and_then(|home| Utf8PathBuf::from_path_buf(home).ok());
    home.filter(|home| home.is_absolute())
        .ok_or_else(|| Failure::failed("this user has no home directory").hint("set `HOME` to one").into())
}

/// Opens a file to lock it, and creates it with its directory if needed.
pub fn lock_file(path: &Utf8Path) -> Result<File> {
    fs_err::create_dir_all(path.parent().unwrap_or(Utf8Path::new(".")))?;
    Ok(fs_err::File::create(path)?.into_file())
}

/// Returns the entries of a directory.
pub fn entries(dir: &Utf8Path) -> Result<Vec<Utf8DirEntry>> {
    let entries = dir.read_dir_utf8().and_then(Iterator::collect::<std::io::Result<_>>);
    entries.with_context(|| format!("list `{dir}`"))
}

/// Reads `source` to its end and returns the digest.
pub fn digest(source: impl Read) -> std::io::Result<Digest> {
    let mut hash = Sha256::new();
    std::io::copy(&mut BufReader::with_capacity(1 << 17, source), &mut hash)?;
    Ok(Digest::from_hash(hash))
}

/// Creates a temporary directory that other users cannot write to, and returns it with the path for a file
/// `name` in it.
pub fn apart(name: &str) -> Result<(TempDir, Utf8PathBuf)> {
    let dir = tempfile::tempdir().context("create a temporary directory")?;
    let file = Utf8PathBuf::from_path_buf(dir.path().join(name))
        .map_err(|path| anyhow::anyhow!("`{}` is not UTF-8", path.display()))?;
    Ok((dir, file))
}

/// Returns 32 unpredictable hexadecimal digits.
pub fn random() -> Result<String> {
    let mut bytes = [0; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Removes a file and returns its size.
pub fn remove(path: &Utf8Path) -> Result<u64> {
    let size = fs_err::metadata(path)?.len();
    fs_err::remove_file(path)?;
    Ok(size)
}

/// Removes files of a directory, those with the oldest modification time first, until the rest takes no more
/// than `limit` bytes. Returns the freed bytes; 0 for a missing directory.
pub fn evict(dir: &Utf8Path, limit: u64) -> Result<u64> {
    if !dir.is_dir() {
        return Ok(0);
    }
    let mut files: Vec<(SystemTime, u64, Utf8PathBuf)> = Vec::new();
    for entry in entries(dir)? {
        let metadata = fs_err::metadata(entry.path())?;
        if metadata.is_file() {
            files.push((metadata.modified()?, metadata.len(), entry.into_path()));
        }
    }
    files.sort();
    let total: u64 = files.iter().map(|(_, size, _)| size).sum();
    let mut freed = 0;
    for (_, size, path) in files {
        if total - freed <= limit {
            break;
        }
        fs_err::remove_file(path)?;
        freed += size;
    }
    Ok(freed)
}
