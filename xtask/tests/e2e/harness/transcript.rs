//! Runs and notes of the test of this thread, for those who have to find out why it failed.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

/// A run of `xtask`: its command line, where its stdout goes and where its stderr does.
#[derive(Clone)]
pub struct Log {
    pub line: String,
    pub files: [PathBuf; 2],
}

impl Log {
    /// Everything that it has written.
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

/// Tells something of the test of this thread: a seed, a figure. It stands below the test's line.
pub fn note(text: impl Into<String>) {
    CURRENT.with_borrow_mut(|transcript| transcript.notes.push(text.into()));
}

/// A run has begun in this thread.
pub fn began(line: &str, files: [&Path; 2]) {
    let log = Log { line: line.to_owned(), files: files.map(Path::to_owned) };
    CURRENT.with_borrow_mut(|transcript| transcript.runs.push(log));
}

/// Ends the transcript of this thread's test, and begins the next.
pub fn take() -> Transcript {
    CURRENT.take()
}

/// Has panics noted in place of written to stderr, where those of several tests would mix.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| payload.downcast_ref::<&str>().copied());
        note(format!("{place}: {}", message.unwrap_or("a panic without words")));
    }));
}
