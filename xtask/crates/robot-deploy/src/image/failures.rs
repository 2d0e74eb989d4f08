//! Failed steps of a build: what they printed, for people who know their packages and not BuildKit.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use camino::Utf8PathBuf;
use parking_lot::Mutex;

use crate::config::{Package, Workspace};

/// Most lines of output that are kept of a step, the last ones.
const KEPT: usize = 2_000;

/// Most lines of a failed step that are shown.
const SHOWN: usize = 60;

/// Lines that are shown before the first error.
const BEFORE: usize = 3;

/// Words in lines that report errors, of compilers, CMake, ninja, Python, setuptools, pytest and rosidl.
const ERRORS: [&str; 4] = ["error", "traceback", "failed", "fatal"];

/// Words of compilers and linkers that the kernel has ended, of GCC, Clang and ninja's shell.
const KILLED: [&str; 3] = [
    "Killed signal terminated program",
    "unable to execute command: Killed",
    "collect2: fatal error: ld terminated with signal 9",
];

/// Names of the steps that failed, shared by the filter of a build's log and by who runs the build: "building `navigation`".
pub(super) type Failed = Arc<Mutex<Vec<String>>>;

/// Names of places in the build containers, and of the same places in the repository.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    names: Vec<(String, String)>,
    /// Directory of `robots.toml`.
    root: Utf8PathBuf,
    /// Directories of the packages.
    packages: BTreeMap<String, Utf8PathBuf>,
}

impl Paths {
    pub(super) fn of(workspace: &Workspace) -> Self {
        let sources = workspace.project.sources();
        let source = |package: &Package| {
            let dir = sources.join(&package.dir);
            let here = format!("{}/", workspace.relative(&dir));
            let there = ["/ws/build/src", "/ws/src"].map(|place| format!("{place}/{}/", package.name));
            there.map(|there| (there, here.clone()))
        };
        let dir = |package: &Package| (package.name.clone(), sources.join(&package.dir));
        Self {
            names: workspace.packages.iter().flat_map(source).collect(),
            root: workspace.root.clone(),
            packages: workspace.packages.iter().map(dir).collect(),
        }
    }

    fn here(&self, line: &str) -> String {
        self.names.iter().fold(line.to_owned(), |line, (there, here)| line.replace(there, here))
    }

    /// Explains that a build has looked for a file of the repository that it cannot see: one above the package's directory.
    fn unseen(&self, package: &str, lines: &[&str]) -> Option<String> {
        // Stages have no capital letters.
        let mut packages = self.packages.iter();
        let (package, dir) = packages.find(|(name, _)| name.eq_ignore_ascii_case(package))?;
        let (root, dir) = (self.root.canonicalize_utf8().ok()?, dir.canonicalize_utf8().ok()?);
        let tokens =
            lines.iter().flat_map(|line| line.split([' ', '"', '\'', ':', ',', ';', '(', ')', '<', '>']));
        let mut wanted = tokens.filter_map(|token| Some(&token[token.find("../")?..]));
        let (wanted, place) = wanted.find_map(|wanted| {
            // Compilers and CMake report it as it was written, from a directory of the package.
            let places = ["", "src", "include"].map(|below| dir.join(below).join(wanted).canonicalize_utf8());
            let mut places = places.into_iter().filter_map(Result::ok);
            Some((wanted, places.find(|path| path.starts_with(&root) && !path.starts_with(&dir))?))
        })?;
        let whole = place.parent().filter(|above| !dir.starts_with(above)).unwrap_or(&place);
        let also = whole.strip_prefix(&root).ok()?;
        Some(format!(
            "`{wanted}` is outside of the package `{package}`, and its build sees only its own directory: `[packages.{package}]` with `also = [\"{also}\"]` in robots.toml"
        ))
    }
}

/// Output of a step.
#[derive(Debug, Default)]
pub(super) struct Output(VecDeque<String>);

impl Output {
    /// Adds a line of the log, after the step's number: the seconds since the start of the step and a text.
    pub(super) fn add(&mut self, line: &str) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        let text = line.split_once(' ').map_or("", |(_seconds, text)| text);
        self.0.push_back(text.to_owned());
    }

    /// The lines that explain the failure: all of them, or those from the first error on.
    pub(super) fn explanation(&self, paths: &Paths, title: &str) -> Vec<String> {
        let lines = self.without_repetitions();
        let is_error = |line: &&str| {
            let line = line.to_lowercase();
            ERRORS.iter().any(|word| line.contains(word))
        };
        let first = match lines.iter().position(is_error) {
            _ if lines.len() <= SHOWN => 0,
            Some(first) => first.saturating_sub(BEFORE),
            None => lines.len() - SHOWN,
        };
        let mut shown: Vec<String> =
            lines.iter().skip(first).take(SHOWN).map(|line| paths.here(line)).collect();
        let left = lines.len() - first - shown.len();
        if left > 0 {
            shown.push(format!("… {left} more lines"));
        }
        shown.extend(package_of(title).and_then(|package| paths.unseen(package, &lines)));
        if lines.iter().any(|line| KILLED.iter().any(|words| line.contains(words))) {
            shown.push("the compiler was ended for lack of memory: `[build]` with `jobs = 1` in robots.toml runs one at a time".to_owned());
        }
        shown
    }

    /// The lines without those of colcon that repeat what a package's tools have written to stderr.
    fn without_repetitions(&self) -> Vec<&str> {
        let mut is_repeated = false;
        let is_new = |line: &&String| {
            let is_end = *line == "---";
            is_repeated |= line.starts_with("--- stderr: ");
            let is_new = !is_repeated;
            is_repeated &= !is_end;
            is_new
        };
        self.0.iter().filter(is_new).map(String::as_str).collect()
    }
}

/// Package that a step builds.
fn package_of(title: &str) -> Option<&str> {
    title.split(':').next()?.strip_prefix("build-").filter(|_| title.contains("build-package"))
}

/// Describes a step for people; the generated Dockerfile has a stage for each package.
pub(super) fn in_words(title: &str) -> String {
    let stage = title.split(':').next().unwrap_or_default();
    match (package_of(title), stage.strip_prefix("test-")) {
        (Some(package), _) => format!("building `{package}`"),
        (_, Some(package)) if title.contains("test-package") => format!("testing `{package}`"),
        _ => format!("the step `{title}`"),
    }
}

/// Tells of a file below `dir` whose name is not UTF-8: setuptools fails at it without naming it.
pub(super) fn not_utf8(dir: &Path, root: &Path) -> Option<String> {
    let mut entries: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries.iter().find_map(|entry| {
        if entry.file_name().to_str().is_none() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_encoded_bytes().escape_ascii();
            return Some(format!("the name of `{name}` is not UTF-8: rename that file"));
        }
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_dir.then(|| not_utf8(&entry.path(), root)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(lines: impl IntoIterator<Item = String>) -> Output {
        let mut output = Output::default();
        lines.into_iter().for_each(|line| output.add(&format!("1.234 {line}")));
        output
    }

    #[test]
    fn a_short_output_is_shown_whole_with_paths_of_the_repository() {
        let names = vec![("/ws/build/src/navigation/".into(), "ros_ws/src/nav/navigation/".into())];
        let paths = Paths { names, ..Paths::default() };
        let said = output(
            ["In file included", "/ws/build/src/navigation/src/x.cpp:12:5: error: oh"].map(Into::into),
        );
        assert_eq!(
            said.explanation(&paths, ""),
            ["In file included", "ros_ws/src/nav/navigation/src/x.cpp:12:5: error: oh"]
        );
    }

    #[test]
    fn a_long_output_is_shown_from_its_first_error_on() {
        let lines = (0..500).map(|number| match number {
            100 => "x.cpp:1:2: error: first".to_owned(),
            number => format!("line {number}"),
        });
        let lines = output(lines).explanation(&Paths::default(), "");
        assert_eq!((lines[0].as_str(), lines[3].as_str()), ("line 97", "x.cpp:1:2: error: first"));
        assert_eq!((lines.len(), lines[60].as_str()), (61, "… 343 more lines"));
        let lines =
            output((0..500).map(|number| format!("line {number}"))).explanation(&Paths::default(), "");
        assert_eq!((lines.len(), lines[59].as_str()), (60, "line 499"));
    }

    #[test]
    fn a_compiler_without_memory_is_named() {
        let said = output(["c++: fatal error: Killed signal terminated program cc1plus"].map(Into::into));
        assert!(said.explanation(&Paths::default(), "")[1].contains("`jobs = 1`"));
    }

    #[test]
    fn a_file_outside_of_the_package_is_named() -> anyhow::Result<()> {
        let guard = tempfile::tempdir()?;
        let root = camino::Utf8Path::from_path(guard.path()).unwrap().to_owned();
        for file in ["src/nav/src/x.cpp", "src/cmake/warnings.cmake", "VERSION"] {
            fs_err::create_dir_all(root.join(file).parent().unwrap_or(&root))?;
            fs_err::write(root.join(file), "")?;
        }
        let packages = BTreeMap::from([("nav".to_owned(), root.join("src/nav"))]);
        let paths = Paths { root, packages, ..Paths::default() };
        for (line, also) in [
            (
                "  include could not find requested file: ../cmake/warnings.cmake",
                Some("`also = [\"src/cmake\"]`"),
            ),
            (
                "/ws/build/src/nav/CMakeLists.txt:3 /ws/build/src/nav/../cmake/warnings.cmake",
                Some("src/cmake"),
            ),
            ("FileNotFoundError: No such file or directory: '../../VERSION'", Some("`also = [\"VERSION\"]`")),
            ("error: ../cmake/other.cmake: no such file", None),
            ("src/../x.cpp: error", None),
        ] {
            let explained = output([line.to_owned()]).explanation(&paths, "build-nav: RUN build-package nav");
            assert_eq!(explained.get(1).is_some(), also.is_some(), "{explained:?}");
            assert!(also.is_none_or(|also| explained[1].contains(also)), "{explained:?}");
        }
        Ok(())
    }

    #[test]
    fn what_colcon_repeats_is_not_shown() {
        let said =
            ["x.cpp:1:2: error: oh", "--- stderr: navigation", "x.cpp:1:2: error: oh", "---", "SyntaxError"];
        let said = output(said.map(Into::into));
        assert_eq!(said.explanation(&Paths::default(), ""), ["x.cpp:1:2: error: oh", "SyntaxError"]);
    }

    #[test]
    fn steps_are_called_by_their_packages() {
        assert_eq!(in_words("build-navigation: RUN build-package navigation"), "building `navigation`");
        assert_eq!(in_words("test-navigation: RUN test-package navigation"), "testing `navigation`");
        let step = "build-tools: RUN install-wheels";
        assert_eq!(in_words(step), format!("the step `{step}`"));
    }
}
