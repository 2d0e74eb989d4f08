//! What a child says, line by line, for those who will not wait for ever.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::interrupt;
use crate::error::Result;

/// How long a child may say nothing before somebody looks whether this run has been interrupted.
const QUIET: Duration = Duration::from_millis(100);

/// Passes on what a child says, without the ends of the lines; the end of that is the end of the lines. What is not
/// UTF-8 is replaced: a robot's logs may have anything in them.
pub fn lines(answers: BufReader<PipeReader>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in answers.split(b'\n').map_while(std::io::Result::ok) {
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if sender.send(String::from_utf8_lossy(line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for the next of them; none when there are no more.
///
/// # Errors
/// Fails when the run is interrupted.
pub fn next_line(lines: &Receiver<String>) -> Result<Option<String>> {
    loop {
        match lines.recv_timeout(QUIET) {
            Ok(line) => return Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
            Err(RecvTimeoutError::Disconnected) => return interrupt::check().map(|()| None),
        }
    }
}
