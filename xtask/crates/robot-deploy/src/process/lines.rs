//! What a child says, line by line, for those who will not wait for ever.

use std::io::{BufRead, BufReader, PipeReader, Read as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{Child, interrupt};
use crate::error::Result;

/// Bytes that a line may have, as people and scripts write them.
pub const LINE: usize = 1 << 20;

/// Lines without a meaning that a login shell may print before what was asked for, and between.
pub const GREETING: usize = 10_000;

/// How long a child may say nothing before somebody looks whether this run has been interrupted.
const QUIET: Duration = Duration::from_millis(100);

/// Passes on what a child says, without the ends of the lines; the end of that is the end of the lines. What is not
/// UTF-8 is replaced: a robot's logs may have anything in them. The child waits for whoever listens, and a line of more
/// than `limit` bytes ends it.
pub fn lines(child: &Child, answers: BufReader<PipeReader>, limit: usize) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    let end = child.end_for();
    std::thread::spawn(move || {
        if !pass_on(answers, limit, &sender) {
            end(format!("it wrote a line of more than {} MiB", limit >> 20));
        }
    });
    receiver
}

/// Passes on lines until there are none, or nobody wants them; tells whether all of them were short enough.
fn pass_on(mut answers: impl BufRead, limit: usize, sender: &SyncSender<String>) -> bool {
    while let Ok(Some((line, is_whole))) = piece(&mut answers, limit) {
        if !is_whole {
            return false;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if sender.send(String::from_utf8_lossy(line).into_owned()).is_err() {
            break;
        }
    }
    true
}

/// The next line, without its end, or as much of it as `limit` bytes, and whether that is all of it; none at the end.
///
/// # Errors
/// Fails when nothing can be read.
pub fn piece(reader: &mut impl BufRead, limit: usize) -> std::io::Result<Option<(Vec<u8>, bool)>> {
    let mut line = Vec::new();
    if reader.take(limit as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let has_end = line.pop_if(|last| *last == b'\n').is_some();
    let is_whole = has_end || line.len() < limit;
    Ok(Some((line, is_whole)))
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Lines without an end, counted by the first byte of each.
    struct Endless(Arc<AtomicUsize>);

    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let _before = self.0.fetch_add(1, Ordering::SeqCst);
            buffer[..2].copy_from_slice(b"x\n");
            Ok(2)
        }
    }

    #[test]
    fn whoever_says_more_than_is_listened_to_has_to_wait() {
        let said = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = sync_channel(1);
        let endless = BufReader::new(Endless(said.clone()));
        let speaking = std::thread::spawn(move || pass_on(endless, LINE, &sender));
        for _ in 0..1000 {
            assert_eq!(receiver.recv().unwrap(), "x");
        }
        drop(receiver);
        assert!(speaking.join().unwrap(), "it was not the line");
        assert!(said.load(Ordering::SeqCst) <= 1003);
    }

    #[test]
    fn a_line_is_cut_where_it_gets_too_long() -> Result<()> {
        let mut reader = Cursor::new("four\nfives\n\nend");
        let mut pieces = Vec::new();
        while let Some((piece, is_whole)) = piece(&mut reader, 5)? {
            pieces.push((String::from_utf8(piece)?, is_whole));
        }
        let expected = [("four", true), ("fives", false), ("", true), ("", true), ("end", true)];
        assert_eq!(pieces, expected.map(|(text, is_whole)| (text.to_owned(), is_whole)));
        Ok(())
    }
}
