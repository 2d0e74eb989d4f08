//! Facts about a base: the environment of builds on it, and the packages that it has.
//!
//! colcon evaluates the conditions of package.xml with the environment of the build (`$ROS_DISTRO == jazzy`), and nodes
//! import what the base has. So the base's build tools are asked, once for each state of the base.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::{Builder, bake, unchanged};
use crate::config::{Base, Platform, Variables, Workspace};
use crate::error::Result;
use crate::process;

/// Facts about a base.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub variables: Variables,
    /// Packages of the stage in which packages are built and tested.
    pub build: Packages,
    /// Packages of the stage that images start from.
    pub run: Packages,
}

/// Packages of a stage.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// Names of ROS packages.
    pub ros: BTreeSet<String>,
    /// Names of Debian packages, installed or provided by installed ones.
    debian: BTreeSet<String>,
    /// Names of Python packages and modules: lower case, with `-` for `_` and `.` (PEP 503).
    python: BTreeSet<String>,
}

impl Packages {
    /// Returns whether there is what a `package.xml` calls `key`: a ROS package, or a key of rosdep (REP 111), which is the
    /// name of a Debian package in most cases.
    pub(super) fn have(&self, key: &str) -> bool {
        let python = key.strip_prefix("python3-").map(|name| name.trim_end_matches("-pip"));
        let is_python = |name: &str| {
            let name = normalized(name);
            let begins = |known: &String| known.strip_prefix(&name).is_some_and(|rest| rest.starts_with('-'));
            self.python.contains(&name)
                || self.python.contains(&format!("py{name}"))
                || self.python.iter().any(begins)
        };
        self.ros.contains(key) || self.debian.contains(key) || python.is_some_and(is_python)
    }

    /// Returns whether a package `apt:NAME` or `pip:NAME` is installed.
    pub(super) fn have_installed(&self, package: &str) -> bool {
        match package.split_once(':') {
            Some(("apt", name)) => self.debian.contains(name.split(':').next().unwrap_or(name)),
            Some(("pip", name)) => self.python.contains(&normalized(name)),
            _ => false,
        }
    }

    fn are_none(&self) -> bool {
        self.ros.is_empty() && self.debian.is_empty() && self.python.is_empty()
    }

    fn read(dir: &Utf8Path) -> Result<Self> {
        let words = |text: &str| {
            text.split([' ', '\n', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        Ok(Self {
            ros: words(&text(dir, "ros")?),
            debian: words(&text(dir, "debian")?),
            python: text(dir, "python")?.split_whitespace().map(normalized).collect(),
        })
    }
}

impl Facts {
    /// Returns whether nothing is known about the packages of the base.
    pub(super) fn know_no_packages(&self) -> bool {
        self.build.are_none()
    }

    fn read(dir: &Utf8Path) -> Result<Self> {
        Ok(Self {
            variables: Variables::of_environment(&text(&dir.join("build"), "environment")?),
            build: Packages::read(&dir.join("build"))?,
            run: Packages::read(&dir.join("run"))?,
        })
    }
}

fn text(dir: &Utf8Path, name: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&bake::output(dir, name)?).into_owned())
}

fn normalized(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

/// Facts about a base, from an earlier run if nothing has changed. They are written by the stage `facts`.
pub(super) fn of(
    workspace: &Workspace,
    builder: Builder,
    base: &Base,
    platform: &Platform,
    context: &str,
) -> Result<Facts> {
    let state = unchanged::of_tools(workspace, base, context);
    let dir = workspace.state_dir().join("build").join(format!("facts-{}", base.name));
    let record = dir.join("state");
    let known = fs_err::read_to_string(&record).ok();
    if state.is_none() || known != state {
        let target = bake::common(workspace, base, platform, context)?;
        bake::into_dir(workspace, builder, target, "facts", &dir)?;
        process::write_file(&record, &state.unwrap_or_default())?;
    }
    Facts::read(&dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_under_the_names_of_debian_and_python() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let dir = Utf8Path::from_path(guard.path()).unwrap();
        for (file, text) in [
            ("ros", "rclpy\nstd_msgs\n"),
            ("debian", "libeigen3-dev libeigen-dev, x (= 1)\npython3-lark \n"),
            ("python", "serial\npyserial\nPyYAML\nyaml\nopencv_python\ncv2\nnumpy"),
        ] {
            fs_err::write(dir.join(file), text)?;
        }
        let packages = Packages::read(dir)?;
        for key in [
            "rclpy",
            "libeigen3-dev",
            "libeigen-dev",
            "python3-lark",
            "python3-serial",
            "python3-yaml",
            "python3-opencv",
            "python3-numpy",
            "python3-numpy-pip",
        ] {
            assert!(packages.have(key), "{key}");
        }
        for key in ["nav2_msgs", "eigen", "python3-ser", "python3-num", "numpy", "python3-serial-asyncio"] {
            assert!(!packages.have(key), "{key}");
        }
        for package in ["apt:libeigen3-dev", "apt:python3-lark:amd64", "pip:PyYAML", "pip:opencv-python"] {
            assert!(packages.have_installed(package), "{package}");
        }
        for package in ["apt:serial", "pip:python3-lark", "numpy"] {
            assert!(!packages.have_installed(package), "{package}");
        }
        Ok(())
    }
}
