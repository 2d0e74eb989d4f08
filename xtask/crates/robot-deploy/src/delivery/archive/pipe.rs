//! `docker save` on one side, `docker load` on the other, and this program between them.

use std::io::{self, PipeReader, PipeWriter, Write};

use anyhow::Context as _;

use super::{Failure, Result, Session, process};
use crate::error::has_kind;
use crate::process::Cmd;

/// Lets `work` read what `producer` writes and write what `consumer` on the robot reads. Whoever failed first
/// explains the failure.
///
/// # Errors
/// Fails when one of the two commands fails, the connection drops, or `work` fails.
pub fn pipe<T>(
    session: &Session,
    consumer: &Cmd,
    producer: &Cmd,
    work: impl FnOnce(&mut io::BufReader<PipeReader>, PipeWriter) -> Result<T>,
) -> Result<T> {
    write_to(session, consumer, |sink| read_from(producer, |source| work(source, sink)))
}

/// Lets `work` read what `producer` writes.
///
/// # Errors
/// Fails when `producer` or `work` fails.
pub fn read_from<T>(
    producer: &Cmd,
    work: impl FnOnce(&mut io::BufReader<PipeReader>) -> Result<T>,
) -> Result<T> {
    let (child, words, mut source) = producer.converse()?;
    drop(words);
    let result = work(&mut source);
    if result.is_ok() {
        // Archives end in padding: who writes it must not find that nobody reads any more.
        let _padding = io::copy(&mut source, &mut io::sink()).context("read an archive to its end")?;
    }
    drop(source);
    match result {
        // What it wrote broke off: its own words say why.
        Err(error) if !has_kind(&error, io::ErrorKind::BrokenPipe) && !child.is_running() => {
            child.wait()?;
            Err(error)
        }
        Err(error) => Err(error),
        Ok(value) => child.wait().map(|()| value),
    }
}

/// Lets `work` write what `consumer` on the robot reads.
///
/// # Errors
/// As [`pipe`].
pub fn write_to<T>(
    session: &Session,
    consumer: &Cmd,
    work: impl FnOnce(PipeWriter) -> Result<T>,
) -> Result<T> {
    let (child, sink, mut answers) = consumer.converse()?;
    let listening = std::thread::spawn(move || {
        drop(io::copy(&mut answers, &mut io::sink()));
    });
    let result = work(sink);
    process::check_interrupted()?;
    let ended = match &result {
        Err(error) if !has_kind(error, io::ErrorKind::BrokenPipe) => Ok(()),
        _ => child.wait(),
    };
    drop(child);
    drop(listening.join());
    process::check_interrupted()?;
    let error = match (ended, result) {
        (Ok(()), Ok(value)) => return Ok(value),
        (Err(error), _) | (Ok(()), Err(error)) => error,
    };
    if matches!(session.ensure_connected(), Ok(false)) {
        return Err(error);
    }
    process::check_interrupted()?;
    Err(Failure::unreachable(format!(
        "the connection to `{}` dropped while the archive was sent",
        session.robot()
    ))
    .hint("run the same command again: an archive starts anew, `--via registry` goes on where it was")
    .because(error)
    .into())
}

/// A writer that shows what goes through it.
pub struct Observed<W, F> {
    inner: W,
    show: F,
}

impl<W, F: FnMut(&[u8])> Observed<W, F> {
    /// Around `inner`.
    pub fn new(inner: W, show: F) -> Self {
        Self { inner, show }
    }
}

impl<W: Write, F: FnMut(&[u8])> Write for Observed<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        (self.show)(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
