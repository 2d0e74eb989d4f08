//! Finds the packages of a ROS workspace as colcon does: every directory under `src/`, or in the workspace if that has no
//! `src/`, with a `package.xml`, and others that colcon takes for packages, see [`plain`].
//!
//! The search skips directories marked `COLCON_IGNORE`, `AMENT_IGNORE` or `CATKIN_IGNORE`, hidden
//! directories, `build`, `install` and `log`, directories inside a package (packages are not nested), and
//! symbolic links that lead out of `src/` (a build sees only the files in it).

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use super::condition::Variables;
use super::diagnostic::{Mistakes, Source};
use super::manifest::{Depend, Kind, Manifest};
use super::names;
use super::packages::{Outside, Package, PackageGraph};
use super::plain;
use crate::error::{Failure, Result};

const MANIFEST: &str = "package.xml";
pub(crate) const MARKERS: [&str; 3] = ["COLCON_IGNORE", "AMENT_IGNORE", "CATKIN_IGNORE"];
const PRODUCTS: [&str; 3] = ["build", "install", "log"];

/// The packages of a workspace that could be read, and the mistakes in the others.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Only valid if there are no mistakes.
    pub graph: PackageGraph,
    pub mistakes: Mistakes,
    /// The mistakes in each `package.xml` that cannot be read, with the name of its directory.
    pub broken: Vec<(String, Mistakes)>,
}

impl Found {
    /// Returns whether a directory of this name has a `package.xml` that cannot be read.
    pub(super) fn is_broken(&self, name: &str) -> bool {
        self.broken.iter().any(|(broken, _)| broken == name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.graph.names().collect()
    }
}

/// Finds the packages under `src`, an absolute path; places are shown relative to `here`. Conditions are those of a base
/// with these variables.
///
/// # Errors
/// Fails when a directory or a `package.xml` cannot be read; mistakes inside files are part of [`Found`].
pub(super) fn packages(src: &Utf8Path, here: &Utf8Path, variables: &Variables) -> Result<Found> {
    let mut found = Found::default();
    let mut manifests: BTreeMap<String, Manifest> = BTreeMap::new();
    if !src.is_dir() {
        return Ok(Found::default());
    }
    for (dir, has_manifest) in directories_of_packages(src)? {
        let path = src.join(&dir);
        let manifest = if has_manifest {
            let added = plain::added(path.join(plain::COLCON), here, &mut found.mistakes)?;
            match Manifest::parse(Source::read(&path.join(MANIFEST), here)?, dir, variables) {
                Ok(mut manifest) => {
                    manifest.depends.extend(added);
                    manifest
                }
                Err(mistakes) => {
                    found.broken.push((path.file_name().unwrap_or_default().to_owned(), mistakes));
                    continue;
                }
            }
        } else {
            match plain::identify(src, &dir, here, &mut found.mistakes)? {
                Some(manifest) => manifest,
                None => continue,
            }
        };
        if let Some(bad) = unsafe_character(&manifest.dir) {
            let (name, dir) = (&manifest.name, manifest.dir.as_str().escape_debug());
            let message =
                format!("package `{name}` is in `{dir}`, which has {} in its path", names::shown(bad));
            let help = "rename the directory: use only letters, digits, `_`, `-`, `.`, `+` and `@`, which are safe in a Dockerfile";
            found.mistakes.add(manifest.source.mistake(manifest.span.clone(), message).help(help));
        }
        let same = manifests.values().find(|other| other.name.eq_ignore_ascii_case(&manifest.name));
        if let Some(other) = same {
            let message = format!("two packages have the name `{}`", manifest.name);
            let note = format!("the other is at {}", other.source.place(other.span.start));
            let help = "rename one of them, or put an empty file `COLCON_IGNORE` into the directory of the one to skip";
            found.mistakes.add(manifest.source.mistake(manifest.span.clone(), message).note(note).help(help));
        } else {
            manifests.insert(manifest.name.clone(), manifest);
        }
    }
    found.graph = graph(&manifests);
    for cycle in found.graph.cycles() {
        report_cycle(&cycle, &manifests, &mut found.mistakes);
    }
    Ok(found)
}

/// Returns the first character of `dir` that has a special meaning in a Dockerfile or a shell.
pub(super) fn unsafe_character(dir: &Utf8Path) -> Option<char> {
    let is_plain = |character: &char| character.is_alphanumeric() || "/_-.+@".contains(*character);
    dir.as_str().chars().find(|character| !is_plain(character))
}

fn graph(manifests: &BTreeMap<String, Manifest>) -> PackageGraph {
    let outside = |manifest: &Manifest| {
        let mut keys: Vec<Outside> = Vec::new();
        let is_outside = |depend: &&Depend| {
            // Others name what CMake or Python looks for, not keys of rosdep.
            let is_key = !manifest.is_plain && !depend.span.is_empty() && depend.kind != Kind::Group;
            is_key && !manifests.contains_key(&depend.name)
        };
        for depend in manifest.depends.iter().filter(is_outside) {
            let number = keys.iter().position(|key| key.name == depend.name).unwrap_or_else(|| {
                let place = manifest.source.place(depend.span.start);
                keys.push(Outside { name: depend.name.clone(), place, ..Outside::default() });
                keys.len() - 1
            });
            let key = &mut keys[number];
            match depend.kind {
                Kind::Run => key.run = true,
                Kind::Build | Kind::Export => key.build = true,
                Kind::Test => key.test = true,
                Kind::Group => {}
            }
        }
        keys
    };
    let package = |manifest: &Manifest| {
        let of = |kind: Kind, with_groups: bool| -> Vec<String> {
            let groups = manifest
                .depends_on(Kind::Group)
                .filter(|_| with_groups)
                .flat_map(|group| members(manifests, group));
            let named =
                manifest.depends_on(kind).filter_map(|name| manifests.get(name).map(|other| &other.name));
            groups.chain(named).collect::<BTreeSet<_>>().into_iter().cloned().collect()
        };
        Package {
            name: manifest.name.clone(),
            dir: manifest.dir.clone(),
            build_depends: of(Kind::Build, true),
            build_export_depends: of(Kind::Export, false),
            run_depends: of(Kind::Run, true),
            test_depends: of(Kind::Test, false),
            outside: outside(manifest),
            is_conditional: manifest.is_conditional,
            is_plain: manifest.is_plain,
        }
    };
    PackageGraph::unchecked(manifests.values().map(package))
}

fn members<'a>(manifests: &'a BTreeMap<String, Manifest>, group: &str) -> Vec<&'a String> {
    let members = manifests.values().filter(|manifest| manifest.groups.iter().any(|member| member == group));
    members.map(|manifest| &manifest.name).collect()
}

/// Reports a cycle, at the dependency of its first package on the second.
fn report_cycle(cycle: &[String], manifests: &BTreeMap<String, Manifest>, mistakes: &mut Mistakes) {
    let edges = cycle.iter().zip(cycle.iter().cycle().skip(1));
    let places: Vec<_> = edges
        .filter_map(|(from, to)| {
            let manifest = manifests.get(from)?;
            let counts = |kind: Kind| !matches!(kind, Kind::Test | Kind::Group);
            let depend = manifest.depends.iter().find(|depend| depend.name == *to && counts(depend.kind));
            Some((manifest, depend.map_or(manifest.span.clone(), |depend| depend.span.clone()), from, to))
        })
        .collect();
    let Some((manifest, span, ..)) = places.first() else { return };
    let path: Vec<_> = cycle.iter().chain(cycle.first()).map(|name| format!("`{name}`")).collect();
    let message = format!("packages depend on each other in a cycle: {}", path.join(" → "));
    let mut mistake = manifest.source.mistake(span.clone(), message);
    for (manifest, span, from, to) in &places[1..] {
        mistake =
            mistake.note(format!("`{from}` depends on `{to}` at {}", manifest.source.place(span.start)));
    }
    mistakes.add(
        mistake
            .help("remove one of these dependencies, or move the code that both need into a third package"),
    );
}

/// Returns the marker file that makes colcon skip `directory`, if there is one.
pub(super) fn ignored_by(directory: &Utf8Path) -> Option<&'static str> {
    MARKERS.into_iter().find(|marker| directory.join(marker).exists())
}

/// Returns the directory in `src` that a symbolic link leads to.
fn linked(src: &Utf8Path, link: &Utf8Path) -> Option<Utf8PathBuf> {
    let (target, root) = (link.canonicalize_utf8().ok()?, src.canonicalize_utf8().ok()?);
    let inside = target.strip_prefix(&root).ok()?;
    target.is_dir().then(|| src.join(inside))
}

/// Returns whether `path` is a symbolic link that leads out of `src`.
pub(super) fn leads_out(src: &Utf8Path, path: &Utf8Path) -> bool {
    path.is_symlink() && linked(src, path).is_none()
}

/// Returns the directories of packages, relative to `src`, sorted, and whether they have a `package.xml`. A directory without
/// one that looks like a package is none if there are others in it.
fn directories_of_packages(src: &Utf8Path) -> Result<Vec<(Utf8PathBuf, bool)>> {
    let (mut found, mut plain, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut waiting = vec![src.to_owned()];
    while let Some(directory) = waiting.pop() {
        // A link and the directory itself, or a link to a directory above.
        if !seen.insert(directory.clone()) {
            continue;
        }
        let looked = look(src, &directory)?;
        let relative = directory.strip_prefix(src).unwrap_or(&directory).to_owned();
        match looked.kind {
            Some(Looks::Ignored) => {}
            Some(Looks::Package) => found.push((relative, true)),
            Some(Looks::Plain) => {
                plain.push(relative);
                waiting.extend(looked.inner);
            }
            None => waiting.extend(looked.inner),
        }
    }
    // A CMake project may have others below it that are parts of it.
    plain.sort();
    let mut last: Option<Utf8PathBuf> = None;
    let is_above = |dir: &Utf8PathBuf| found.iter().any(|(inner, _)| inner.starts_with(dir));
    let plain: Vec<Utf8PathBuf> = plain.into_iter().filter(|dir| !is_above(dir)).collect();
    for dir in plain {
        if last.as_ref().is_none_or(|last| !dir.starts_with(last)) {
            found.push((dir.clone(), false));
            last = Some(dir);
        }
    }
    found.sort();
    Ok(found)
}

/// Kind of a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Looks {
    /// Without a `package.xml`, but perhaps a package.
    Plain,
    Package,
    Ignored,
}

/// A directory, and those in it that may contain packages.
struct Looked {
    kind: Option<Looks>,
    inner: Vec<Utf8PathBuf>,
}

fn look(src: &Utf8Path, directory: &Utf8Path) -> Result<Looked> {
    let unreadable = |error: std::io::Error| {
        Failure::config(format!("cannot read the directory `{directory}`")).because(error)
    };
    let mut looked = Looked { kind: None, inner: Vec::new() };
    // Our own files are in `target` beside robots.toml.
    let is_top = directory.join(super::FILE).is_file();
    for entry in directory.read_dir_utf8().map_err(unreadable)? {
        let entry = match entry {
            Ok(entry) => entry,
            // A package directory always has a UTF-8 name.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => continue,
            Err(error) => return Err(unreadable(error).into()),
        };
        let name = entry.file_name();
        let is_product = PRODUCTS.contains(&name) || is_top && name == "target";
        if MARKERS.contains(&name) {
            looked.kind = Some(Looks::Ignored);
        } else if name == MANIFEST {
            looked.kind = looked.kind.max(Some(Looks::Package));
        } else if plain::FILES.contains(&name) {
            looked.kind = looked.kind.max(Some(Looks::Plain));
        } else if !name.starts_with('.') && !is_product {
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                looked.inner.push(entry.path().to_owned());
            } else if kind.is_symlink() {
                looked.inner.extend(linked(src, entry.path()));
            }
        }
    }
    Ok(looked)
}
