//! A copy of the repository as a team has it: with its own project name, git history and state.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::run::Run;
use super::shell::{command, output};
use super::{Finished, PROJECT, Running};

/// The repository that the tests belong to.
pub const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The plain workspace; only the project's name is added.
const PLAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/plain");

/// A Python file of `localization`; it contains the line `    half = turn / 2` once.
pub const ODOMETRY: &str = "ros_ws/src/localization/localization/odometry.py";

/// The same file in the image of the plain workspace.
pub const ODOMETRY_THERE: &str = "/opt/ws/install/localization/share/localization/localization/odometry.py";

/// A file of `localization` that tests make as large as they need: it is in one image, and one service
/// restarts for it.
pub const MAP: &str = "ros_ws/src/localization/maps/map.yaml";

/// The same file in the image.
pub const MAP_THERE: &str = "/opt/ws/install/localization/share/localization/maps/map.yaml";

pub struct Workspace {
    root: PathBuf,
    /// Parent directory of the workspace; also holds files of `xtask` and its children.
    dir: PathBuf,
    /// Removes the files, if nothing else does.
    _guard: Option<TempDir>,
}

impl Workspace {
    /// The example workspace: all files that git tracks or would track.
    pub fn ros(dir: PathBuf) -> Self {
        let workspace = Self::at(dir);
        let root = workspace.root.to_str().unwrap();
        let script = "cd \"$1\" && git ls-files -z --cached --others --exclude-standard \
                      | xargs -0 sh -c 'for f; do [ ! -e \"$f\" ] || printf \"%s\\0\" \"$f\"; done' sh \
                      | tar --null --files-from=- --create | tar --extract --directory \"$2\"";
        output(&["sh", "-c", script, "copy", REPOSITORY, root]);
        workspace.edit("robots.toml", "name = \"eurobot\"", &format!("name = \"{PROJECT}\""));
        // Shorter times than a robot needs, because tests wait for settling and lost connections often.
        let toml =
            workspace.read("robots.toml").replace("simulated = true", "simulated = true\nreconnect = 20");
        workspace.write("robots.toml", format!("{toml}\n[releases]\nsettle = 2\n"));
        let compose =
            workspace.read("docker/compose.yaml").replace("image: eurobot:", &format!("image: {PROJECT}:"));
        // Frequent health checks until a service is healthy, then few: eight nodes of two robots take CPU
        // time from others.
        let compose = compose.replace("    interval: 3s\n", "    start_interval: 1s\n    interval: 20s\n");
        workspace.write("docker/compose.yaml", &compose);
        workspace.publish_as_baseline()
    }

    /// The plain workspace, as in `tests/e2e/plain/`.
    pub fn plain(dir: PathBuf) -> Self {
        let workspace = Self::at(dir);
        let root = workspace.root.to_str().unwrap();
        output(&["cp", "-R", &format!("{PLAIN}/."), root]);
        // Files of a team's repository that the tool itself needs.
        for file in ["robots.toml", "docker/compose.yaml"] {
            workspace.write(file, workspace.read(file).replace("PROJECT", &PROJECT));
        }
        workspace.publish_as_baseline()
    }

    /// The directory of a workspace: new, or kept by an earlier run, with its state.
    fn at(dir: PathBuf) -> Self {
        let root = dir.join("workspace");
        fs::create_dir_all(&root).unwrap();
        output(&[
            "find",
            root.to_str().unwrap(),
            "-mindepth",
            "1",
            "-maxdepth",
            "1",
            "!",
            "-name",
            "target",
            "-exec",
            "rm",
            "-r",
            "{}",
            "+",
        ]);
        fs::create_dir_all(dir.join("tmp")).unwrap();
        Self { root, dir, _guard: None }
    }

    /// Makes a git repository of the files, with everything in the first commit.
    fn publish_as_baseline(self) -> Self {
        self.git(&["init", "--quiet", "--initial-branch=main"]);
        self.commit("The whole robot");
        self.git(&["tag", "baseline"]);
        self
    }

    /// An empty directory, removed on drop.
    pub fn empty() -> Self {
        let parent = super::lab::dir();
        fs::create_dir_all(parent).unwrap();
        let guard = tempfile::Builder::new().prefix("other-").tempdir_in(parent).unwrap();
        let dir = guard.path().to_owned();
        for name in ["workspace", "tmp"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        Self { root: dir.join("workspace"), dir, _guard: Some(guard) }
    }

    /// Removes the workspace.
    pub fn close(self) {
        drop(fs::remove_dir_all(&self.dir));
    }

    /// A fresh clone, made with another umask.
    pub fn clone_privately(&self) -> Self {
        let other = Self::empty();
        let script = "umask 077 && rm -rf \"$2\" && git clone --quiet \"$1\" \"$2\"";
        output(
            &["sh", "-c", script, "clone", self.path(""), other.path("")]
                .map(str::to_owned)
                .each_ref()
                .map(String::as_str),
        );
        other
    }

    pub fn path(&self, file: &str) -> &'static str {
        // Leaks a few short strings, so that commands can be lists of `&str`.
        self.root.join(file).to_str().unwrap().trim_end_matches('/').to_owned().leak()
    }

    /// Temporary files of `xtask` and its children.
    pub fn temporary_files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.tmp()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Removes files that a killed run could not remove.
    pub fn forget_temporary_files(&self) {
        fs::remove_dir_all(self.tmp()).unwrap();
        fs::create_dir(self.tmp()).unwrap();
    }

    /// The directory for temporary files.
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(file);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.root.join(file)).unwrap();
    }

    /// Replaces a text that the file contains exactly once.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}");
        self.write(file, text.replacen(from, to, 1));
    }

    /// Runs git with a fixed user and fixed settings.
    pub fn git(&self, args: &[&str]) -> String {
        let mut git = command(&["git", "-c", "user.name=Team", "-c", "user.email=team@robots.example"]);
        git.args(args).current_dir(&self.root);
        for when in ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"] {
            git.env(when, "2026-01-01T00:00:00Z");
        }
        let done = git.output().unwrap();
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    }

    /// Commits everything; returns the revision.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["-c", "commit.gpgsign=false", "commit", "--quiet", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits everything and makes it the state of [`Workspace::reset`].
    pub fn adopt(&self, message: &str) {
        self.commit(message);
        self.git(&["tag", "--force", "baseline"]);
    }

    /// Undoes every edit and commit.
    pub fn reset(&self) {
        self.git(&["reset", "--quiet", "--hard", "baseline"]);
        self.git(&["clean", "--quiet", "-d", "--force"]);
    }

    /// Runs `cargo xtask ARGS…` until it ends.
    pub fn xtask(&self, args: &[&str]) -> Finished {
        self.start(args).wait()
    }

    /// Runs `cargo xtask ARGS…` with this line on stdin.
    pub fn xtask_with_stdin(&self, line: &str, args: &[&str]) -> Finished {
        let around = ["sh", "-c", "line=$1; shift; echo \"$line\" | \"$@\"", "told", line];
        Run { around: &around, args, dir: &self.root, tmp: &self.tmp(), env: &[] }.start().wait()
    }

    /// Starts `cargo xtask ARGS…`.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_with(&[], args)
    }

    /// Starts `cargo xtask ARGS…` with additional environment variables.
    pub fn start_with(&self, env: &[(&str, &str)], args: &[&str]) -> Running {
        Run { around: &[], args, dir: &self.root, tmp: &self.tmp(), env }.start()
    }
}

/// Incompressible bytes that no earlier test run has built or sent.
pub fn incompressible(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}
