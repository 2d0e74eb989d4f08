//! The copy of the workspace that the benchmark edits and deploys: like a fresh clone, but with its own
//! project name.

use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use super::case::Edit;
use super::robots_toml::{self, PROJECT};
use super::workload::Workload;
use robot_deploy::config::{FILE, Host, Robot, Workspace};
use robot_deploy::error::{Failure, Result};
use robot_deploy::process::Cmd;

/// A copy of the workspace, and a copy of `xtask` to deploy it with.
#[derive(Debug)]
pub(crate) struct WorkspaceCopy {
    workspace: Workspace,
    program: Utf8PathBuf,
    /// A directory as a login session has it, in which connections are kept.
    runtime: TempDir,
    /// Digits of the next edit; they start at the current time, so that no two runs share any.
    digits: Cell<u64>,
}

impl WorkspaceCopy {
    /// Copies all files that git tracks or would add, renames the project, and adds the benchmark's own
    /// images and robots.
    pub(crate) fn make(workspace: &Workspace, xtask: &Utf8Path, dir: &Utf8Path) -> Result<Self> {
        let root = dir.join("workspace");
        if root.exists() {
            // Left by a killed run, whose robots accept only the key in this directory.
            remove_robots(xtask, &root);
            fs_err::remove_dir_all(&root)?;
        }
        fs_err::create_dir_all(&root)?;
        // The developer may recompile during the benchmark.
        let program = dir.join("xtask");
        fs_err::copy(xtask, &program)?;
        let files = Cmd::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .dir(&workspace.root)
            .read()?;
        for file in files.split_terminator('\0').filter(|file| workspace.root.join(file).is_file()) {
            let to = root.join(file);
            fs_err::create_dir_all(to.parent().unwrap_or(&root))?;
            fs_err::copy(workspace.root.join(file), &to)?;
        }
        let original = &workspace.project.name;
        let robot = workspace
            .robots
            .values()
            .find(|robot| matches!(robot.host, Host::Simulated { .. }))
            .with_context(|| format!("{FILE} has no simulated robot"))?;
        let compose = root.join(workspace.relative(&robot.compose[0]));
        let text = fs_err::read_to_string(&compose)?;
        fs_err::write(&compose, text.replace(&format!("image: {original}:"), &format!("image: {PROJECT}:")))?;
        let text = fs_err::read_to_string(root.join(FILE))?;
        let renamed = robots_toml::adapt(&text, workspace, robot)?;
        fs_err::write(root.join(FILE), renamed)?;
        commit(&root)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
        let ours = Permissions::from_mode(0o700);
        let runtime = tempfile::Builder::new().permissions(ours).tempdir()?;
        let digits = Cell::new(since.as_secs() * 100);
        Ok(Self { workspace: Workspace::load(&root)?, program, runtime, digits })
    }

    pub(crate) fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    pub(crate) fn robot(&self, name: &str) -> Result<&Robot> {
        self.workspace.robot(name)
    }

    /// Names of a workload's images.
    pub(crate) fn images(&self, workload: Workload) -> impl Iterator<Item = &str> {
        let third_party = |name: &str| Workload::THIRD_PARTY.iter().any(|workload| workload.name() == name);
        let of = move |name: &&String| match workload {
            Workload::Workspace => !third_party(name),
            _ => *name == workload.name(),
        };
        self.workspace.images.keys().filter(of).map(String::as_str)
    }

    /// Builds a workload's images.
    pub(crate) fn build_images(&self, workload: Workload) -> Result<()> {
        let images: Vec<&str> = self.images(workload).collect();
        self.xtask(&[&["build-images"], images.as_slice()].concat()).run()
    }

    /// The copy of `xtask`.
    pub(crate) fn program(&self) -> &Utf8Path {
        &self.program
    }

    /// Command that runs the copy of `xtask` in the copied workspace.
    pub(crate) fn xtask(&self, args: &[&str]) -> Cmd {
        Cmd::new(self.program.as_str())
            .args(args.iter().copied())
            .env("XDG_RUNTIME_DIR", self.runtime.path().to_string_lossy())
            .dir(&self.workspace.root)
    }

    /// Returns a robot's Compose file in which every service runs `image`.
    pub(crate) fn compose_with(&self, robot: &str, image: &str) -> Result<String> {
        let text = fs_err::read_to_string(&self.robot(robot)?.compose[0])?;
        let ours = format!("image: {PROJECT}:");
        let line = |line: &str| match line.split_once(&ours) {
            Some((before, _)) => format!("{before}image: {image}\n"),
            None => format!("{line}\n"),
        };
        Ok(text.lines().map(line).collect())
    }

    /// Applies `edit` to the committed file, with digits that were never used before.
    pub(crate) fn apply(&self, edit: &Edit) -> Result<()> {
        let file = self.workspace.root.join(edit.file);
        let original = self.git(&["show", &format!("HEAD:{}", edit.file)]).read()?;
        let digits = self.digits.get();
        self.digits.set(digits + 1);
        let edited = edit.apply(&original, digits).ok_or_else(|| {
            Failure::failed(format!("expected `{}` exactly once in `{}`", edit.find, edit.file))
                .hint("the benchmark edits that text: adapt `xtask/crates/deploy-bench/src/case.rs`")
        })?;
        Ok(fs_err::write(&file, format!("{edited}\n"))?)
    }

    /// Reverts all edits.
    pub(crate) fn reset(&self) -> Result<()> {
        self.git(&["checkout", "--quiet", "--", "."]).run()
    }

    fn git(&self, args: &[&str]) -> Cmd {
        Cmd::new("git").args(args.iter().copied()).dir(&self.workspace.root)
    }

    /// Returns a guard that removes the robots, `images` and the copy itself, however the benchmark ends.
    pub(crate) fn clean_up(&self, images: Vec<String>, keep: bool) -> CleanUp<'_> {
        CleanUp { copy: self, images, keep }
    }
}

/// Commits the copy: images are labelled with the revision of their inputs.
fn commit(root: &Utf8Path) -> Result<()> {
    let git = |args: &[&str]| Cmd::new("git").args(args.iter().copied()).dir(root);
    git(&["init", "--quiet"]).run()?;
    git(&["add", "--all"]).run()?;
    git(&["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"])
        .args(["commit", "--quiet", "--message", "The workspace of the benchmark"])
        .run()
}

/// Removes all simulated robots with their disks, network and key.
fn remove_robots(program: &Utf8Path, root: &Utf8Path) {
    Cmd::new(program.as_str()).args(["sim", "down"]).dir(root).clean_up();
}

#[derive(Debug)]
pub(crate) struct CleanUp<'a> {
    copy: &'a WorkspaceCopy,
    images: Vec<String>,
    keep: bool,
}

impl Drop for CleanUp<'_> {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let root = &self.copy.workspace.root;
        remove_robots(&self.copy.program, root);
        Cmd::new("docker").args(["image", "rm", "--force"]).args(self.images.iter().cloned()).clean_up();
        for result in [fs_err::remove_dir_all(root), fs_err::remove_file(&self.copy.program)] {
            if let Err(error) = result {
                robot_deploy::ui::warn("clean-up", &error.to_string());
            }
        }
    }
}
