//! Parcels: what a robot needs to make a layer that it lacks, as a file that can be sent while it grows.
//!
//! A parcel is steps, one after another, numbers little-endian:
//!
//! - `C`, basis `u16`, offset `u64`, length `u64`: copy these bytes of a layer that the robot has;
//! - `F`, pieces `u16`, bytes it makes `u32`, bytes of the frame `u32`; per piece basis `u16`, offset `u64`,
//!   length `u32`; a zstd frame (RFC 8878) whose prefix is the pieces, one after another;
//! - `E`: the end.
//!
//! The same layer, recipe and library make the same bytes, whenever and however often: an interrupted transfer
//! goes on where it stopped, and several robots are sent the same file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

use super::plan::{DeltaPlan, Op, Span};
use crate::digest::is_hex;
use crate::error::Result;
use crate::process;

/// Transport hard frames are compressed: a whole layer of 100 MB takes a second of two cores, and a stronger level
/// would gain a percent.
const LEVEL: i32 = 9;

/// The level of small changes, which are over in no time.
const LEVEL_SMALL: i32 = 19;

/// What counts as small, in bytes that the frames make and refer to.
const SMALL: u64 = 2 << 20;

/// Frames that may be ready before their turn has come, per thread.
const AHEAD: usize = 2;

/// How much may be made of a parcel before it is announced, and how long a follower waits at a time.
const PATIENCE: Duration = Duration::from_millis(200);

/// The part of a parcel that tells how large the rest will be.
const BEGUN: u64 = 50;

/// Hexadecimal digits of a parcel's name, which is a hash of what it is made of.
pub const NAME: usize = 32;

/// Bytes of the checksum behind a parcel that is kept.
const SUM: u64 = 4;

/// Returns whether a text can be the name of a parcel.
pub fn is_name(text: &str) -> bool {
    is_hex(text, NAME)
}

/// What a parcel is made of.
#[derive(Debug)]
pub struct Inputs {
    /// The layer.
    pub layer: Utf8PathBuf,
    /// The layers that the recipe counts; nothing for one that is not on this machine.
    pub bases: Vec<Option<Utf8PathBuf>>,
    /// Transport.
    pub plan: DeltaPlan,
}

/// How far the making has come.
#[derive(Clone, Debug, Default)]
struct State {
    written: u64,
    /// Bytes of the layer that frames make, up to now and in all.
    made: (u64, u64),
    ended: bool,
    failure: Option<String>,
}

/// A parcel that is being made, or is there.
#[derive(Debug)]
pub struct DeltaFile {
    /// What it is called: the same name means the same bytes.
    pub name: String,
    file: File,
    state: Mutex<State>,
    more: Condvar,
}

impl DeltaFile {
    /// One that an earlier run has made, unless it has been damaged since.
    pub fn kept(dir: &Utf8Path, name: &str) -> Option<Self> {
        let file = File::open(dir.join(name)).ok()?;
        let written = intact(&file)?;
        // So that it counts as used.
        drop(file.set_modified(std::time::SystemTime::now()));
        let state = Mutex::new(State { written, ended: true, ..State::default() });
        Some(Self { name: name.to_owned(), file, state, more: Condvar::new() })
    }

    /// One that [`DeltaFile::make`] will fill, and the file to be filled.
    ///
    /// # Errors
    /// Fails when no file can be made in `dir`.
    pub fn empty(dir: &Utf8Path, name: &str) -> Result<(Self, tempfile::NamedTempFile)> {
        fs_err::create_dir_all(dir)?;
        let target =
            tempfile::NamedTempFile::new_in(dir).with_context(|| format!("make a file in `{dir}`"))?;
        let file = target.reopen().context("open a delta file")?;
        let state = Mutex::new(State::default());
        Ok((Self { name: name.to_owned(), file, state, more: Condvar::new() }, target))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something from `position` on, or the end. Gives the bytes that are there, and
    /// whether they are all.
    ///
    /// # Errors
    /// Fails when the parcel cannot be made, or the run is interrupted.
    pub fn wait(&self, position: u64) -> Result<(u64, bool)> {
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failure {
                anyhow::bail!(failure.clone());
            }
            if state.ended || state.written > position {
                return Ok((state.written, state.ended));
            }
            process::check_interrupted()?;
            state = self.more.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end; gives the parcel's size in bytes.
    ///
    /// # Errors
    /// As [`DeltaFile::wait`].
    pub fn size(&self) -> Result<u64> {
        self.wait(u64::MAX).map(|(written, _)| written)
    }

    /// Its size, if it is known already.
    pub fn size_so_far(&self) -> (u64, bool) {
        let state = self.state();
        (state.written, state.ended)
    }

    /// Its size as it looks now; none before anything can be said.
    pub fn expected(&self) -> Option<u64> {
        let State { written, made: (made, all), ended, .. } = *self.state();
        if ended {
            return Some(written);
        }
        let share = u128::from(written) * u128::from(all);
        let size = share.checked_div(made.into()).and_then(|size| u64::try_from(size).ok());
        size.filter(|_| made >= all / BEGUN)
    }

    /// Whether it could not be made.
    pub fn has_failed(&self) -> bool {
        self.state().failure.is_some()
    }

    /// Reads bytes that are there.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn read(&self, buffer: &mut [u8], position: u64) -> Result<()> {
        self.file.read_exact_at(buffer, position).context("read a delta file")
    }

    /// Fills the parcel, on all cores, and keeps it in `dir` once it is complete.
    pub fn make(&self, inputs: &Inputs, target: tempfile::NamedTempFile, dir: &Utf8Path) {
        let result = self.fill(inputs, &target, dir).and_then(|()| {
            target
                .persist(dir.join(&self.name))
                .map(drop)
                .with_context(|| format!("keep a delta file in `{dir}`"))
        });
        let mut state = self.state();
        state.failure = result.err().map(|error| format!("{error:#}"));
        state.ended = true;
        self.more.notify_all();
    }

    fn fill(&self, inputs: &Inputs, target: &tempfile::NamedTempFile, dir: &Utf8Path) -> Result<()> {
        let sources = Sources::open(inputs)?;
        let full = || format!("this machine cannot write to `{dir}`");
        let ops = &inputs.plan.ops;
        let level = level(ops);
        let line = Line::default();
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers.min(ops.len()) {
                scope.spawn(|| line.work(ops, &sources, level, workers * AHEAD));
            }
            // However this ends, nobody is to wait for a turn that does not come.
            let _closing = Closing(&line);
            let mut out = target.as_file();
            let mut sum = crc32fast::Hasher::new();
            self.state().made.1 = ops.iter().map(makes).sum();
            for (number, op) in ops.iter().enumerate() {
                process::check_interrupted()?;
                let bytes = line.take(number)?;
                out.write_all(&bytes).with_context(full)?;
                sum.update(&bytes);
                self.wrote(bytes.len(), makes(op));
            }
            sum.update(b"E");
            out.write_all(b"E").with_context(full)?;
            // Not part of the parcel: by it the file is known to be whole, in a later run.
            let sum = sum.finalize().to_le_bytes();
            out.write_all(&sum).with_context(full)?;
            self.wrote(1, 0);
            Ok(())
        })
    }

    fn wrote(&self, bytes: usize, made: u64) {
        let mut state = self.state();
        state.written += bytes as u64;
        state.made.0 += made;
        drop(state);
        self.more.notify_all();
    }
}

/// The bytes of a parcel that is kept as a file, which ends with a checksum over them; none where that is not
/// so.
fn intact(file: &File) -> Option<u64> {
    let size = file.metadata().ok()?.len().checked_sub(SUM)?;
    let (mut sum, mut position, mut buffer) = (crc32fast::Hasher::new(), 0, vec![0; 1 << 20]);
    while position < size {
        let count = buffer.len().min(usize::try_from(size - position).ok()?);
        file.read_exact_at(&mut buffer[..count], position).ok()?;
        sum.update(&buffer[..count]);
        position += count as u64;
    }
    let mut written = [0; SUM as usize];
    file.read_exact_at(&mut written, size).ok()?;
    (u32::from_le_bytes(written) == sum.finalize()).then_some(size)
}

/// Bytes of the layer that have to be encoded for a step.
fn makes(op: &Op) -> u64 {
    match op {
        Op::Copy(_) => 0,
        Op::Frame { made, .. } => made.end - made.start,
    }
}

fn level(ops: &[Op]) -> i32 {
    let bytes = ops.iter().map(|op| match op {
        Op::Copy(_) => 0,
        Op::Frame { prefix, made } => {
            made.end - made.start + prefix.iter().map(|span| span.range.end - span.range.start).sum::<u64>()
        }
    });
    if bytes.sum::<u64>() <= SMALL { LEVEL_SMALL } else { LEVEL }
}

/// The layer and its bases, open.
struct Sources {
    layer: File,
    bases: Vec<Option<File>>,
}

impl Sources {
    fn open(inputs: &Inputs) -> Result<Self> {
        let open = |path: &Utf8PathBuf| File::open(path).with_context(|| format!("open `{path}`"));
        let bases = inputs.bases.iter().map(|path| path.as_ref().map(open).transpose());
        Ok(Self { layer: open(&inputs.layer)?, bases: bases.collect::<Result<_>>()? })
    }

    fn span(&self, span: &Span, buffer: &mut Vec<u8>) -> Result<()> {
        let (file, start) = match (span.twin, self.bases.get(span.basis)) {
            (Some(twin), _) => (&self.layer, twin),
            (None, Some(Some(file))) => (file, span.range.start),
            (None, _) => anyhow::bail!("a layer that the delta refers to is not here"),
        };
        append(file, start, span.range.end - span.range.start, buffer)
    }

    /// A step as it stands in the parcel.
    fn encode(&self, op: &Op, level: i32) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match op {
            Op::Copy(span) => {
                out.push(b'C');
                out.extend(u16::try_from(span.basis)?.to_le_bytes());
                out.extend(span.range.start.to_le_bytes());
                out.extend((span.range.end - span.range.start).to_le_bytes());
            }
            Op::Frame { prefix, made } => {
                let (mut before, mut content) = (Vec::new(), Vec::new());
                for span in prefix {
                    self.span(span, &mut before)?;
                }
                append(&self.layer, made.start, made.end - made.start, &mut content)?;
                let frame = compress(&content, &before, level)?;
                out.push(b'F');
                out.extend(u16::try_from(prefix.len())?.to_le_bytes());
                out.extend(u32::try_from(content.len())?.to_le_bytes());
                out.extend(u32::try_from(frame.len())?.to_le_bytes());
                for span in prefix {
                    out.extend(u16::try_from(span.basis)?.to_le_bytes());
                    out.extend(span.range.start.to_le_bytes());
                    out.extend(u32::try_from(span.range.end - span.range.start)?.to_le_bytes());
                }
                out.extend(frame);
            }
        }
        Ok(out)
    }
}

fn append(file: &File, start: u64, bytes: u64, buffer: &mut Vec<u8>) -> Result<()> {
    let begin = buffer.len();
    buffer.resize(begin + usize::try_from(bytes)?, 0);
    file.read_exact_at(&mut buffer[begin..], start).context("read a layer: it is shorter than it was")
}

/// One frame that refers to a prefix.
fn compress(content: &[u8], prefix: &[u8], level: i32) -> Result<Vec<u8>> {
    let failed = |code| anyhow::anyhow!("zstd: {}", zstd::zstd_safe::get_error_name(code));
    let mut context = CCtx::create();
    // The window has to reach from the end of the content to the beginning of the prefix.
    let window = (content.len() + prefix.len()).max(1024).ilog2() + 1;
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window),
        CParameter::EnableLongDistanceMatching(!prefix.is_empty()),
        CParameter::ContentSizeFlag(true),
    ] {
        let _value = context.set_parameter(parameter).map_err(failed)?;
    }
    if !prefix.is_empty() {
        let _size = context.ref_prefix(prefix).map_err(failed)?;
    }
    let mut frame = Vec::with_capacity(compress_bound(content.len()));
    let _size = context.compress2(&mut frame, content).map_err(failed)?;
    Ok(frame)
}

/// Steps that are encoded by several threads and taken in order.
#[derive(Default)]
struct Line {
    next: AtomicUsize,
    ready: Mutex<Ready>,
    change: Condvar,
}

#[derive(Default)]
struct Ready {
    ops: BTreeMap<usize, Result<Vec<u8>>>,
    taken: usize,
    closed: bool,
}

impl Line {
    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, ops: &[Op], sources: &Sources, level: i32, ahead: usize) {
        let _panicking = Panicking(self);
        while let number = self.next.fetch_add(1, Ordering::Relaxed)
            && let Some(op) = ops.get(number)
        {
            let too_far = |ready: &mut Ready| number > ready.taken + ahead && !ready.closed;
            let waited = self.change.wait_while(self.ready(), too_far);
            if waited.unwrap_or_else(PoisonError::into_inner).closed {
                return;
            }
            let bytes = sources.encode(op, level);
            self.ready().ops.insert(number, bytes);
            self.change.notify_all();
        }
    }

    fn take(&self, number: usize) -> Result<Vec<u8>> {
        let missing = |ready: &mut Ready| !ready.ops.contains_key(&number) && !ready.closed;
        let mut ready = self.change.wait_while(self.ready(), missing).unwrap_or_else(PoisonError::into_inner);
        let bytes = ready.ops.remove(&number).context("encode a step")?;
        ready.taken = number + 1;
        self.change.notify_all();
        bytes
    }
}

/// A worker that panics must not leave those waiting who want its step.
struct Panicking<'a>(&'a Line);

impl Drop for Panicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(Closing(self.0));
        }
    }
}

struct Closing<'a>(&'a Line);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.ready().closed = true;
        self.0.change.notify_all();
    }
}
