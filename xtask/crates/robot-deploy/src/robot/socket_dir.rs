//! Directory for the sockets of a connection.

use std::fs::{DirEntry, File, Permissions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use crate::error::{Failure, Result};

/// Beginning of the directories' names.
const PREFIX: &str = "xtask-ssh-";

/// Most bytes of the path of the directory above. A socket's path may have 103 bytes on macOS and 107 on Linux,
/// unix(7), of which the names below take 30; `ssh` appends 17 while it makes a socket.
pub(super) const LONGEST: usize = 103 - 30 - 17;

/// A directory that only this user can enter. It is removed when this is dropped, and by the next run if this one is
/// killed.
#[derive(Debug)]
pub(super) struct SocketDir {
    dir: TempDir,
    /// Locked as long as the directory is used.
    _lock: File,
}

impl SocketDir {
    /// Creates the directory in `TMPDIR`, or in another place if that is too long or does not exist.
    pub(super) fn create() -> Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = [Some(std::env::temp_dir()), runtime, Some("/tmp".into())];
        let places = places.into_iter().flatten().filter(|place| place.as_os_str().len() <= LONGEST);
        let created = places.into_iter().find_map(|place| Self::create_in(&place).ok());
        created.ok_or_else(|| {
            Failure::failed("there is no directory for the sockets of a connection")
                .hint("set `TMPDIR` to a directory with a short path that you may write to")
                .into()
        })
    }

    fn create_in(place: &Path) -> Result<Self> {
        remove_left(place);
        let ours = Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix(PREFIX).permissions(ours).tempdir_in(place)?;
        let lock = File::open(dir.path())?;
        lock.lock()?;
        // Another run may have taken the directory for one that was left.
        std::fs::metadata(dir.path())?;
        Ok(Self { dir, _lock: lock })
    }

    pub(super) fn join(&self, name: &str) -> Utf8PathBuf {
        match Utf8Path::from_path(self.dir.path()) {
            Some(dir) => dir.join(name),
            None => Utf8PathBuf::from(self.dir.path().join(name).to_string_lossy().into_owned()),
        }
    }
}

/// Removes the directories of runs that were killed.
fn remove_left(place: &Path) {
    let Ok(entries) = place.read_dir() else { return };
    for entry in entries.filter_map(Result::ok) {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Those of other users cannot be opened.
        if is_ours
            && let Ok(dir) = File::open(entry.path())
            && dir.try_lock().is_ok()
        {
            // Whatever cannot be removed does no harm.
            drop(remove_sockets(&entry));
        }
    }
}

fn remove_sockets(dir: &DirEntry) -> std::io::Result<()> {
    for entry in dir.path().read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir(dir.path())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn directories_of_killed_runs_are_removed_and_those_of_others_stay() -> Result<()> {
        let place = tempfile::tempdir()?;
        let used = SocketDir::create_in(place.path())?;
        let left = place.path().join(format!("{PREFIX}left"));
        let foreign = place.path().join("xtask-other");
        for dir in [&left, &foreign] {
            fs_err::create_dir(dir)?;
            drop(UnixListener::bind(dir.join("master"))?);
        }
        let second = SocketDir::create_in(place.path())?;
        assert!(used.join("").exists() && second.join("").exists() && foreign.join("master").exists());
        assert!(!left.exists());
        let mode = fs_err::metadata(used.join(""))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "whatever the umask is");
        let path = used.join("").into_std_path_buf();
        drop(used);
        assert!(!path.exists());
        Ok(())
    }
}
