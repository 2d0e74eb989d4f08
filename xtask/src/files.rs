//! Files that others may be reading while they are written.

use std::io::Write as _;

use anyhow::Context as _;
use camino::Utf8Path;

use crate::error::Result;

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
