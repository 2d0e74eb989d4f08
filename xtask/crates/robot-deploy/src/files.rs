//! Files that others may be reading while they are written, and directories that must not grow for ever.

use std::io::{BufReader, Read, Write as _};
use std::time::SystemTime;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::digest::Digest;
use crate::error::Result;
use crate::number;
use crate::process::{self, Cmd};

/// Gives a file a new content, whole or not at all; its directory is made where it is missing.
///
/// # Errors
/// Fails when the directory or the file cannot be written; the old content stays then.
pub fn replace(path: &Utf8Path, text: &str) -> Result<()> {
    let dir = path.parent().unwrap_or(Utf8Path::new("."));
    fs_err::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(|| format!("make a file in `{dir}`"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write `{path}`"))?;
    file.persist(path).with_context(|| format!("replace `{path}`"))?;
    Ok(())
}

/// Has a file say `text`. One that says it is left alone: several runs may be reading it. A dry run says how.
///
/// # Errors
/// As [`replace`].
pub fn provide(path: &Utf8Path, text: &str) -> Result<()> {
    if fs_err::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if process::mode().dry_run {
        process::plan_file(path, text);
        return Ok(());
    }
    replace(path, text)
}

/// The digest of all that there is to read.
///
/// # Errors
/// Fails when it cannot be read.
pub fn digest(source: impl Read) -> std::io::Result<Digest> {
    let mut hash = Sha256::new();
    let _bytes = std::io::copy(&mut BufReader::with_capacity(1 << 17, source), &mut hash)?;
    Ok(Digest::from_hash(hash))
}

/// Bytes that are free on the disk of a directory, as df(1) tells; none where it does not.
pub fn free(dir: &Utf8Path) -> Option<u64> {
    free_in(&Cmd::new("df").args(["-Pk", dir.as_str()]).read().ok()?)
}

/// The fourth column of the last line, in kibibytes.
pub fn free_in(df: &str) -> Option<u64> {
    let line = df.lines().nth(1)?;
    // A device's name may hold blanks: count from the percentage.
    let words: Vec<&str> = line.split_whitespace().collect();
    let percentage = words.iter().rposition(|word| word.ends_with('%'))?;
    number::kibibytes(words.get(percentage.checked_sub(1)?)?)
}

/// A place for a file of this name in a directory of its own, which nobody else can write to and which ends with its
/// guard.
///
/// # Errors
/// Fails when there is no room for a directory, or it has a path that is not UTF-8.
pub fn apart(name: &str) -> Result<(TempDir, Utf8PathBuf)> {
    let dir = tempfile::tempdir().context("make a directory for a file")?;
    let file = Utf8PathBuf::from_path_buf(dir.path().join(name))
        .map_err(|path| anyhow::anyhow!("`{}` is not UTF-8", path.display()))?;
    Ok((dir, file))
}

/// 32 hexadecimal digits that nobody guesses.
///
/// # Errors
/// Fails where the system has no random numbers.
pub fn random() -> Result<String> {
    let mut bytes = [0; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Removes a file, and gives the bytes that it had.
///
/// # Errors
/// Fails when it is not there or cannot be removed.
pub fn remove(path: &Utf8Path) -> Result<u64> {
    let size = fs_err::metadata(path)?.len();
    fs_err::remove_file(path)?;
    Ok(size)
}

/// Removes files of a directory, the longest unmodified first, until the rest takes no more than `limit`
/// bytes. Gives the bytes that went; a directory that is not there has none.
///
/// # Errors
/// Fails when the directory cannot be read or a file not be removed.
pub fn evict(dir: &Utf8Path, limit: u64) -> Result<u64> {
    if !dir.is_dir() {
        return Ok(0);
    }
    let mut files: Vec<(SystemTime, u64, Utf8PathBuf)> = Vec::new();
    for entry in dir.read_dir_utf8()? {
        let entry = entry?;
        let metadata = entry.metadata()?;
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
