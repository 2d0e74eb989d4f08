//! Dependencies outside of the workspace: the base has them, or they are installed above it.
//!
//! Which packages of apt and pip a key of `package.xml` stands for, and in which versions, is asked once: the answers of
//! rosdep are in a lock file that is committed, so that later builds need no network and install the same.

mod lock;
mod rosdep;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde_json::{Value, json};

use super::Builder;
use super::facts::{Facts, Packages};
use super::needed::{Needed, needed};
use crate::config::{Base, PackageGraph, Platform, Workspace, absent, nearest};
use crate::error::{Failure, Result};
use crate::{told, ui};

use lock::Locked;

/// Argument of the hand-written Dockerfile for what images need, and for what builds need.
const ARGUMENTS: [&str; 2] = ["RUN_DEPENDENCIES", "BUILD_DEPENDENCIES"];

/// The team's own rules for rosdep, beside the hand-written Dockerfile.
const RULES: &str = "rosdep.yaml";

/// Packages of ROS 1 that nearly every package for it depends on.
const ROS_1: [&str; 5] = ["catkin", "message_generation", "message_runtime", "roscpp", "rospy"];

/// Returns whether a package depends on something outside of the workspace.
pub(super) fn any(packages: &PackageGraph) -> bool {
    packages.iter().any(|package| !package.outside.is_empty())
}

/// Returns whether the base has a key where it is needed.
fn is_in(key: &str, needed: &Needed<'_>, facts: &Facts) -> bool {
    let in_tools = !needed.build && !needed.test() || facts.build.have(key);
    in_tools && (!needed.run || facts.run.have(key))
}

/// A key of `package.xml` files on a base, for people.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The base and the platform.
    pub base: String,
    pub key: String,
    /// `run`, `build`, `test`.
    pub purposes: String,
    /// Names of the packages that ask for it.
    pub by: String,
    /// The packages that rosdep found for it, with versions.
    pub packages: String,
    /// `in the base`, `new` or `unknown`.
    pub state: &'static str,
}

impl Dependency {
    fn new(target: Target<'_>, key: &str, needed: &Needed<'_>, locked: &Locked, facts: &Facts) -> Self {
        let purposes = [("run", needed.run), ("build", needed.build), ("test", needed.test())];
        let purposes: Vec<&str> = purposes.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
        let names: BTreeSet<&str> = needed.by.iter().map(|(package, _)| package.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let (packages, state) = match locked.keys.get(key).filter(|_| !is_in(key, needed, facts)) {
            Some(packages) => match locked.words(key, |name| facts.run.have_installed(name)).as_slice() {
                [] => (packages.first().cloned().unwrap_or_default(), "in the base"),
                words => (counted(words), "new"),
            },
            None if is_in(key, needed, facts) => (String::new(), "in the base"),
            None => (String::new(), "unknown"),
        };
        Self {
            base: format!("{} {}", target.base.name, target.platform),
            key: key.to_owned(),
            purposes: purposes.join(", "),
            by: names.join(", "),
            packages,
            state,
        }
    }
}

/// Packages to install above a base, as words `KIND:PACKAGE=VERSION` for `install-dependencies`.
#[derive(Clone, Debug, Default)]
pub(super) struct Dependencies {
    pub all: Vec<Dependency>,
    run: BTreeSet<String>,
    build: BTreeSet<String>,
    tests: BTreeMap<String, BTreeSet<String>>,
}

impl Dependencies {
    fn new(target: Target<'_>, needed: &BTreeMap<&str, Needed<'_>>, locked: &Locked, facts: &Facts) -> Self {
        let words = |packages: &Packages, key: &str| locked.words(key, |name| packages.have_installed(name));
        let all =
            needed.iter().map(|(key, needed)| Dependency::new(target, key, needed, locked, facts)).collect();
        let mut dependencies = Self { all, ..Self::default() };
        for (key, needed) in needed.iter().filter(|(key, needed)| !is_in(key, needed, facts)) {
            if needed.run && !facts.run.have(key) {
                dependencies.run.extend(words(&facts.run, key));
            }
            if facts.build.have(key) {
                continue;
            }
            let words = words(&facts.build, key);
            if needed.build {
                dependencies.build.extend(words.iter().cloned());
            }
            for package in &needed.tests {
                dependencies.tests.entry((*package).to_owned()).or_default().extend(words.iter().cloned());
            }
        }
        dependencies
    }

    /// Build arguments for the Dockerfile of a base.
    ///
    /// # Errors
    /// Fails with exit code 2 if the hand-written Dockerfile does not use them.
    pub(super) fn arguments(&self, base: &Base) -> Result<Value> {
        let sets = ARGUMENTS.into_iter().zip([&self.run, &self.build]).filter(|(_, words)| !words.is_empty());
        let mut arguments = json!({});
        for (name, words) in sets {
            let words = joined(words);
            if !fs_err::read_to_string(&base.dockerfile)?.contains(name) {
                let message = format!("`{}` does not install {words}", base.dockerfile);
                return Err(Failure::config(message)
                    .hint(format!("give `ARG {name}` to `install-dependencies` in it, as the Dockerfile of the example does"))
                    .into());
            }
            arguments[name] = json!(words);
        }
        Ok(arguments)
    }

    /// Words for the tests of a package, beside those for builds.
    pub(super) fn for_tests(&self, package: &str) -> String {
        let words = self.tests.get(package).into_iter().flatten();
        joined(&words.filter(|word| !self.build.contains(*word)).cloned().collect())
    }

    /// Adds what all tests need to what builds need, for a shell in which both are run.
    pub(super) fn with_tests(mut self) -> Self {
        self.build.extend(std::mem::take(&mut self.tests).into_values().flatten());
        self
    }
}

fn joined(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// A base for one platform, and the named context from which it is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub workspace: &'a Workspace,
    pub base: &'a Base,
    pub platform: &'a Platform,
    pub context: &'a str,
}

/// Path of the lock file, beside the hand-written Dockerfile.
pub(super) fn lock_file(base: &Base) -> Utf8PathBuf {
    base.dockerfile.with_file_name("rosdep.lock")
}

/// Finds out what to install above a base, and asks rosdep about keys that are not in the lock file, or about all.
///
/// # Errors
/// Fails with exit code 2 if rosdep does not know a key that builds or images need.
pub(super) fn resolve(
    target: Target<'_>,
    builder: Builder,
    facts: &Facts,
    update: bool,
) -> Result<Dependencies> {
    let Target { workspace, base, platform, .. } = target;
    if facts.know_no_packages() {
        return Ok(Dependencies::default());
    }
    let needed = needed(workspace, base);
    let file = lock_file(base);
    let mut lock = lock::Lock::read(&file)?;
    let locked = lock.of(base, platform);
    let rules = lock::team_rules(&base.dockerfile.with_file_name(RULES))?;
    let is_known = |key: &str, needed: &Needed<'_>| {
        let is_answered = locked.has_versions(key, facts) || !needed.required && locked.unknown.contains(key);
        is_answered && locked.rules.get(key) == rules.get(key)
    };
    let missing = needed
        .iter()
        .filter(|(key, needed)| !is_in(key, needed, facts) && (update || !is_known(key, needed)));
    let missing: Vec<&str> = missing.map(|(key, _)| *key).collect();
    if !missing.is_empty() {
        let answer = if fs_err::read_to_string(&base.dockerfile)?.contains(rosdep::COMMAND) {
            ui::step("build", &format!("asking rosdep about {}", missing.join(", ")));
            rosdep::resolve(target, builder, &missing)?
        } else {
            // A Dockerfile of the team, or one from before dependencies were resolved.
            let file = workspace.relative(&base.dockerfile);
            let reason =
                format!("`{file}` has no `{}`, which the Dockerfile of the example has", rosdep::COMMAND);
            rosdep::Answer::without(&missing, &reason)
        };
        let lacking: Vec<&str> = missing
            .iter()
            .copied()
            .filter(|key| !answer.keys.contains_key(*key) && needed[key].required)
            .collect();
        if !lacking.is_empty() {
            return Err(unknown(target, facts, &needed, &lacking, &answer));
        }
        tell(base, &missing, &answer);
        let locked = lock.change(base, platform);
        locked.add(answer.keys, answer.versions, &missing);
        locked.rules.clone_from(&rules);
        locked.keep(|key| needed.contains_key(key));
        lock.write(&file)?;
        ui::step("build", &format!("wrote `{}`: commit it", workspace.relative(&file)));
    }
    let locked = lock.of(base, platform);
    let untested = needed.iter().filter(|(key, needed)| !needed.required && locked.unknown.contains(**key));
    let untested: Vec<String> = untested.map(|(key, needed)| in_words(key, needed)).collect();
    let text = match untested.is_empty() {
        true => String::new(),
        false => format!("tests run without {}: neither the base nor rosdep has it", untested.join(", ")),
    };
    told::once(workspace, &format!("untested-{}", base.name), &base.name, &text);
    Ok(Dependencies::new(target, &needed, locked, facts))
}

/// Tells which packages are new above the base.
fn tell(base: &Base, asked: &[&str], answer: &rosdep::Answer) {
    for (key, packages) in asked.iter().filter_map(|key| Some((key, answer.keys.get(*key)?))) {
        ui::step(&base.name, &format!("`{key}` is {}", counted(packages)));
    }
}

/// The first of some packages, and the number of those that it needs.
fn counted(packages: &[String]) -> String {
    match packages {
        [] => "nothing to install".to_owned(),
        [only] => only.clone(),
        [first, other] => format!("{first} with {other}"),
        [first, others @ ..] => format!("{first} with {} others", others.len()),
    }
}

/// Error about keys that neither the base nor rosdep has.
fn unknown(
    target: Target<'_>,
    facts: &Facts,
    needed: &BTreeMap<&str, Needed<'_>>,
    lacking: &[&str],
    answer: &rosdep::Answer,
) -> anyhow::Error {
    let Target { workspace, base, .. } = target;
    let graph = workspace.packages_on(&base.name);
    let words: Vec<String> = lacking.iter().map(|key| in_words(key, &needed[key])).collect();
    let mut failure = Failure::config(format!("the base `{}` lacks {}", base.name, words.join(", ")));
    let known = graph.names().chain(facts.build.ros.iter().map(String::as_str));
    let known: Vec<&str> = known.chain(answer.known.iter().map(String::as_str)).collect();
    for key in lacking {
        let reason = answer.unknown.get(*key).map_or("no answer", String::as_str);
        let near = nearest(key, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        failure = failure.hint(format!("`{key}`: {reason}{}", near.unwrap_or_default()));
    }
    if let Some(key) = lacking.iter().find(|key| ROS_1.contains(key)) {
        failure =
            failure.hint(format!("`{key}` belongs to ROS 1: does the package have a branch for ROS 2?"));
    }
    if let Some(absent) = absent(&workspace.root, &workspace.project.sources()) {
        failure = failure.hint(absent);
    }
    for problem in &answer.problems {
        failure = failure.hint(format!("rules may be missing: {problem}"));
    }
    let rules = workspace.relative(&base.dockerfile).with_file_name(RULES);
    let (first, package) = (lacking[0], needed[lacking[0]].asked().0);
    failure
        .hint(format!(
            "if a package of apt or pip has it, write a rule into `{rules}`: `{first}: {{\"*\": {{apt: [PACKAGE]}}}}`, or with `pip: {{packages: [PACKAGE]}}`"
        ))
        .hint("else in a base of your own: a Dockerfile `FROM` this one, built by `docker build --tag my-ros`, and `image = \"my-ros\"` in robots.toml")
        .hint(format!(
            "if nothing needs it: `[packages.{}]` with `ignore = [\"{first}\"]` in robots.toml",
            package.name
        ))
        .into()
}

/// `nav2_msgs` (src/nav/package.xml:12:5)
fn in_words(key: &str, needed: &Needed<'_>) -> String {
    format!("`{key}` ({})", needed.asked().1.place)
}
