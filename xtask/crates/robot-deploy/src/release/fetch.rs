//! Copies files, such as bags and logs, from a robot or from a service's container to this machine. Uses
//! `find`, `stat` and `tail` on the other side.
//!
//! An incomplete copy has a temporary name with the remote file's time in it. So a copy can be resumed, but
//! never with the rest of a file that was rewritten meanwhile, as `sftp -a` does.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::services;
use crate::error::{Failure, FollowedBy as _, Result};
use crate::files;
use crate::process::{self, Cmd};
use crate::robot::Session;
use crate::{disk, number, ui};

/// Script that prints a line for each directory and file at a path: kind, bytes, seconds since 1970, name. For a
/// path that does not exist, the first line is [`MISSING`], and names of what is beside it follow.
const LIST: &str = r#"[ -e "$1" ] || { echo missing; ls -- "$(dirname -- "$1")" 2>/dev/null | head -n 20; exit 0; }
find -H "$1" -type d -exec stat -c 'd %s %Y %n' {} +
find -H "$1" -type f -exec stat -c 'f %s %Y %n' {} + || true"#;

const MISSING: &str = "missing";

/// Script that prints a file from a byte on, counted from 1.
const REST: &str = r#"[ -e "$1" ] || exit 66
exec tail -c "+$2" "$1""#;

/// Exit code of [`REST`] for a missing file: EX_NOINPUT, sysexits(3).
const GONE: i32 = 66;

/// Place of the files to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The robot; relative paths start at the SSH user's home.
    Robot,
    /// The container of a service; relative paths start at the image's working directory.
    Container { id: String, service: String },
}

/// A file or a directory on the other side.
#[derive(Debug, PartialEq, Eq)]
struct Remote<'a> {
    is_file: bool,
    size: u64,
    modified: u64,
    name: &'a str,
}

impl Place {
    /// Returns the container of a running service.
    pub(crate) fn of_service(session: &Session, project: &str, service: &str) -> Result<Self> {
        let find = services::compose(session, project, &["ps", "--quiet", "--", service]);
        let found = find.read()?;
        let container = |id: &str| Self::Container { id: id.to_owned(), service: service.to_owned() };
        // A login shell may have greeted.
        let is_id = |line: &&str| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let first = found.lines().find(is_id).map(container);
        first.ok_or_else(|| {
            let robot = session.robot();
            Failure::failed(format!("`{service}` does not run on `{robot}`"))
                .hint(format!("`cargo xtask start --robot {robot} {service}` starts it"))
                .into()
        })
    }

    fn shell(&self, session: &Session, script: &str, args: &[&str]) -> Cmd {
        let inside = match self {
            Self::Robot => Vec::new(),
            Self::Container { id, .. } => vec!["docker", "exec", id],
        };
        session.command([&inside[..], &["sh", "-c", script, "fetch"], args].concat())
    }

    /// Error for a path that does not exist; `beside` has a line for each name in its directory.
    fn lacks(&self, robot: &str, path: &str, beside: &str) -> anyhow::Error {
        let place = match self {
            Self::Robot => format!("on `{robot}`"),
            Self::Container { service, .. } => format!("in `{service}` on `{robot}`"),
        };
        let names: Vec<&str> = beside.lines().filter(|name| !name.is_empty()).collect();
        let failure = Failure::failed(format!("`{path}` does not exist {place}"));
        match names.is_empty() {
            true => failure.hint("its directory does not exist either, or is empty").into(),
            false => failure.hint(format!("beside it there are: {}", names.join(", "))).into(),
        }
    }
}

/// Copies a file or a directory into a directory of this machine. Files that are here already are skipped,
/// and interrupted copies are resumed.
pub(crate) fn fetch(session: &Session, from: &Place, path: &str, into: &Utf8Path) -> Result<()> {
    // A path that begins with a dash must not be read as an option.
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    let list = from.shell(session, LIST, &[&path]);
    let context = || format!("copy `{path}` from `{}`", session.robot());
    let list = list.read().with_context(context)?;
    if let Some(beside) = list.strip_prefix(MISSING) {
        return Err(from.lacks(session.robot(), &path, beside));
    }
    let (mut dirs, mut wanted) = (vec![into.to_owned()], Vec::new());
    for line in list.lines() {
        let remote = Remote::parse(line)?;
        let target = place(&path, remote.name, into)?;
        if !remote.is_file {
            dirs.push(target);
        } else if !remote.is_at(&target) {
            wanted.push((remote, target));
        }
    }
    let bytes = ui::bytes(number::sum(wanted.iter().map(|(remote, _)| remote.size)));
    process::outcome_needed()
        .followed_by(format!("copying `{path}` to {into} (new files: {}, {bytes})", wanted.len()))?;
    dirs.iter().try_for_each(fs_err::create_dir_all)?;
    check_room(&wanted, into).with_context(context)?;
    for (remote, target) in wanted {
        let rest = |from_byte: u64| from.shell(session, REST, &[remote.name, &(from_byte + 1).to_string()]);
        if !process::patiently(|| remote.copy(&target, rest)).with_context(context)? {
            ui::warn(session.robot(), &format!("{} was removed during the copy", remote.name));
        }
    }
    Ok(())
}

/// Fails if the missing parts of the files need more room than the disk of this machine has.
fn check_room(files: &[(Remote<'_>, Utf8PathBuf)], into: &Utf8Path) -> Result<()> {
    let missing = |(remote, target): &(Remote<'_>, Utf8PathBuf)| {
        let here = remote.part(target).metadata().map_or(0, |metadata| metadata.len());
        remote.size.saturating_sub(here)
    };
    let needed = number::sum(files.iter().map(missing));
    match disk::free(into) {
        Some(free) if needed > free => {
            let (needed, free) = (ui::bytes(needed), ui::bytes(free));
            Err(Failure::failed(format!(
                "{needed} have to be copied to `{into}`, where only {free} are free"
            ))
            .hint("`--to DIRECTORY` copies to another disk")
            .into())
        }
        _ => Ok(()),
    }
}

impl<'a> Remote<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let parts: Vec<&str> = line.splitn(4, ' ').collect();
        let remote = match parts[..] {
            [kind @ ("d" | "f"), size, modified, name] => number::said(size)
                .zip(number::said(modified))
                .map(|(size, modified)| Self { is_file: kind == "f", size, modified, name }),
            _ => None,
        };
        remote.with_context(|| {
            format!(
                "cannot parse `{}` in the list of files: does a file name contain a line break?",
                line.escape_debug()
            )
        })
    }

    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.modified)
    }

    /// Returns whether a local file has the same size and time.
    fn is_at(&self, target: &Utf8Path) -> bool {
        let Ok(metadata) = target.metadata() else { return false };
        metadata.len() == self.size && metadata.modified().is_ok_and(|time| time == self.time())
    }

    /// Path of the incomplete copy.
    fn part(&self, target: &Utf8Path) -> Utf8PathBuf {
        let name = target.file_name().unwrap_or_default();
        target.with_file_name(format!(".{name}.{}.part", self.modified))
    }

    /// Copies the missing part of the file, which the command `rest` prints from a byte on. Returns `false`
    /// if the file does not exist any more. Bytes that were appended since the list was made are left for the
    /// next copy.
    fn copy(&self, target: &Utf8Path, rest: impl Fn(u64) -> Cmd) -> Result<bool> {
        let name = target.file_name().unwrap_or_default();
        let part = self.part(target);
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(&part)?;
        let here = file.metadata()?.len();
        let here = if here > self.size { 0 } else { here };
        file.set_len(here)?;
        let (sending, _stdin, answers) = rest(here).converse()?;
        let mut answers = answers.take(self.size - here);
        std::io::copy(&mut answers, &mut file)?;
        let has_grown = answers.into_inner().read(&mut [0])? > 0;
        process::check_interrupted()?;
        if !has_grown && sending.exit_code()? == Some(GONE) {
            fs_err::remove_file(&part)?;
            return Ok(false);
        }
        if !has_grown {
            sending.wait()?;
        }
        drop(sending);
        anyhow::ensure!(
            file.metadata()?.len() == self.size,
            "`{}` became shorter during the copy",
            self.name
        );
        file.file().set_modified(self.time())?;
        fs_err::rename(&part, target)?;
        // Incomplete copies of earlier versions of the file.
        for entry in files::entries(target.parent().unwrap_or(target))? {
            if is_part_of(name, entry.file_name()) {
                fs_err::remove_file(entry.path())?;
            }
        }
        Ok(true)
    }
}

/// Returns whether `file` is the name of an incomplete copy of `name`.
fn is_part_of(name: &str, file: &str) -> bool {
    let rest = file.strip_prefix('.').and_then(|rest| rest.strip_prefix(name)?.strip_prefix('.'));
    let time = rest.and_then(|rest| rest.strip_suffix(".part"));
    time.is_some_and(|time| time.parse::<u64>().is_ok())
}

/// Returns the local path of the file `name`, found at `path`. It is always below `into`, whatever the
/// container prints.
fn place(path: &str, name: &str, into: &Utf8Path) -> Result<Utf8PathBuf> {
    let below = name.strip_prefix(path).with_context(|| format!("`{name}` is not in `{path}`"))?;
    let below = Utf8Path::new(below.trim_start_matches('/'));
    let is_plain = below.components().all(|part| matches!(part, Utf8Component::Normal(_)));
    anyhow::ensure!(is_plain, "`{name}` is not a valid file name");
    let top = Utf8Path::new(path).file_name().map_or_else(|| into.to_owned(), |top| into.join(top));
    Ok(if below.as_str().is_empty() { top } else { top.join(below) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_lists_of_files_stay_below_the_directory() {
        let list = b"d 4096 1700000000 /tmp/log\nf 12 1700000000 /tmp/log/a b/c.log\nf 0 18446744073709551615 /tmp/log/x";
        fuzz("pull-data", 1_000, &[list], |bytes| {
            let into = Utf8Path::new("data/main");
            for line in text(bytes).lines() {
                let Ok(remote) = Remote::parse(line) else { continue };
                let Ok(place) = place("/tmp/log", remote.name, into) else { continue };
                let is_plain = place.components().all(|part| matches!(part, Utf8Component::Normal(_)));
                assert!(place.starts_with(into) && is_plain, "{place}");
                let _time = remote.time();
            }
        });
    }

    #[test]
    fn files_go_where_scp_would_put_them() {
        let into = Utf8Path::new("data/main");
        for (path, name, expected) in [
            ("/tmp/ros/log", "/tmp/ros/log/a/b.log", "data/main/log/a/b.log"),
            ("bags/", "bags/a.db3", "data/main/bags/a.db3"),
            ("/var/log/x", "/var/log/x", "data/main/x"),
            ("/", "/etc/passwd", "data/main/etc/passwd"),
            ("..", "../a", "data/main/a"),
        ] {
            assert_eq!(place(path, name, into).unwrap(), expected);
        }
    }

    #[test]
    fn only_exact_names_are_incomplete_copies() {
        assert!(is_part_of("a.db3", ".a.db3.1700000000.part"));
        for file in [".a.db3.1.part", ".a.cfg.part", ".a..part", ".a.1", "a.1.part", ".b.1.part", ".a.part"] {
            assert!(!is_part_of("a", file), "{file}");
        }
    }

    #[test]
    fn a_container_cannot_write_elsewhere() {
        let into = Utf8Path::new("data/main");
        for (path, name) in [("/a", "/etc/passwd"), ("/a", "/a/../../../x"), ("a", "a/b/../../../x")] {
            assert!(place(path, name, into).is_err(), "{name}");
        }
    }

    #[test]
    fn names_are_what_is_left_of_a_line() {
        let file = Remote { is_file: true, size: 12, modified: 1_700_000_000, name: "/a b/c  d" };
        assert_eq!(Remote::parse("f 12 1700000000 /a b/c  d").unwrap(), file);
        for line in ["the rest of a name", "f 12", "f twelve 1 /a", ""] {
            assert!(Remote::parse(line).is_err(), "{line}");
        }
    }
}
