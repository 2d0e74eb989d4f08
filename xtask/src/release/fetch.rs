//! Files out of a service's container, say what its nodes log, or a bag in a volume. SFTP does not lead into containers:
//! the `find`, `stat` and `tail` that they have send what is not here yet.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::services;
use crate::error::{Failure, Result};
use crate::process;
use crate::robot::Session;

/// The files at a path, a line for each: bytes, seconds since 1970, name.
const LIST: &str = r#"[ -e "$1" ] || { echo "there is no $1" >&2; exit 1; }
exec find -H "$1" -type f -exec stat -c '%s %Y %n' {} +"#;

/// The directories at a path.
const DIRECTORIES: &str = r#"exec find -H "$1" -type d"#;

/// A file from a byte on, the first is 1.
const REST: &str = r#"exec tail -c "+$2" "$1""#;

/// A file in the container.
#[derive(Debug, PartialEq, Eq)]
struct Remote<'a> {
    size: u64,
    modified: u64,
    name: &'a str,
}

/// Copies a file or a directory out of the container of a service into a directory of this machine; what is there in
/// part already is completed. A path that does not begin with `/` is one from the image's working directory.
///
/// # Errors
/// Fails when the connection is gone, the service does not run or has no such file, or this machine cannot write.
pub fn fetch(session: &Session, project: &str, service: &str, path: &str, into: &Utf8Path) -> Result<()> {
    let container = container(session, project, service)?;
    // What begins with a dash is no option.
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    let inside = |script: &str, args: &[&str]| {
        session.command([&["docker", "exec", &container, "sh", "-c", script, "fetch"], args].concat())
    };
    let list = inside(LIST, &[&path]);
    if process::mode().dry_run {
        return list.run();
    }
    let copying = || format!("copy `{path}` from `{service}` of `{}`", session.robot());
    let list = list.read().with_context(copying)?;
    for directory in inside(DIRECTORIES, &[&path]).read().with_context(copying)?.lines() {
        fs_err::create_dir_all(place(&path, directory, into)?)?;
    }
    for line in list.lines() {
        let remote = Remote::parse(line)?;
        let target = place(&path, remote.name, into)?;
        let here = target.metadata().map_or(0, |metadata| metadata.len());
        // What has become shorter there is another file.
        let here = if here > remote.size { 0 } else { here };
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(&target)?;
        file.set_len(here)?;
        if here < remote.size {
            let (rest, _words, mut answers) =
                inside(REST, &[remote.name, &(here + 1).to_string()]).converse()?;
            let _bytes = std::io::copy(&mut answers, &mut file).with_context(copying)?;
            process::check_interrupted()?;
            rest.wait().with_context(copying)?;
        }
        file.file().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(remote.modified))?;
    }
    Ok(())
}

/// The ID of a service's container.
fn container(session: &Session, project: &str, service: &str) -> Result<String> {
    let find = services::compose(session, project, &["ps", "--quiet", "--", service]);
    if process::mode().dry_run {
        find.run()?;
        return Ok(format!("{project}-{service}-1"));
    }
    let found = find.read()?;
    let first = found.lines().next().map(str::to_owned);
    first.ok_or_else(|| {
        let robot = session.robot();
        Failure::failed(format!("`{service}` does not run on `{robot}`"))
            .hint(format!("start it: cargo xtask start --robot {robot} {service}"))
            .into()
    })
}

impl<'a> Remote<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let mut words = line.splitn(3, ' ');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let file = number().zip(number()).zip(words.next());
        let ((size, modified), name) = file.with_context(|| {
            format!(
                "`{}` is no file that could be copied: is there a line break in a name?",
                line.escape_debug()
            )
        })?;
        Ok(Self { size, modified, name })
    }
}

/// Where `name`, found at `path`, belongs under `into`: never outside of it, whatever the container says.
fn place(path: &str, name: &str, into: &Utf8Path) -> Result<Utf8PathBuf> {
    let below = name.strip_prefix(path).with_context(|| format!("`{name}` is not in `{path}`"))?;
    let below = Utf8Path::new(below.trim_start_matches('/'));
    let is_plain = below.components().all(|part| matches!(part, Utf8Component::Normal(_)));
    anyhow::ensure!(is_plain, "`{name}` is no name of a file");
    let top = Utf8Path::new(path).file_name().map_or_else(|| into.to_owned(), |top| into.join(top));
    Ok(if below.as_str().is_empty() { top } else { top.join(below) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_sftp_would_put_them() {
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
    fn a_container_cannot_write_elsewhere() {
        let into = Utf8Path::new("data/main");
        for (path, name) in [("/a", "/etc/passwd"), ("/a", "/a/../../../x"), ("a", "a/b/../../../x")] {
            assert!(place(path, name, into).is_err(), "{name}");
        }
    }

    #[test]
    fn names_are_what_follows_two_numbers() {
        let file = Remote { size: 12, modified: 1_700_000_000, name: "/a b/c  d" };
        assert_eq!(Remote::parse("12 1700000000 /a b/c  d").unwrap(), file);
        assert!(Remote::parse("the rest of a name").is_err());
        assert!(Remote::parse("12").is_err());
    }
}
