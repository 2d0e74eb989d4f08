//! The lock file: what rosdep has answered, for each base and platform.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::{Base, Platform};
use crate::error::{Failure, Result};
use crate::files;

use super::super::facts::Facts;

const HEADER: &str = "# The packages that rosdep found for the dependencies in package.xml files, by base and platform.\n\
                      # Written by `cargo xtask deps` and by builds; to be committed.\n\n";

/// The lock file `rosdep.lock`, beside the hand-written Dockerfile.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Lock(BTreeMap<String, BTreeMap<String, Locked>>);

/// Answers for one base and platform.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Locked {
    /// Keys of tests that rosdep does not know.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unknown: BTreeSet<String>,
    /// For each key, the packages that it stands for, with all that these need: `apt:NAME` or `pip:NAME`.
    pub keys: BTreeMap<String, Vec<String>>,
    /// SHA-256 of the team's rule that a key was resolved by: see [`team_rules`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, String>,
    /// Versions of the packages that the base lacked.
    pub versions: BTreeMap<String, String>,
}

static NONE: Locked = Locked {
    unknown: BTreeSet::new(),
    keys: BTreeMap::new(),
    rules: BTreeMap::new(),
    versions: BTreeMap::new(),
};

/// Reads the team's own rules, a hash for each key: an answer by another rule counts no more.
///
/// # Errors
/// Fails with exit code 2 if the file is not a table of keys.
pub(super) fn team_rules(file: &Utf8Path) -> Result<BTreeMap<String, String>> {
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    let rules: Option<BTreeMap<String, Value>> = serde_saphyr::from_str(&fs_err::read_to_string(file)?)
        .map_err(|error| Failure::config(format!("{file} is not a file of rules for rosdep: {error}")))?;
    let hash = |rule: Value| format!("{:x}", Sha256::digest(rule.to_string()))[..16].to_owned();
    Ok(rules.into_iter().flatten().map(|(key, rule)| (key, hash(rule))).collect())
}

impl Lock {
    /// Reads a lock file; a missing one is empty.
    ///
    /// # Errors
    /// Fails with exit code 2 if the file has been damaged.
    pub(super) fn read(file: &Utf8Path) -> Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let text = fs_err::read_to_string(file)?;
        let remedy = "restore it from the repository, or remove it: `cargo xtask deps` writes a new one";
        let lock: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
            Failure::config(format!("{file}:{line}: {}", error.message())).hint(remedy)
        })?;
        let mut all = lock.0.values().flat_map(BTreeMap::values);
        let wrong = all.find_map(|locked| malformed(&locked.keys, &locked.versions));
        match wrong {
            Some(word) => Err(Failure::config(format!("{file}: `{}` is not a package", word.escape_debug()))
                .hint(remedy)
                .into()),
            None => Ok(lock),
        }
    }

    pub(super) fn write(&self, file: &Utf8Path) -> Result<()> {
        files::replace(file, &format!("{HEADER}{}", toml::to_string_pretty(self)?))
    }

    pub(super) fn of(&self, base: &Base, platform: &Platform) -> &Locked {
        self.0.get(&base.name).and_then(|base| base.get(&platform.to_string())).unwrap_or(&NONE)
    }

    pub(super) fn change(&mut self, base: &Base, platform: &Platform) -> &mut Locked {
        self.0.entry(base.name.clone()).or_default().entry(platform.to_string()).or_default()
    }
}

impl Locked {
    /// Adds the answers about the keys `asked`; those without an answer are unknown.
    pub(super) fn add(
        &mut self,
        keys: BTreeMap<String, Vec<String>>,
        versions: BTreeMap<String, String>,
        asked: &[&str],
    ) {
        for key in asked {
            if keys.contains_key(*key) {
                self.unknown.remove(*key);
            } else {
                self.keys.remove(*key);
                self.unknown.insert((*key).to_owned());
            }
        }
        self.keys.extend(keys);
        self.versions.extend(versions);
    }

    /// Removes all other keys, and versions that no key needs.
    pub(super) fn keep(&mut self, is_needed: impl Fn(&str) -> bool) {
        self.keys.retain(|key, _| is_needed(key));
        self.unknown.retain(|key| is_needed(key));
        self.rules.retain(|key, _| is_needed(key));
        let used: BTreeSet<&String> = self.keys.values().flatten().collect();
        self.versions.retain(|name, _| used.contains(name));
    }

    /// Returns whether a key has been resolved, to packages with versions where the base lacks them.
    pub(super) fn has_versions(&self, key: &str, facts: &Facts) -> bool {
        let is_there = |name: &String| facts.run.have_installed(name) || self.versions.contains_key(name);
        self.keys.get(key).is_some_and(|packages| packages.iter().all(is_there))
    }

    /// The packages of a key with their versions, without those that are there.
    pub(super) fn words(&self, key: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let packages = self.keys.get(key).into_iter().flatten().filter(|name| !is_there(name));
        let word = |name: &String| {
            let equals = if name.starts_with("pip:") { "==" } else { "=" };
            Some(format!("{name}{equals}{}", self.versions.get(name)?))
        };
        packages.filter_map(word).collect()
    }
}

/// A word of keys or versions that must not reach a command line.
pub(super) fn malformed<'a>(
    keys: &'a BTreeMap<String, Vec<String>>,
    versions: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let package = keys.values().flatten().chain(versions.keys()).find(|name| !is_package(name));
    package.or_else(|| versions.values().find(|version| !is_word(version))).map(String::as_str)
}

fn is_package(name: &str) -> bool {
    name.strip_prefix("apt:").or_else(|| name.strip_prefix("pip:")).is_some_and(is_word)
}

/// Names and versions of Debian's and of Python's packages.
fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "+-.:~_!".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_shell_or_apt_would_take_for_something_else_are_refused() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let file = Utf8Path::from_path(guard.path()).unwrap().join("rosdep.lock");
        for (name, version, is_good) in [
            ("apt:libstdc++6:amd64", "1:2.3~rc1+b2-1", true),
            ("pip:can_isotp", "2.0.6", true),
            ("apt:-o", "1", false),
            ("apt:x y", "1", false),
            ("apt:x", "1;reboot", false),
            ("apt:x", "$(reboot)", false),
            ("snap:x", "1", false),
        ] {
            let text = format!(
                "[ros.\"linux/amd64\".keys]\nkey = [\"{name}\"]\n[ros.\"linux/amd64\".versions]\n\"{name}\" = \"{version}\"\n"
            );
            fs_err::write(&file, text)?;
            assert_eq!(Lock::read(&file).is_ok(), is_good, "{name} {version}");
        }
        Ok(())
    }

    #[test]
    fn only_what_is_needed_stays() {
        let mut locked = Locked::default();
        let keys = |list: &[(&str, &[&str])]| {
            list.iter()
                .map(|(key, names)| {
                    ((*key).to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
                })
                .collect()
        };
        let versions =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        locked.add(
            keys(&[("a", &["apt:a", "apt:x"]), ("b", &["apt:x", "pip:b"])]),
            versions(&["apt:a", "apt:x", "pip:b"]),
            &["a", "b", "c"],
        );
        assert_eq!(locked.words("b", |_| false), ["apt:x=1", "pip:b==1"]);
        assert_eq!(locked.words("b", |name| name == "apt:x"), ["pip:b==1"]);
        assert!(locked.unknown.contains("c"));
        locked.keep(|key| key == "b");
        assert_eq!(locked.versions.keys().collect::<Vec<_>>(), ["apt:x", "pip:b"]);
        assert!(locked.unknown.is_empty());
    }
}
