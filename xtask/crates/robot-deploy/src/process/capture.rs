//! Output of children, as far as it is kept: they may write more than any memory holds.

use std::collections::VecDeque;
use std::io::{PipeReader, Read as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Bytes that an answer may have: a list of 50,000 files, say, or a diary of years. What is made of it in memory may
/// take fifty times as much.
pub(super) const ANSWER: usize = 4 << 20;

/// Bytes that are kept of what is said for people: the last ones.
pub(super) const LAST_WORDS: usize = 1 << 20;

/// Bytes that a thread reads while others wait for the end.
#[derive(Debug)]
pub(super) struct Capture(Receiver<Vec<u8>>);

impl Capture {
    /// Reads what `read` makes of a pipe.
    pub(super) fn new(read: impl FnOnce() -> Vec<u8> + Send + 'static) -> Self {
        let (sender, bytes) = channel();
        // Nobody waits any more for a command that was given up.
        std::thread::spawn(move || drop(sender.send(read())));
        Self(bytes)
    }

    /// An answer. One that is longer than [`ANSWER`] ends the command, and is longer here as well.
    pub(super) fn of_answer(pipe: PipeReader, command: &Arc<duct::Handle>) -> Self {
        let command = command.clone();
        Self::new(move || {
            let mut bytes = Vec::new();
            let limit = ANSWER as u64 + 1;
            // What cannot be read any more is as if it had not been written.
            if pipe.take(limit).read_to_end(&mut bytes).is_err() || bytes.len() > ANSWER {
                drop(command.kill());
            }
            bytes
        })
    }

    /// The last words.
    pub(super) fn of_words(mut pipe: PipeReader) -> Self {
        Self::new(move || {
            let mut words = Tail::default();
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                words.add(&buffer[..count]);
            }
            words.into_bytes()
        })
    }

    /// Returns what was read, at the end, once; none where somebody still holds the pipe at the deadline.
    pub(super) fn end(&self, deadline: Option<Instant>) -> Option<Vec<u8>> {
        match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // The pipe's end comes a moment after the child's.
                self.0.recv_timeout(left.max(Duration::from_secs(1))).ok()
            }
            None => self.0.recv().ok(),
        }
    }
}

/// The last bytes of all that were added.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let too_many = self.0.len().saturating_sub(LAST_WORDS);
        drop(self.0.drain(..too_many));
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into()
    }
}
