//! A team's repository on disk, and the errors of loading it.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its files cannot go on")]

use std::fs;

use camino::Utf8PathBuf;
use robot_deploy::config::Workspace;
use robot_deploy::error::{Exit, exit_of, hints_of};

/// The shortest `robots.toml` without mistakes.
pub(crate) const GOOD: &str = r#"
[project]
name = "eurobot"
[bases.ros]
debian = "trixie"
[images.navigation]
packages = ["navigation"]
[robots.main]
simulated = true
"#;

/// A workspace on disk with the package `navigation`, which depends on `communication`, and all files that it
/// needs.
pub(crate) struct Team {
    _directory: tempfile::TempDir,
    pub root: Utf8PathBuf,
}

impl Team {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        let team = Self { _directory: directory, root };
        team.write("docker/ros.Dockerfile", "");
        team.write("docker/compose.yaml", "");
        team.package("communication", "");
        team.package("navigation", "<depend>communication</depend><depend>rclpy</depend>");
        team.write("robots.toml", GOOD);
        team
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn package(&self, name: &str, depends: &str) {
        let xml = format!("<package format=\"3\">\n  <name>{name}</name>\n  {depends}\n</package>\n");
        self.write(&format!("ros_ws/src/{name}/package.xml"), xml);
    }

    pub(crate) fn load(&self) -> anyhow::Result<Workspace> {
        Workspace::load(&self.root)
    }

    /// The error as `ui::error` prints it, without colour.
    pub(crate) fn complaint(&self) -> String {
        let error = self.load().expect_err("no mistake was found");
        assert_eq!(exit_of(&error), Exit::Config, "{error:?}");
        rendered(&error)
    }

    /// The error message for a `robots.toml` with this content.
    pub(crate) fn complaint_about(&self, toml: &str) -> String {
        self.write("robots.toml", toml);
        self.complaint()
    }
}

/// An error as `ui::error` prints it, without colour.
pub(crate) fn rendered(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        text += &format!("\n  caused by: {cause}");
    }
    hints_of(error).iter().for_each(|hint| text += &format!("\n  help: {hint}"));
    text
}

/// Compares an error message line by line.
#[track_caller]
pub(crate) fn assert_complaint(complaint: &str, expected: &[&str]) {
    assert_eq!(
        complaint,
        expected.join("\n"),
        "\n--- got\n{complaint}\n--- expected\n{}",
        expected.join("\n")
    );
}
