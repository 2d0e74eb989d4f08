//! The workspace that is edited and deployed: a copy, as a fresh clone would have it, in a project of its own.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::case::Edit;
use super::robots_toml;
use super::subject::Subject;
use crate::config::{FILE, Host, Robot, Workspace};
use crate::error::{Failure, Result};
use crate::image::{Builder, base, secrets};
use crate::process::Cmd;

/// The project's name: nothing else on this machine is called so.
pub const PROJECT: &str = "bench";
/// The robots that run the example workspace.
pub const ROBOTS: [&str; 3] = ["main", "second", "third"];

/// What all contenders work with.
#[derive(Debug)]
pub struct Workshop {
    /// What is edited and deployed.
    pub copy: Copy,
    /// What builds.
    pub builder: Builder,
    /// The named context of the base that everybody builds on.
    pub base: String,
}

impl Workshop {
    /// Makes the copy, and sees to it that the base exists.
    pub fn new(workspace: &Workspace, dir: &Utf8Path, builder: Builder) -> Result<Self> {
        let copy = Copy::make(workspace, dir)?;
        let source = &copy.workspace().bases.values().next().context("no base")?.source;
        let base = base::ensure(copy.workspace(), builder, source, &copy.robot(ROBOTS[0])?.platform)?;
        Ok(Self { copy, builder, base })
    }

    /// The options that hand this machine's certificates to `docker build`.
    pub fn secrets(&self) -> impl Iterator<Item = String> {
        secrets::of_this_machine().into_iter().flat_map(|secret| ["--secret".to_owned(), secret])
    }
}

/// A copy of the workspace, and a copy of this program to deploy it with.
#[derive(Debug)]
pub struct Copy {
    workspace: Workspace,
    program: Utf8PathBuf,
    /// The digits of the next edit: no two runs have the same.
    digits: Cell<u64>,
}

impl Copy {
    /// Copies what git knows or would add, renames the project, gives it images and robots of its own.
    fn make(workspace: &Workspace, dir: &Utf8Path) -> Result<Self> {
        let root = dir.join("workspace");
        if root.exists() {
            // Of a run that was killed: its robot was made by this copy's key.
            remove_robots(&this_program()?, &root);
            fs_err::remove_dir_all(&root)?;
        }
        fs_err::create_dir_all(&root)?;
        // Somebody may compile while this runs.
        let program = dir.join("xtask");
        let _size = fs_err::copy(this_program()?, &program)?;
        let files = Cmd::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .dir(&workspace.root)
            .read()?;
        for file in files.split_terminator('\0').filter(|file| workspace.root.join(file).is_file()) {
            let to = root.join(file);
            fs_err::create_dir_all(to.parent().unwrap_or(&root))?;
            let _size = fs_err::copy(workspace.root.join(file), &to)?;
        }
        let original = &workspace.project.name;
        let robot = workspace
            .robots
            .values()
            .find(|robot| matches!(robot.host, Host::Simulated { .. }))
            .with_context(|| format!("{FILE} has no simulated robot"))?;
        let compose = root.join(workspace.relative(&robot.compose));
        let text = fs_err::read_to_string(&compose)?;
        fs_err::write(&compose, text.replace(&format!("image: {original}:"), &format!("image: {PROJECT}:")))?;
        let text = fs_err::read_to_string(root.join(FILE))?;
        let renamed = robots_toml::adapt(&text, workspace, robot)?;
        fs_err::write(root.join(FILE), renamed)?;
        commit(&root)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
        Ok(Self { workspace: Workspace::load(&root)?, program, digits: Cell::new(since.as_secs() * 100) })
    }

    /// The copy.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// A robot of the copy.
    pub fn robot(&self, name: &str) -> Result<&Robot> {
        self.workspace.robot(name)
    }

    /// The names of a subject's images.
    pub fn images(&self, subject: Subject) -> impl Iterator<Item = &str> {
        let foreign = |name: &str| Subject::FOREIGN.iter().any(|subject| subject.name() == name);
        let of = move |name: &&String| match subject {
            Subject::Workspace => !foreign(name),
            _ => *name == subject.name(),
        };
        self.workspace.images.keys().filter(of).map(String::as_str)
    }

    /// This program, as it was when the benchmark began.
    pub fn program(&self) -> &Utf8Path {
        &self.program
    }

    /// This program, run in the copy.
    pub fn xtask(&self, args: &[&str]) -> Cmd {
        Cmd::new(self.program.as_str()).args(args.iter().copied()).dir(&self.workspace.root)
    }

    /// A robot's Compose file, all services running `image`.
    pub fn compose_with(&self, robot: &str, image: &str) -> Result<String> {
        let text = fs_err::read_to_string(&self.robot(robot)?.compose)?;
        let ours = format!("image: {PROJECT}:");
        let line = |line: &str| match line.split_once(&ours) {
            Some((before, _)) => format!("{before}image: {image}\n"),
            None => format!("{line}\n"),
        };
        Ok(text.lines().map(line).collect())
    }

    /// Changes one place to what it never was.
    pub fn apply(&self, edit: &Edit) -> Result<()> {
        let file = self.workspace.root.join(edit.file);
        let original = self.git(&["show", &format!("HEAD:{}", edit.file)]).read()?;
        let digits = self.digits.get();
        self.digits.set(digits + 1);
        let edited = edit.apply(&original, digits).ok_or_else(|| {
            Failure::failed(format!("`{}` is not once in `{}`", edit.find, edit.file))
                .hint("the benchmark edits that place: adapt xtask/src/bench/case.rs")
        })?;
        Ok(fs_err::write(&file, format!("{edited}\n"))?)
    }

    /// Takes all edits back.
    pub fn reset(&self) -> Result<()> {
        self.git(&["checkout", "--quiet", "--", "."]).run()
    }

    fn git(&self, args: &[&str]) -> Cmd {
        Cmd::new("git").args(args.iter().copied()).dir(&self.workspace.root)
    }

    /// A guard that removes robots, images and the copy itself, however the run ends.
    pub fn clean_up(&self, images: Vec<String>, keep: bool) -> CleanUp<'_> {
        CleanUp { copy: self, images, keep }
    }
}

fn this_program() -> Result<Utf8PathBuf> {
    let path = std::env::current_exe().context("find this program")?;
    Utf8PathBuf::from_path_buf(path).map_err(|path| anyhow::anyhow!("`{}` is not UTF-8", path.display()))
}

/// Images carry the revision of their inputs: the copy has one.
fn commit(root: &Utf8Path) -> Result<()> {
    let git = |args: &[&str]| Cmd::new("git").args(args.iter().copied()).dir(root);
    git(&["init", "--quiet"]).run()?;
    git(&["add", "--all"]).run()?;
    git(&["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"])
        .args(["commit", "--quiet", "--message", "The workspace of the benchmark"])
        .run()
}

/// With their disks, their network and their key.
fn remove_robots(program: &Utf8Path, root: &Utf8Path) {
    Cmd::new(program.as_str()).args(["sim", "down"]).dir(root).clean_up();
}

/// See [`Copy::clean_up`].
#[derive(Debug)]
pub struct CleanUp<'a> {
    copy: &'a Copy,
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
                crate::ui::warn("clean-up", &error.to_string());
            }
        }
    }
}
