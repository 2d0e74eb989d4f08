//! Runs and notes of this thread's test, to find out why it failed.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

/// A run of `xtask`: its command line, and the files of its stdout and stderr.
#[derive(Clone)]
pub struct Log {
    pub line: String,
    pub files: [PathBuf; 2],
}

impl Log {
    /// Everything that the run has written.
    pub fn text(&self) -> String {
        let [stdout, stderr] =
            self.files.each_ref().map(|file| fs::read(file).unwrap_or_else(|error| error.to_string().into()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("$ {}\n--- stdout\n{}--- stderr\n{}", self.line, text(&stdout), text(&stderr))
    }
}

/// Notes and runs of one test.
#[derive(Default)]
pub struct Transcript {
    pub notes: Vec<String>,
    pub runs: Vec<Log>,
}

thread_local! {
    static CURRENT: RefCell<Transcript> = RefCell::default();
}

/// Adds a note to this thread's test, such as a seed or a number; it is printed below the test's line.
pub fn note(text: impl Into<String>) {
    CURRENT.with_borrow_mut(|transcript| transcript.notes.push(text.into()));
}

/// Records a run of this thread.
pub fn began(line: &str, files: [&Path; 2]) {
    let log = Log { line: line.to_owned(), files: files.map(Path::to_owned) };
    CURRENT.with_borrow_mut(|transcript| transcript.runs.push(log));
}

/// Returns the transcript of this thread's test, and starts a new one.
pub fn take() -> Transcript {
    CURRENT.take()
}

/// Records panics as notes. On stderr, those of several tests would mix.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| payload.downcast_ref::<&str>().copied());
        note(format!("{place}: {}", message.unwrap_or("a panic without words")));
    }));
}
