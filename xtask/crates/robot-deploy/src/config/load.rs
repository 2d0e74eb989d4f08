//! Loads a [`Workspace`] from a directory.

use camino::{Utf8Path, Utf8PathBuf};
use toml::de::DeTable;

use super::Workspace;
use super::diagnostic::{Mistakes, Source};
use super::keys::Reader;
use super::raw::Raw;
use super::validate;
use crate::error::{Failure, Result};

/// Name of the configuration file.
pub const FILE: &str = "robots.toml";

impl Workspace {
    /// Reads and validates `robots.toml`, from `start` or the nearest directory above, and the packages of
    /// the ROS workspace that it names.
    ///
    /// # Errors
    /// Fails with exit code 2 if the file is missing, and otherwise with all mistakes in it and in the
    /// `package.xml` files, each with its place; paths are shown relative to `start`.
    pub fn load(start: &Utf8Path) -> Result<Self> {
        let here = camino::absolute_utf8(start).map_err(|error| {
            Failure::config(format!("the directory `{start}` has no absolute path")).because(error)
        })?;
        let file = find(&here)?;
        let source = Source::read(&file, &here)?;
        let table = DeTable::parse(&source.text).map_err(|error| syntax(&source, &error))?;
        let mut reader = Reader { source: &source, mistakes: Mistakes::default() };
        let raw = Raw::read(table.get_ref(), &mut reader);
        let root = file.parent().unwrap_or(&here);
        validate::workspace(&raw, root, &here, reader)
    }
}

/// Finds the nearest `robots.toml` upward. A directory or dangling link of that name counts too: the reader
/// reports it.
fn find(here: &Utf8Path) -> Result<Utf8PathBuf> {
    let candidates = here.ancestors().map(|directory| directory.join(FILE));
    let found = candidates.into_iter().find(|candidate| candidate.symlink_metadata().is_ok());
    found.ok_or_else(|| {
        Failure::config(format!("no `{FILE}` in `{here}` or in any directory above it"))
            .hint(format!(
                "change into your team's repository, the directory that contains `{FILE}`, and try again"
            ))
            .into()
    })
}

fn syntax(source: &Source, error: &toml::de::Error) -> anyhow::Error {
    let span = error.span().unwrap_or_default();
    let written = source.text.get(span.clone()).unwrap_or_default();
    let problem = error.message().lines().collect::<Vec<_>>().join(", ");
    let (message, help) = if problem == "duplicate key" {
        let help = "use another name, or merge the two".to_owned();
        (format!("duplicate key `{written}`"), help)
    } else {
        let help = format!("`{}` is a TOML file: https://toml.io explains the syntax", source.shown);
        (format!("invalid TOML: {problem}"), help)
    };
    let mut mistakes = Mistakes::default();
    mistakes.add(source.mistake(span, message).help(help));
    mistakes.into_error()
}

/// Current directory of the user, for messages after loading; `/` if it has been deleted or is not UTF-8.
pub fn current_dir() -> Utf8PathBuf {
    let here = std::env::current_dir().ok().and_then(|here| Utf8PathBuf::from_path_buf(here).ok());
    here.unwrap_or_else(|| Utf8PathBuf::from("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_of};
    use crate::fuzz::fuzz;

    #[test]
    fn fuzzed_files_are_read_or_refused() {
        let shipped = include_bytes!("../../../../../robots.toml");
        let other = br#"[project]
name = "eurobot"
[bases.ros]
image = "docker.io/library/ros:jazzy@sha256:0000000000000000000000000000000000000000000000000000000000000000"
[images.navigation]
packages = ["navigation"]
[hub]
repository = "registry.lab:5000/team/eurobot"
[robots.main]
host = "ssh://nuc@[fe80::1]:2222"
platform = "linux/arm64"
env = { ROS_DOMAIN_ID = "7" }
env_files = ["../match.env"]
busy = { container = "radio", file = "/run/match" }
settle = "10 s"
"#;
        fuzz("robots.toml", 400, &[shipped, other], |bytes| {
            let dir = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(dir.path()).unwrap();
            fs_err::write(root.join(FILE), bytes).unwrap();
            match Workspace::load(root) {
                Ok(workspace) => assert_eq!(workspace.root, root),
                Err(error) => assert_eq!(exit_of(&error), Exit::Config, "{error:#}"),
            }
        });
    }
}
