//! Connections that are kept for a while after a run, so that the next one need not log in: `ControlPersist` of
//! ssh_config(5).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::Endpoint;
use super::endpoint::knows_pipe_options;
use super::socket_dir::LONGEST;
use crate::files;

/// Time in which a kept connection answers, unless its link has been lost.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// Returns the socket for a kept connection. `None` if none is to be kept, or if there is no directory that only the owner
/// of `ours` can enter: whoever can open the socket is on the robot.
///
/// The name changes with all that decides what is connected: address, options, recorded host key, `~/.ssh/config`.
pub(super) fn socket(endpoint: &Endpoint, ours: &Utf8Path) -> Option<Utf8PathBuf> {
    // Before OpenSSH 8.7, a kept connection holds on to its command's output.
    if endpoint.keep.is_zero() || !knows_pipe_options() {
        return None;
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = [runtime, Some(std::env::temp_dir())].into_iter().flatten();
    let place = private(places, &fs_err::metadata(ours).ok()?)?;
    let ssh = endpoint.batch(&[]);
    let mut hash = Sha256::new();
    ssh.argv().iter().for_each(|argument| hash.update(format!("{argument}\0")));
    let config = files::home().ok().map(|home| home.join(".ssh/config"));
    for file in [Some(endpoint.known_hosts.clone()), config].into_iter().flatten() {
        hash.update(Sha256::digest(fs_err::read(file).unwrap_or_default()));
    }
    Some(place.join(format!("xtask-kept-{}", &format!("{:x}", hash.finalize())[..16])))
}

/// Returns the first place that only the owner of `ours` can enter.
fn private(places: impl Iterator<Item = PathBuf>, ours: &Metadata) -> Option<Utf8PathBuf> {
    let is_private = |place: &Path| {
        fs_err::metadata(place)
            .is_ok_and(|it| it.is_dir() && it.uid() == ours.uid() && it.mode() & 0o077 == 0)
    };
    let mut places = places.filter_map(|place| Utf8PathBuf::from_path_buf(place).ok());
    places.find(|place| {
        place.is_absolute() && place.as_str().len() <= LONGEST && is_private(place.as_std_path())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use anyhow::Context as _;

    use super::*;
    use crate::error::Result;

    #[test]
    fn sockets_are_only_in_places_that_nobody_else_can_enter() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let ours = fs_err::metadata(dir.path())?;
        let place = |name: &str, mode| -> Result<PathBuf> {
            let place = dir.path().join(name);
            fs_err::create_dir(&place)?;
            fs_err::set_permissions(&place, PermissionsExt::from_mode(mode))?;
            Ok(place)
        };
        let (open, private_one) = (place("open", 0o755)?, place("private", 0o700)?);
        let missing = dir.path().join("missing");
        let found = private([missing, open.clone(), private_one.clone()].into_iter(), &ours);
        assert_eq!(found.context("no place")?.as_std_path(), private_one);
        assert_eq!(private([open, "run".into()].into_iter(), &ours), None);
        Ok(())
    }
}
