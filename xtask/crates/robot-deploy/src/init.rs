//! `cargo xtask init`: the files that a team's repository needs, as far as they are missing.

mod template;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::config::{COMPOSE, COMPOSE_DIRS, FILE, MARKERS};
use crate::error::{Failure, Result};
use crate::files;
use crate::process::Cmd;

/// Depth to which Compose files and packages are looked for.
const DEPTH: usize = 6;

/// Directories that tools write.
const SKIPPED: [&str; 6] = ["build", "install", "log", "target", "node_modules", "__pycache__"];

/// Lines of `.gitignore`, with what they leave out.
const IGNORED: [&str; 2] = ["/target/", "/data/"];

/// A repository as it is.
#[derive(Debug, Default)]
struct Found {
    /// Compose files, relative to the repository.
    compose: Vec<Utf8PathBuf>,
    /// Names of the packages of each colcon workspace, by its directory.
    workspaces: BTreeMap<Utf8PathBuf, Vec<String>>,
    /// Names of packages of ROS 1, which nothing here builds.
    ros_1: Vec<String>,
}

/// A change of the repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Path relative to the repository.
    pub path: Utf8PathBuf,
    /// Words for people.
    pub about: String,
    /// The whole new content.
    text: String,
    is_program: bool,
}

impl Change {
    fn new(path: &str, about: &str, text: String) -> Self {
        Self { path: path.into(), about: about.to_owned(), text, is_program: false }
    }

    pub(crate) fn make(&self, root: &Utf8Path) -> Result<()> {
        let path = root.join(&self.path);
        fs_err::create_dir_all(path.parent().unwrap_or(root))?;
        fs_err::write(&path, &self.text)?;
        if self.is_program {
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }
}

/// The changes that a repository needs; none of them replaces what is there.
///
/// # Errors
/// Fails with exit code 2 if there is nothing that could be deployed.
pub(crate) fn changes(root: &Utf8Path) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    if !root.join(FILE).exists() {
        let found = Found::of(root)?;
        changes.extend(found.files(root)?);
    }
    let read = |name: &str| fs_err::read_to_string(root.join(name)).unwrap_or_default();
    let ignored = read(".gitignore");
    let is_missing = |line: &&&str| {
        let name = line.trim_matches('/');
        let is_there = ignored.lines().any(|other| other.trim().trim_matches('/') == name);
        // A directory of the team's own.
        !is_there && (name == "target" || !root.join(name).exists())
    };
    let missing: Vec<&str> = IGNORED.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        let about = format!("adds {}", missing.join(" and "));
        changes.push(Change::new(".gitignore", &about, with_line_end(ignored) + &missing.join("\n") + "\n"));
    }
    let readme = read("README.md");
    if !readme.contains("cargo xtask") {
        let section = template::README.replace("INSTALL", &install());
        let text = if readme.is_empty() {
            section.trim_start().to_owned()
        } else {
            with_line_end(readme) + &section
        };
        changes.push(Change::new("README.md", "adds a section `Robots`", text));
    }
    Ok(changes)
}

/// Words on the way to this program, for teammates.
fn install() -> String {
    let dir = env!("CARGO_MANIFEST_DIR");
    let origin = Cmd::new("git").args(["-C", dir, "remote", "get-url", "origin"]).read();
    let origin = origin.ok().filter(|origin| origin.contains("://") || origin.contains('@'));
    match origin {
        Some(origin) => format!("`cargo install --git {origin} robot-deploy` installs `cargo xtask`."),
        None => "`cargo install --path xtask/crates/robot-deploy`, in a clone of its repository, installs `cargo xtask`.".to_owned(),
    }
}

fn with_line_end(text: String) -> String {
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}

impl Found {
    fn of(root: &Utf8Path) -> Result<Self> {
        let mut found = Self::default();
        let mut remaining = vec![(Utf8PathBuf::new(), 0)];
        while let Some((dir, depth)) = remaining.pop() {
            let entries = files::entries(&root.join(&dir))?;
            if let Some((name, is_of_ros_1)) = package(&root.join(&dir)) {
                if is_of_ros_1 {
                    found.ros_1.push(name);
                    continue;
                }
                // A workspace is what contains `src/`.
                let src = dir.ancestors().find(|above| above.file_name() == Some("src"));
                let workspace = src.and_then(Utf8Path::parent).unwrap_or(Utf8Path::new(""));
                found.workspaces.entry(workspace.to_owned()).or_default().push(name);
                continue;
            }
            for entry in entries {
                let (name, path) = (entry.file_name(), dir.join(entry.file_name()));
                let is_dir = entry.file_type()?.is_dir();
                if COMPOSE.contains(&name) && entry.path().is_file() {
                    found.compose.push(path);
                } else if is_dir && depth < DEPTH && !name.starts_with('.') && !SKIPPED.contains(&name) {
                    remaining.push((path, depth + 1));
                }
            }
        }
        let key = |path: &Utf8PathBuf| (path.components().count(), path.clone());
        found.compose.sort_by_key(key);
        found.workspaces.values_mut().for_each(|packages| packages.sort());
        found.ros_1.sort();
        Ok(found)
    }

    /// `robots.toml`, and what belongs to it.
    fn files(&self, root: &Utf8Path) -> Result<Vec<Change>> {
        let name = project_name(root.file_name().unwrap_or_default());
        let workspace = self.workspaces.iter().max_by_key(|(_, packages)| packages.len());
        let mut toml = format!(
            "# The images and robots of this repository, for `cargo xtask`.\n\n[project]\nname = \"{name}\"\n"
        );
        let mut changes = Vec::new();
        let mut compose = String::new();
        match (self.compose.first(), workspace) {
            (Some(file), _) => {
                let is_found = COMPOSE_DIRS.iter().any(|dir| file.parent() == Some(Utf8Path::new(dir)));
                if !is_found {
                    compose = format!("compose = {}\n", toml::Value::from(file.as_str()));
                }
                for other in &self.compose[1..] {
                    compose.push_str(&format!("# compose = {}\n", toml::Value::from(other.as_str())));
                }
            }
            (None, Some((dir, packages))) => {
                let dir = if dir.as_str().is_empty() { "." } else { dir.as_str() };
                toml.push_str(&format!("ros_workspace = {}\n", toml::Value::from(dir)));
                for other in
                    self.workspaces.keys().filter(|other| *other != dir && !other.as_str().is_empty())
                {
                    toml.push_str(&format!("# ros_workspace = {}\n", toml::Value::from(other.as_str())));
                }
                let list: Vec<String> =
                    packages.iter().map(|name| toml::Value::from(name.as_str()).to_string()).collect();
                toml.push_str(&template::PACKAGES.replace("LIST", &list.join(", ")));
                if !self.ros_1.is_empty() {
                    toml.push_str(&format!(
                        "# left out, because they are of ROS 1: {}\n",
                        self.ros_1.join(", ")
                    ));
                }
                let text = template::COMPOSE.replace("PROJECT", &name);
                changes.push(Change::new("docker/compose.yaml", "new: the services of the robot", text));
                for (path, text, is_program) in template::FILES {
                    changes.push(Change {
                        is_program,
                        ..Change::new(path, "new: how packages are built", text.to_owned())
                    });
                }
            }
            (None, None) if !self.ros_1.is_empty() => {
                let count = crate::ui::count(self.ros_1.len(), "package");
                return Err(Failure::config(format!("`{root}` has {count} of ROS 1 (catkin), and none of ROS 2"))
                    .hint("do they have a branch for ROS 2?")
                    .hint("else a Compose file, compose.yaml, with a service that has a Dockerfile is enough: `build: .`")
                    .into());
            }
            (None, None) => {
                return Err(Failure::config(format!("`{root}` has neither a Compose file nor ROS packages"))
                    .hint("a Compose file, compose.yaml, with a service is enough: `build: .`")
                    .into());
            }
        }
        toml.push_str(&format!("\n[robots.main]\nsimulated = true             # or host = \"user@address\", for a real robot\n{compose}"));
        changes.retain(|change| !root.join(&change.path).exists());
        changes.insert(0, Change::new(FILE, "new: the images and the robots", toml));
        Ok(changes)
    }
}

/// Name of the package in a directory, and whether it is of ROS 1: its only build tool is catkin (REP 149).
fn package(dir: &Utf8Path) -> Option<(String, bool)> {
    if MARKERS.iter().any(|name| dir.join(name).exists()) {
        return None;
    }
    let text = fs_err::read_to_string(dir.join("package.xml")).ok()?;
    let document = roxmltree::Document::parse(&text).ok()?;
    let texts = |tag: &str| -> Vec<&str> {
        let nodes = document.descendants().filter(|node| node.has_tag_name(tag));
        nodes.filter_map(|node| node.text()).map(str::trim).collect()
    };
    let tools = [texts("buildtool_depend"), texts("build_type")].concat();
    let is_of_ros_1 = !tools.is_empty() && tools.iter().all(|tool| *tool == "catkin");
    let name = document.root_element().children().find(|node| node.has_tag_name("name"))?;
    Some((name.text()?.trim().to_owned(), is_of_ros_1))
}

/// A name for Docker's repositories from that of a directory.
fn project_name(dir: &str) -> String {
    let plain: String =
        dir.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
    let name = parts.join("-");
    let name = name.get(..30).unwrap_or(&name).trim_end_matches('-');
    if name.is_empty() { "robot".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Workspace;

    /// A repository with these files, and the changes that it needs.
    fn repository(name: &str, paths: &[&str]) -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap().join(name);
        for path in paths {
            let file = root.join(path);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            let package = Utf8Path::new(path).parent().and_then(Utf8Path::file_name).unwrap_or("all");
            let text = match file.file_name() {
                Some("package.xml") => format!("<package><name>{package}</name></package>"),
                Some("compose.yaml" | "docker-compose.yml") => "services: { a: { image: b } }\n".to_owned(),
                _ => "FROM scratch\n".to_owned(),
            };
            fs_err::write(file, text).unwrap();
        }
        (dir, root)
    }

    /// Makes all changes, and loads what came of them.
    fn made(root: &Utf8Path) -> Workspace {
        for change in changes(root).unwrap() {
            change.make(root).unwrap();
        }
        assert_eq!(changes(root).unwrap(), [], "a second time there is nothing to do");
        Workspace::load(root).unwrap()
    }

    #[test]
    fn each_shape_of_repository_becomes_a_workspace() {
        for (name, paths, workspace, packages, compose) in [
            (
                "Our Robot 2026",
                &["src/nav/package.xml", "src/bringup/package.xml"][..],
                "",
                "bringup nav",
                "docker/compose.yaml",
            ),
            ("team", &["ros2_ws/src/deep/er/nav/package.xml"][..], "ros2_ws", "nav", "docker/compose.yaml"),
            ("team", &["nav/package.xml", "msgs/package.xml"][..], "", "msgs nav", "docker/compose.yaml"),
            (
                "team",
                &["a_ws/src/a/package.xml", "b_ws/src/b/package.xml", "b_ws/src/c/package.xml"][..],
                "b_ws",
                "b c",
                "docker/compose.yaml",
            ),
            ("team", &["compose.yaml", "lidar/Dockerfile"][..], "ros_ws", "", "compose.yaml"),
            (
                "team",
                &["deploy/robot/docker-compose.yml", "Cargo.toml", "src/nav/package.xml"][..],
                "ros_ws",
                "",
                "deploy/robot/docker-compose.yml",
            ),
        ] {
            let (_guard, root) = repository(name, paths);
            let loaded = made(&root);
            let there: Vec<&String> = loaded.images.values().flat_map(|image| &image.packages).collect();
            assert_eq!(there, packages.split_whitespace().collect::<Vec<_>>(), "{paths:?}");
            assert_eq!(loaded.relative(&loaded.project.ros_workspace), workspace, "{paths:?}");
            assert_eq!(loaded.relative(&loaded.robots["main"].compose[0]), compose, "{paths:?}");
        }
    }

    #[test]
    fn nothing_that_is_there_is_replaced() {
        let (_guard, root) =
            repository("team", &["src/nav/package.xml", "docker/ros.Dockerfile", "data/maps"]);
        fs_err::write(root.join(".gitignore"), "target\nbuild").unwrap();
        fs_err::write(root.join("README.md"), "# Team").unwrap();
        made(&root);
        let read = |name: &str| fs_err::read_to_string(root.join(name)).unwrap();
        assert_eq!(read("docker/ros.Dockerfile"), "FROM scratch\n");
        assert_eq!(read(".gitignore"), "target\nbuild");
        assert!(read("README.md").starts_with("# Team\n\n## Robots\n"));
    }

    #[test]
    fn every_file_for_the_build_of_packages_is_written() {
        let docker = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docker");
        let mut remaining = vec![docker.join("ros")];
        let mut count = 1;
        while let Some(dir) = remaining.pop() {
            for entry in files::entries(&dir).unwrap() {
                let path = entry.path().strip_prefix(docker.parent().unwrap()).unwrap().to_owned();
                if entry.path().is_dir() {
                    remaining.push(entry.path().to_owned());
                } else if !entry.file_name().starts_with('.') {
                    assert!(template::FILES.iter().any(|(name, ..)| path == *name), "{path}");
                    count += 1;
                }
            }
        }
        assert_eq!(count, template::FILES.len());
    }

    #[test]
    fn a_repository_without_anything_to_deploy_is_refused() {
        let (_guard, root) = repository("team", &["main.py"]);
        let error = changes(&root).unwrap_err().to_string();
        assert!(error.ends_with("has neither a Compose file nor ROS packages"), "{error}");
        let (_guard, root) = repository("team", &["src/nav/package.xml", "src/old/package.xml"]);
        let old = "<package><name>old</name><buildtool_depend>catkin</buildtool_depend></package>";
        fs_err::write(root.join("src/old/package.xml"), old).unwrap();
        let toml = changes(&root).unwrap().swap_remove(0).text;
        assert!(
            toml.contains("packages = [\"nav\"]\n# left out, because they are of ROS 1: old\n"),
            "{toml}"
        );
        fs_err::remove_dir_all(root.join("src/nav")).unwrap();
        let error = changes(&root).unwrap_err().to_string();
        assert!(error.ends_with("has 1 package of ROS 1 (catkin), and none of ROS 2"), "{error}");
        assert_eq!(project_name("Ärger! & Söhne"), "rger-s-hne");
        assert_eq!(project_name("!"), "robot");
    }
}
