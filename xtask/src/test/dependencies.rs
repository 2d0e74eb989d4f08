//! The check `deny`: checks xtask's dependencies by the rules of `deny.toml`.
//!
//! Licences, sources and duplicates are checked here, without a network. cargo-deny checks the same again and
//! known advisories, if it is installed and can download them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8Path;
use serde::Deserialize;

use robot_deploy::error::{Exit, Failure, Result, exit_of};
use robot_deploy::process::Cmd;
use robot_deploy::ui;

/// Time limit for the download of the advisories.
const FETCH: Duration = Duration::from_secs(60);

/// The part of `deny.toml` that this check reads.
#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    /// Versions that are allowed in addition to another version of the same crate.
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    /// `NAME@VERSION`.
    #[serde(rename = "crate")]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// `Cargo.lock`, which has the crates for all platforms.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// `None` for the crates of this repository.
    source: Option<String>,
}

/// Checks the crates of the Cargo workspace at `root`. `cargo` is the program to run.
pub(super) fn check(root: &Utf8Path, cargo: &str) -> Result<()> {
    let cargo = || Cmd::new(cargo).dir(root);
    let rules: Rules =
        toml::from_str(&fs_err::read_to_string(root.join("deny.toml"))?).context("read deny.toml")?;
    let lock: Lock =
        toml::from_str(&fs_err::read_to_string(root.join("Cargo.lock"))?).context("read Cargo.lock")?;
    // Only for this machine's platform: crates of other platforms may not be downloaded.
    let tree = ["tree", "--locked", "--workspace", "--prefix=none", "--format={l}\t{p}"];
    let tree = cargo().args(tree).read()?;
    let refused: BTreeSet<String> =
        rules.licences(&tree).chain(rules.sources(&lock)).chain(rules.duplicates(&lock)).collect();
    if !refused.is_empty() {
        for line in &refused {
            ui::warn("deny", line);
        }
        return Err(Failure::failed(format!("deny.toml does not allow {} of the crates", refused.len()))
            .hint("`cargo tree --invert CRATE` shows what depends on it: remove it, or allow it in deny.toml and say why")
            .into());
    }
    advisories(&|| cargo().arg("deny"))
}

/// Runs cargo-deny, or warns that known advisories are not checked.
fn advisories(deny: &dyn Fn() -> Cmd) -> Result<()> {
    if !deny().arg("--version").succeeds()? {
        let install = "`cargo install --locked cargo-deny` installs it";
        ui::warn(
            "deny",
            &format!("known advisories are not checked: cargo-deny is not installed; {install}"),
        );
        return Ok(());
    }
    match deny().args(["fetch", "db"]).deadline(FETCH).run() {
        Err(error) if exit_of(&error) == Exit::Interrupted => Err(error),
        Err(_) => {
            ui::warn(
                "deny",
                "known advisories are not checked: github.com/RustSec/advisory-db is unreachable",
            );
            Ok(())
        }
        Ok(()) => deny().args(["--locked", "check", "--disable-fetch"]).interactive(),
    }
}

impl Rules {
    fn licences<'a>(&'a self, tree: &'a str) -> impl Iterator<Item = String> + 'a {
        let crates = tree.lines().filter_map(|line| line.split_once('\t'));
        let refused = crates.filter(|(licence, _)| !self.allows(licence));
        refused.map(|(licence, name)| format!("{}: licence `{licence}`", name.trim_end_matches(" (*)")))
    }

    /// Returns whether allowed licences satisfy an SPDX expression, or `A/B` in older crates. Ignores
    /// parentheses, which may refuse allowed expressions but never allows others.
    fn allows(&self, licence: &str) -> bool {
        let text = licence.replace(['(', ')'], "").replace('/', " OR ");
        text.split(" AND ")
            .all(|part| part.split(" OR ").any(|name| self.licenses.allow.contains(name.trim())))
    }

    fn sources(&self, lock: &Lock) -> impl Iterator<Item = String> {
        let is_allowed = |source: &str| {
            source
                .strip_prefix("registry+")
                .is_some_and(|url| self.sources.allow_registry.iter().any(|it| it == url))
        };
        lock.package.iter().filter_map(move |Package { name, version, source }| {
            let source = source.as_deref().filter(|source| !is_allowed(source))?;
            Some(format!("{name} v{version}: from {source}"))
        })
    }

    /// Crates with more than one version.
    fn duplicates(&self, lock: &Lock) -> impl Iterator<Item = String> {
        let is_skipped = |package: &&Package| {
            let id = format!("{}@{}", package.name, package.version);
            self.bans.skip.iter().any(|skip| skip.id == id)
        };
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for package in lock.package.iter().filter(|package| !is_skipped(package)) {
            versions.entry(&package.name).or_default().push(&package.version);
        }
        let several = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
        several.map(|(name, versions)| format!("{name}: versions {}", versions.join(" and ")))
    }
}
