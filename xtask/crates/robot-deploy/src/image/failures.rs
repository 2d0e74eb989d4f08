//! Failed steps of a build: what they printed, for people who know their packages and not BuildKit.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Workspace;

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
pub(super) struct Paths(Vec<(String, String)>);

impl Paths {
    pub(super) fn of(workspace: &Workspace) -> Self {
        let source = |package: &crate::config::Package| {
            let dir = workspace.project.sources().join(&package.dir);
            let here = format!("{}/", workspace.relative(&dir));
            let there = ["/ws/build/src", "/ws/src"].map(|place| format!("{place}/{}/", package.name));
            there.map(|there| (there, here.clone()))
        };
        Self(workspace.packages.iter().flat_map(source).collect())
    }

    fn here(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, (there, here)| line.replace(there, here))
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
    pub(super) fn explanation(&self, paths: &Paths) -> Vec<String> {
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

/// Describes a step for people; the generated Dockerfile has a stage for each package.
pub(super) fn in_words(title: &str) -> String {
    let stage = title.split(':').next().unwrap_or_default();
    match (stage.strip_prefix("build-"), stage.strip_prefix("test-")) {
        (Some(package), _) if title.contains("build-package") => format!("building `{package}`"),
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
        let paths = Paths(vec![("/ws/build/src/navigation/".into(), "ros_ws/src/nav/navigation/".into())]);
        let said = output(
            ["In file included", "/ws/build/src/navigation/src/x.cpp:12:5: error: oh"].map(Into::into),
        );
        assert_eq!(
            said.explanation(&paths),
            ["In file included", "ros_ws/src/nav/navigation/src/x.cpp:12:5: error: oh"]
        );
    }

    #[test]
    fn a_long_output_is_shown_from_its_first_error_on() {
        let lines = (0..500).map(|number| match number {
            100 => "x.cpp:1:2: error: first".to_owned(),
            number => format!("line {number}"),
        });
        let lines = output(lines).explanation(&Paths::default());
        assert_eq!((lines[0].as_str(), lines[3].as_str()), ("line 97", "x.cpp:1:2: error: first"));
        assert_eq!((lines.len(), lines[60].as_str()), (61, "… 343 more lines"));
        let lines = output((0..500).map(|number| format!("line {number}"))).explanation(&Paths::default());
        assert_eq!((lines.len(), lines[59].as_str()), (60, "line 499"));
    }

    #[test]
    fn a_compiler_without_memory_is_named() {
        let said = output(["c++: fatal error: Killed signal terminated program cc1plus"].map(Into::into));
        assert!(said.explanation(&Paths::default())[1].contains("`jobs = 1`"));
    }

    #[test]
    fn what_colcon_repeats_is_not_shown() {
        let said =
            ["x.cpp:1:2: error: oh", "--- stderr: navigation", "x.cpp:1:2: error: oh", "---", "SyntaxError"];
        let said = output(said.map(Into::into));
        assert_eq!(said.explanation(&Paths::default()), ["x.cpp:1:2: error: oh", "SyntaxError"]);
    }

    #[test]
    fn steps_are_called_by_their_packages() {
        assert_eq!(in_words("build-navigation: RUN build-package navigation"), "building `navigation`");
        assert_eq!(in_words("test-navigation: RUN test-package navigation"), "testing `navigation`");
        let step = "build-tools: RUN install-wheels";
        assert_eq!(in_words(step), format!("the step `{step}`"));
    }
}
