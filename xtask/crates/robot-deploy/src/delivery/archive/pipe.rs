//! Pipe from `docker save` on this machine through this program to `docker load` on the robot.

use std::io::{self, PipeReader, PipeWriter, Write};

use anyhow::Context as _;

use super::{Failure, Result, Session, process};
use crate::error::has_kind;
use crate::process::Cmd;

/// Runs `work` with the output of `producer` and the input of `consumer` on the robot.
///
/// # Errors
/// The error of the first one that failed; [`Exit::Unreachable`](crate::error::Exit::Unreachable) if the
/// connection dropped.
pub(super) fn pipe<T>(
    session: &Session,
    consumer: &Cmd,
    producer: &Cmd,
    work: impl FnOnce(&mut io::BufReader<PipeReader>, PipeWriter) -> Result<T>,
) -> Result<T> {
    write_to(session, consumer, |sink| read_from(producer, |source| work(source, sink)))
}

/// Runs `work` with the output of `producer`.
pub(crate) fn read_from<T>(
    producer: &Cmd,
    work: impl FnOnce(&mut io::BufReader<PipeReader>) -> Result<T>,
) -> Result<T> {
    let (child, stdin, mut source) = producer.converse()?;
    drop(stdin);
    let result = work(&mut source);
    if result.is_ok() {
        // Reads the padding at the end of the archive: else `producer` would fail with a broken pipe.
        io::copy(&mut source, &mut io::sink()).context("read an archive to its end")?;
    }
    drop(source);
    match result {
        // The output broke off: the error of `producer` is the reason.
        Err(error) if !has_kind(&error, io::ErrorKind::BrokenPipe) && !child.is_running() => {
            child.wait()?;
            Err(error)
        }
        Err(error) => Err(error),
        Ok(value) => child.wait().map(|()| value),
    }
}

/// Runs `work` with the input of `consumer` on the robot. Errors are those of `pipe`.
pub(crate) fn write_to<T>(
    session: &Session,
    consumer: &Cmd,
    work: impl FnOnce(PipeWriter) -> Result<T>,
) -> Result<T> {
    let (child, sink, mut answers) = consumer.converse()?;
    let discarding = std::thread::spawn(move || io::copy(&mut answers, &mut io::sink()).ok());
    let result = work(sink);
    process::check_interrupted()?;
    let ended = match &result {
        Err(error) if !has_kind(error, io::ErrorKind::BrokenPipe) => Ok(()),
        _ => child.wait(),
    };
    drop(child);
    discarding.join().ok();
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
    .hint("run the same command again: an archive starts from its beginning, `--via registry` resumes")
    .because(error)
    .into())
}

/// A writer that passes the written bytes to a function.
pub(crate) struct Observed<W, F> {
    inner: W,
    observe: F,
}

impl<W, F: FnMut(&[u8])> Observed<W, F> {
    pub(crate) fn new(inner: W, observe: F) -> Self {
        Self { inner, observe }
    }
}

impl<W: Write, F: FnMut(&[u8])> Write for Observed<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        (self.observe)(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
