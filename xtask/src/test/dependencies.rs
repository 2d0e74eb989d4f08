//! The check `deny`: the crates that the tool is made of, by the rules of `deny.toml`.
//!
//! Licences, sources and duplicates are checked here, which needs no network. Known advisories need one: cargo-deny
//! looks for them, and for the rest once more, where it is installed and can fetch them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8Path;
use serde::Deserialize;

use robot_deploy::error::{Exit, Failure, Result, exit_of};
use robot_deploy::process::Cmd;
use robot_deploy::ui;

/// Time that advisories may take to arrive.
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
    /// Versions that may be there beside another.
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

/// `Cargo.lock`: the crates for all platforms.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// None of those of this repository.
    source: Option<String>,
}

/// Checks the crates of the workspace at `root`, with this `cargo`.
///
/// # Errors
/// Names all crates that the rules do not allow.
pub(super) fn check(root: &Utf8Path, cargo: &str) -> Result<()> {
    let cargo = || Cmd::new(cargo).dir(root);
    let rules: Rules =
        toml::from_str(&fs_err::read_to_string(root.join("deny.toml"))?).context("read deny.toml")?;
    let lock: Lock =
        toml::from_str(&fs_err::read_to_string(root.join("Cargo.lock"))?).context("read Cargo.lock")?;
    // For the platform of this machine, for which all of them have been downloaded.
    let tree = ["tree", "--locked", "--workspace", "--prefix=none", "--format={l}\t{p}"];
    let tree = cargo().args(tree).read()?;
    let refused: BTreeSet<String> =
        rules.licences(&tree).chain(rules.sources(&lock)).chain(rules.duplicates(&lock)).collect();
    if !refused.is_empty() {
        for line in &refused {
            ui::warn("deny", line);
        }
        return Err(Failure::failed(format!("deny.toml does not allow {} of the crates", refused.len()))
            .hint("`cargo tree --invert CRATE` tells what needs one: do without it, or say in deny.toml why it may stay")
            .into());
    }
    advisories(&|| cargo().arg("deny"))
}

/// Has cargo-deny check the same and known advisories; says so where it cannot.
fn advisories(deny: &dyn Fn() -> Cmd) -> Result<()> {
    if !deny().arg("--version").succeeds()? {
        let install = "`cargo install --locked cargo-deny` installs it";
        ui::warn("deny", &format!("known advisories are not looked for: cargo-deny is missing; {install}"));
        return Ok(());
    }
    match deny().args(["fetch", "db"]).deadline(FETCH).run() {
        Err(error) if exit_of(&error) == Exit::Interrupted => Err(error),
        Err(_) => {
            ui::warn(
                "deny",
                "known advisories are not looked for: github.com/RustSec/advisory-db is out of reach",
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

    /// Tells whether an SPDX expression, or `A/B` as older crates write it, can be had by allowed licences. Parentheses are not
    /// read, which refuses more than is right and never less.
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

    /// Crates that are there in several versions.
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
