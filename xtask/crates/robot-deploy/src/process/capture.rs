//! Captured output of children, with limits: a child may write more than fits into memory.

use std::collections::VecDeque;
use std::io::{PipeReader, Read as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Largest captured stdout in bytes: enough for a list of 50,000 files or a history of years. Parsed, it may
/// take fifty times as much memory.
pub(super) const ANSWER: usize = 4 << 20;

/// Number of bytes kept of stderr: the last ones.
pub(super) const STDERR_TAIL: usize = 1 << 20;

/// Output that a background thread reads while the caller waits for the child.
#[derive(Debug)]
pub(super) struct Capture(Receiver<Vec<u8>>);

impl Capture {
    /// Runs `read` in a thread.
    pub(super) fn new(read: impl FnOnce() -> Vec<u8> + Send + 'static) -> Self {
        let (sender, bytes) = channel();
        // Nobody receives the output of a command that missed its deadline.
        std::thread::spawn(move || drop(sender.send(read())));
        Self(bytes)
    }

    /// Captures stdout. Output longer than [`ANSWER`] kills the command; the result is then longer than
    /// [`ANSWER`], too.
    pub(super) fn of_answer(pipe: PipeReader, command: &Arc<duct::Handle>) -> Self {
        let command = command.clone();
        Self::new(move || {
            let mut bytes = Vec::new();
            let limit = ANSWER as u64 + 1;
            // After a read error the output up to it is used.
            if pipe.take(limit).read_to_end(&mut bytes).is_err() || bytes.len() > ANSWER {
                drop(command.kill());
            }
            bytes
        })
    }

    /// Captures the last bytes of stderr.
    pub(super) fn of_stderr(mut pipe: PipeReader) -> Self {
        Self::new(move || {
            let mut tail = Tail::default();
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                tail.add(&buffer[..count]);
            }
            tail.into_bytes()
        })
    }

    /// Waits for the end of the output and returns it; `None` on a second call, or when another process still
    /// holds the pipe open at the deadline.
    pub(super) fn end(&self, deadline: Option<Instant>) -> Option<Vec<u8>> {
        match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // End-of-file arrives shortly after the child has ended.
                self.0.recv_timeout(left.max(Duration::from_secs(1))).ok()
            }
            None => self.0.recv().ok(),
        }
    }
}

/// A buffer that keeps the last bytes added to it.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let too_many = self.0.len().saturating_sub(STDERR_TAIL);
        drop(self.0.drain(..too_many));
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into()
    }
}
