//! Output of a child line by line, in a way that a signal can interrupt.

use std::io::{BufRead, BufReader, PipeReader, Read as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{Child, interrupt};
use crate::error::Result;

/// Longest line in bytes that scripts and logs may have.
pub const LINE: usize = 1 << 20;

/// Most unknown lines that a login shell may print before and between the lines of a script.
pub const GREETING: usize = 10_000;

/// Interval at which a wait checks whether this run has been interrupted.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Reads the child's output line by line in a thread and sends the lines, without line endings, to the
/// returned channel.
///
/// Invalid UTF-8 is replaced: a robot's logs may contain anything. The channel holds one line, so a slow
/// receiver slows down the child. A line longer than `limit` bytes kills the child.
pub fn lines(child: &Child, answers: BufReader<PipeReader>, limit: usize) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    let kill = child.killer();
    std::thread::spawn(move || {
        if !send_lines(answers, limit, &sender) {
            kill(format!("it wrote a line of more than {} MiB", limit >> 20));
        }
    });
    receiver
}

/// Sends lines until the output ends or the receiver is gone; returns false when a line was longer than
/// `limit`.
fn send_lines(mut answers: impl BufRead, limit: usize, sender: &SyncSender<String>) -> bool {
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

/// Reads the next line, without its ending and at most `limit` bytes of it, and returns it with a flag that
/// tells whether it is the whole line; `None` at the end of the output.
pub fn piece(reader: &mut impl BufRead, limit: usize) -> std::io::Result<Option<(Vec<u8>, bool)>> {
    let mut line = Vec::new();
    if reader.take(limit as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let has_end = line.pop_if(|last| *last == b'\n').is_some();
    let is_whole = has_end || line.len() < limit;
    Ok(Some((line, is_whole)))
}

/// Waits for the next line; `None` at the end of the output. Fails only after a signal.
pub fn next_line(lines: &Receiver<String>) -> Result<Option<String>> {
    Ok(receive(lines, None)?.ok())
}

/// Waits for a value, for at most `timeout` if there is one. The outer result fails only after a signal.
pub(crate) fn receive<T>(
    values: &Receiver<T>,
    timeout: Option<Duration>,
) -> Result<Result<T, RecvTimeoutError>> {
    let begin = Instant::now();
    loop {
        let left = timeout.unwrap_or(Duration::MAX).saturating_sub(begin.elapsed());
        match values.recv_timeout(left.min(CHECK_INTERVAL)) {
            Err(RecvTimeoutError::Timeout) if left > CHECK_INTERVAL => interrupt::check()?,
            Err(error) => return interrupt::check().map(|()| Err(error)),
            Ok(value) => return Ok(Ok(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Endless lines; counts the reads, one for each line.
    struct Endless(Arc<AtomicUsize>);

    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.fetch_add(1, Ordering::SeqCst);
            buffer[..2].copy_from_slice(b"x\n");
            Ok(2)
        }
    }

    #[test]
    fn a_slow_receiver_slows_down_the_child() {
        let count = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = sync_channel(1);
        let endless = BufReader::new(Endless(count.clone()));
        let writing = std::thread::spawn(move || send_lines(endless, LINE, &sender));
        for _ in 0..1000 {
            assert_eq!(receiver.recv().unwrap(), "x");
        }
        drop(receiver);
        assert!(writing.join().unwrap(), "no line was too long");
        assert!(count.load(Ordering::SeqCst) <= 1003);
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
