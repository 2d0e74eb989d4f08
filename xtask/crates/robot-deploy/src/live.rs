//! Live edits: changed sources are put straight into running containers, whose services start again.
//!
//! A source that is installed as it is has copies in the containers, which have its name and its bytes. If such a source is
//! saved, its copies are replaced. Whatever has no copy, or more effects than its copy, needs a build. A live edit is a
//! preview: an activation replaces each container that has one, so the next deploy makes a release of the same sources.

mod sources;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::config::{Robot, Workspace};
use crate::deploy::{Activate, Target};
use crate::digest::{Digest, is_hex};
use crate::error::{Exit, Result, exit_of};
use crate::parallel;
use crate::reach::reach;
use crate::robot::Session;
use crate::robot_side::Script;
use crate::robot_side::lines::{self, installed as word};

use sources::Change;
pub(crate) use sources::Sources;

/// Directory of the packages in an image.
const INSTALLED: &str = "/opt/ws/install";

/// Installed files of each robot's services, by their names.
pub(crate) type Shown = BTreeMap<(String, String), BTreeMap<Utf8PathBuf, Digest>>;

/// Robots that run what was built of `sources`, apart from live edits.
pub(crate) struct Live<'a> {
    sources: Sources,
    robots: Vec<Edited<'a>>,
    /// Number of tries, also of those that were undone.
    tries: usize,
    /// Number of live edits that the robots run.
    edits: usize,
    /// Saved files that a service does not work with, so that the robots run what they were before.
    undone: BTreeSet<Utf8PathBuf>,
}

/// A robot, and what is installed in its running containers.
struct Edited<'a> {
    target: Target<'a>,
    containers: Vec<Container>,
}

/// A running container with its installed files that are small enough to be edited.
#[derive(Debug)]
struct Container {
    id: String,
    service: String,
    files: BTreeMap<Utf8PathBuf, Digest>,
}

/// Result of a save.
#[derive(Debug)]
pub(crate) enum Saved {
    /// They have the content that they had before.
    Unchanged,
    /// The robots run them. These are the services that were started again, each after its robot.
    Live(Vec<String>),
    /// A service does not work with them, so all robots run the old ones again.
    Undone(Vec<anyhow::Error>),
    /// Like [`Saved::Undone`], but services of other robots run the new ones.
    Divided(Vec<anyhow::Error>),
    /// They need a build, or the reasons why they could not be put into the containers.
    NeedsBuild(Vec<anyhow::Error>),
}

impl<'a> Live<'a> {
    /// Looks at what runs on the robots. `sources` were read before the images were built.
    pub(crate) fn of(
        workspace: &'a Workspace,
        robots: &[&'a Robot],
        sources: Sources,
        options: Activate,
    ) -> Result<Self> {
        let robots = parallel::map(robots.iter().copied(), |robot| Edited::of(workspace, robot, options));
        Ok(Self {
            sources,
            robots: robots.into_iter().collect::<Result<_>>()?,
            tries: 0,
            edits: 0,
            undone: BTreeSet::new(),
        })
    }

    /// Number of live edits since the release.
    pub(crate) fn edits(&self) -> usize {
        self.edits
    }

    /// Saved files that were undone: the robots do not run these sources of this machine.
    pub(crate) fn undone(&self) -> &BTreeSet<Utf8PathBuf> {
        &self.undone
    }

    /// Puts saved files into the containers that have copies of them. Files that were undone together with one of them are
    /// tried again with it.
    pub(crate) fn save(&mut self, saved: &BTreeSet<Utf8PathBuf>) -> Saved {
        let mut saved = saved.clone();
        if !saved.is_disjoint(&self.undone) {
            saved.extend(self.undone.iter().cloned());
        }
        let Some(changes) = self.sources.changes(&saved) else { return Saved::NeedsBuild(Vec::new()) };
        if changes.is_empty() {
            self.undone.retain(|path| !saved.contains(path));
            return Saved::Unchanged;
        }
        let has_copy = |change| self.robots.iter().any(|robot| robot.has_copy(change));
        if !changes.iter().all(has_copy) {
            return Saved::NeedsBuild(Vec::new());
        }
        self.tries += 1;
        let number = self.tries;
        let edited = parallel::map(&mut self.robots, |robot| robot.edit(number, &changes));
        let (mut services, mut errors) = (Vec::new(), Vec::new());
        for result in edited {
            result.map_or_else(|error| errors.push(error), |edited| services.extend(edited));
        }
        if errors.is_empty() {
            changes.iter().for_each(|change| self.sources.update(change));
            self.edits += 1;
            self.undone.retain(|path| !saved.contains(path));
            return Saved::Live(services);
        }
        let unhealthy = errors.iter().filter(|error| exit_of(error) == Exit::Unhealthy).count();
        if unhealthy == 0 {
            return Saved::NeedsBuild(errors);
        }
        self.undone.extend(changes.into_iter().map(|change| change.path));
        let are_alike = unhealthy == errors.len() && services.is_empty();
        if are_alike { Saved::Undone(errors) } else { Saved::Divided(errors) }
    }

    /// The installed files of each service.
    pub(crate) fn shown(&self) -> Shown {
        let of = |robot: &Edited<'_>| -> Vec<_> {
            let name = &robot.target.robot().name;
            robot
                .containers
                .iter()
                .map(|one| ((name.clone(), one.service.clone()), one.files.clone()))
                .collect()
        };
        self.robots.iter().flat_map(of).collect()
    }

    /// Paths of files that are not as they were shown.
    pub(crate) fn differences(&self, shown: &Shown) -> BTreeSet<Utf8PathBuf> {
        let mut paths = BTreeSet::new();
        for (service, now) in self.shown() {
            let Some(before) = shown.get(&service) else { continue };
            let all = before.keys().chain(now.keys());
            paths.extend(all.filter(|path| before.get(*path) != now.get(*path)).cloned());
        }
        paths
    }
}

impl<'a> Edited<'a> {
    fn of(workspace: &'a Workspace, robot: &'a Robot, options: Activate) -> Result<Self> {
        let target = Target::connect(workspace, robot, reach, "", options)?;
        let containers = installed(&target.session, &workspace.project.name)?;
        target.progress.finish();
        Ok(Self { target, containers })
    }

    fn has_copy(&self, change: &Change) -> bool {
        self.containers.iter().any(|container| container.copies(change).next().is_some())
    }

    /// Replaces the copies in all containers at once. Returns the services that were started again.
    fn edit(&mut self, number: usize, changes: &[Change]) -> Result<Vec<String>> {
        let mut files = BTreeMap::new();
        for change in changes {
            let copies = self.containers.iter().flat_map(|container| container.copies(change));
            files.extend(copies.map(|path| (path.clone(), change)));
        }
        let has_copy = |one: &&mut Container| files.keys().any(|path| one.files.contains_key(path));
        let mut containers: Vec<_> = self.containers.iter_mut().filter(has_copy).collect();
        if containers.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = containers.iter().map(|container| container.id.clone()).collect();
        self.target.edit(number, &ids, &archive(&files)?)?;
        for container in &mut containers {
            for (path, digest) in &mut container.files {
                if let Some(change) = files.get(path) {
                    *digest = change.digest.clone();
                }
            }
        }
        Ok(containers
            .iter()
            .map(|container| format!("`{}` on `{}`", container.service, self.target.robot().name))
            .collect())
    }
}

impl Container {
    /// Paths of the copies of a source.
    fn copies(&self, change: &Change) -> impl Iterator<Item = &Utf8PathBuf> {
        let (before, name) = (&change.before, change.path.file_name());
        let dir = Utf8Path::new(INSTALLED).join(&before.package);
        let is_copy = move |(path, digest): &(&Utf8PathBuf, &Digest)| {
            path.file_name() == name && path.starts_with(&dir) && **digest == before.digest
        };
        self.files.iter().filter(is_copy).map(|(path, _)| path)
    }
}

/// Reads what is installed in the containers of a project that run.
fn installed(session: &Session, project: &str) -> Result<Vec<Container>> {
    Ok(parse(&session.command(Script::Installed.argv(&[project])).read()?))
}

fn parse(text: &str) -> Vec<Container> {
    let mut containers: Vec<Container> = Vec::new();
    for line in lines::read(text) {
        match line[..] {
            [word::CONTAINER, id, service] if is_hex(id, 64) => {
                let (id, service) = (id.to_owned(), service.to_owned());
                containers.push(Container { id, service, files: BTreeMap::new() });
            }
            [word::FILE, file] => {
                let (digest, path) = file.split_once("  ").unwrap_or_default();
                let path = Utf8PathBuf::from(path);
                let is_plain = path.components().all(|part| !matches!(part, Utf8Component::ParentDir));
                if let (Some(container), Some(digest)) = (containers.last_mut(), Digest::from_hex(digest))
                    && is_plain
                    && path.starts_with(INSTALLED)
                {
                    container.files.insert(path, digest);
                }
            }
            _ => {}
        }
    }
    containers
}

/// Packs changed files, by their paths in containers, with what `apply-edit.sh` needs besides.
fn archive(files: &BTreeMap<Utf8PathBuf, &Change>) -> Result<Vec<u8>> {
    let mut packed = tar::Builder::new(Vec::new());
    let mut add = |name: String, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        packed.append_data(&mut header, name, content).context("pack the changed files")
    };
    let mut before = String::new();
    for (path, change) in files {
        let path = path.as_str().trim_start_matches('/');
        before.push_str(&format!("{} {path}\n", change.before.digest.hex()));
        add(format!("new/{path}"), &change.content)?;
    }
    add("before".to_owned(), before.as_bytes())?;
    add("apply".to_owned(), Script::ApplyEdit.text().as_bytes())?;
    packed.into_inner().context("pack the changed files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn what_a_robot_says_about_containers_names_installed_files_only() {
        let id = "ab".repeat(32);
        let digest = Digest::of("x").hex().to_owned();
        let said = format!(
            "Welcome!\nfile\t{digest}  {INSTALLED}/a/early\ncontainer\t{id}\tnavigation\nfile\t{digest}  {INSTALLED}/a/x.py\n\
             file\t{digest}  /etc/passwd\nfile\t{digest}  {INSTALLED}/../../etc/passwd\nfile\tcafe  {INSTALLED}/a/y.py\n\
             container\t../x\tevil\n"
        );
        let containers = parse(&said);
        let paths: Vec<_> = containers.iter().flat_map(|one| one.files.keys()).collect();
        assert_eq!((containers.len(), paths), (1, vec![&Utf8PathBuf::from(format!("{INSTALLED}/a/x.py"))]));
        fuzz("installed", 1_000, &[said.as_bytes()], |bytes| drop(parse(&text(bytes))));
    }
}
