//! A copy of the repository as a team's own: with a project name, a git history and a state of its own.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::run::Run;
use super::shell::{command, output};
use super::{Finished, Running};

/// The repository that the tests belong to.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A Python file of `localization`; it has the line `    half = turn / 2` once.
pub const ODOMETRY: &str = "ros_ws/src/localization/localization/odometry.py";

/// A file of `localization` that the tests make as large as they need it: one image has it, and one service is started
/// anew for it.
pub const MAP: &str = "ros_ws/src/localization/maps/map.yaml";

/// The same file in the image.
pub const MAP_THERE: &str = "/opt/ws/install/localization/share/localization/maps/map.yaml";

/// See the module.
pub struct Workspace {
    root: PathBuf,
    /// Removes the files; where `xtask` and its children put theirs is in it as well.
    dir: TempDir,
}

impl Workspace {
    /// Copies what git tracks, and what it would track, under the project name `project`.
    pub fn copy(project: &str) -> Self {
        // A short path: sockets are in it.
        let workspace = Self::empty();
        let root = workspace.root.to_str().unwrap();
        let script = "cd \"$1\" && git ls-files -z --cached --others --exclude-standard \
                      | xargs -0 sh -c 'for f; do [ ! -e \"$f\" ] || printf \"%s\\0\" \"$f\"; done' sh \
                      | tar --null --files-from=- --create | tar --extract --directory \"$2\"";
        output(&["sh", "-c", script, "copy", REPOSITORY, root]);
        workspace.edit("robots.toml", "name = \"eurobot\"", &format!("name = \"{project}\""));
        // Less time than is right for a robot: what settles, and who is gone, is waited for often.
        let toml =
            workspace.read("robots.toml").replace("simulated = true", "simulated = true\nreconnect = 20");
        workspace.write("robots.toml", format!("{toml}\n[releases]\nsettle = 4\n"));
        let compose =
            workspace.read("docker/compose.yaml").replace("image: eurobot:", &format!("image: {project}:"));
        workspace.write("docker/compose.yaml", &compose);
        let maps = "(f'share/{package_name}/maps', sorted(glob('maps/*')))";
        let there = "(f'share/{package_name}', ['package.xml']),";
        let setup = "ros_ws/src/localization/setup.py";
        workspace.edit(setup, there, &format!("{there}\n        {maps},"));
        workspace.write(setup, format!("from glob import glob\n\n{}", workspace.read(setup)));
        workspace.git(&["init", "--quiet", "--initial-branch=main"]);
        workspace.commit("The whole robot");
        workspace.git(&["tag", "baseline"]);
        workspace
    }

    /// A directory with nothing in it.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("e2e-").tempdir_in("/tmp").unwrap();
        let root = dir.path().join("workspace");
        fs::create_dir(&root).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { root, dir }
    }

    /// A fresh clone, made by somebody with another umask.
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

    /// The path of a file.
    pub fn path(&self, file: &str) -> &'static str {
        // Leaked: a few short strings, for commands that are written as lists of words.
        self.root.join(file).to_str().unwrap().trim_end_matches('/').to_owned().leak()
    }

    /// Where `xtask` and what it runs put temporary files.
    pub fn temporary_files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.tmp()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Removes what a killed run could not.
    pub fn forget_temporary_files(&self) {
        fs::remove_dir_all(self.tmp()).unwrap();
        fs::create_dir(self.tmp()).unwrap();
    }

    /// The directory for temporary files.
    pub fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    /// Reads a file.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Writes a file.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(file);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.root.join(file)).unwrap();
    }

    /// Replaces text that is in a file once.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}");
        self.write(file, text.replacen(from, to, 1));
    }

    /// Runs git as somebody whose configuration and clock are always the same.
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

    /// Commits everything; gives the revision.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["-c", "commit.gpgsign=false", "commit", "--quiet", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits everything and makes it what [`Workspace::reset`] goes back to.
    pub fn adopt(&self, message: &str) {
        self.commit(message);
        self.git(&["tag", "--force", "baseline"]);
    }

    /// Takes back every edit and commit.
    pub fn reset(&self) {
        self.git(&["reset", "--quiet", "--hard", "baseline"]);
        self.git(&["clean", "--quiet", "-d", "--force"]);
    }

    /// Runs `cargo xtask ARGS…` to its end.
    pub fn xtask(&self, args: &[&str]) -> Finished {
        self.start(args).wait()
    }

    /// Starts `cargo xtask ARGS…`.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_with(&[], args)
    }

    /// Starts `cargo xtask ARGS…` with something in its environment.
    pub fn start_with(&self, env: &[(&str, &str)], args: &[&str]) -> Running {
        Run { around: &[], args, dir: &self.root, tmp: &self.tmp(), env }.start()
    }
}

/// Bytes that no compression makes fewer, and that no earlier run of the tests has built or sent.
pub fn incompressible(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}
