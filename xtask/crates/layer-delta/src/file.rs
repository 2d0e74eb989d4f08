//! Delta files: encoded plans. A delta file can be sent while it is being written.
//!
//! A delta is a list of operations, with little-endian numbers:
//!
//! - `C`, basis `u16`, offset `u64`, length `u64`: copy these bytes of a basis;
//! - `F`, number of spans `u16`, bytes of the result `u32`, bytes of the frame `u32`; for each span basis
//!   `u16`, offset `u64`, length `u32`; then a zstd frame (RFC 8878), whose prefix is the concatenated spans;
//! - `E`: the end.
//!
//! The same layer, plan and version of zstd always encode to the same bytes, so that an interrupted transfer
//! can resume and several robots are sent the same file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use parking_lot::{Condvar, Mutex};
use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

use crate::plan::{DeltaPlan, Op, Span};

/// Compression level. A whole layer of 100 MB takes two cores a second, and a higher level would gain a
/// percent.
const LEVEL: i32 = 9;

/// Compression level of small deltas, which take little time at any level.
const LEVEL_SMALL: i32 = 19;

/// Largest small delta, in bytes that its frames make and refer to.
const SMALL: u64 = 2 << 20;

/// Encoded operations per thread that may wait to be written.
const BUFFERED: usize = 2;

/// Time between two checks whether this run has been interrupted.
const POLL: Duration = Duration::from_millis(200);

/// Part of a layer, one in so many, that has to be encoded before the size of the delta is estimated.
const MIN_PART: u64 = 50;

/// Hexadecimal digits of a delta's name.
pub const NAME: usize = 32;

/// Bytes of the checksum at the end of a delta file, which is not part of the delta.
const SUM: u64 = 4;

/// Returns whether a text can be the name of a delta.
pub fn is_name(text: &str) -> bool {
    text.len() == NAME && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Fails once the program has been interrupted; waiting and encoding end then.
pub type InterruptCheck = fn() -> Result<()>;

#[derive(Debug)]
pub struct Inputs {
    pub layer: Utf8PathBuf,
    /// The bases in the plan's order; none for a basis that is not on this machine.
    pub bases: Vec<Option<Utf8PathBuf>>,
    pub plan: DeltaPlan,
}

/// Progress of encoding.
#[derive(Clone, Debug, Default)]
struct State {
    written: u64,
    /// Bytes of the layer in frames: encoded so far, and in all.
    encoded: (u64, u64),
    ended: bool,
    failure: Option<String>,
}

/// A delta file, complete or being written.
#[derive(Debug)]
pub struct DeltaFile {
    /// Deltas with the same name have the same bytes.
    pub name: String,
    file: File,
    state: Mutex<State>,
    more: Condvar,
    check_interrupted: InterruptCheck,
}

impl DeltaFile {
    /// Opens a file that an earlier run has written; none if there is no intact one.
    pub fn open(dir: &Utf8Path, name: &str, check_interrupted: InterruptCheck) -> Option<Self> {
        let file = File::open(dir.join(name)).ok()?;
        let written = intact_size(&file)?;
        // Counts as used, for caches that evict by age.
        file.set_modified(std::time::SystemTime::now()).ok();
        let state = Mutex::new(State { written, ended: true, ..State::default() });
        Some(Self { name: name.to_owned(), file, state, more: Condvar::new(), check_interrupted })
    }

    /// Creates a temporary file for [`DeltaFile::encode`].
    pub fn create(
        dir: &Utf8Path,
        name: &str,
        check_interrupted: InterruptCheck,
    ) -> Result<(Self, tempfile::NamedTempFile)> {
        fs_err::create_dir_all(dir)?;
        let target =
            tempfile::NamedTempFile::new_in(dir).with_context(|| format!("create a file in `{dir}`"))?;
        let file = target.reopen().context("open a delta file")?;
        let state = Mutex::new(State::default());
        Ok((Self { name: name.to_owned(), file, state, more: Condvar::new(), check_interrupted }, target))
    }

    /// Waits for bytes behind `position`, or for the end. Returns the number of bytes written, and whether
    /// the delta is complete.
    ///
    /// # Errors
    /// Fails also if the delta could not be encoded.
    pub fn wait(&self, position: u64) -> Result<(u64, bool)> {
        let mut state = self.state.lock();
        loop {
            if let Some(failure) = &state.failure {
                anyhow::bail!(failure.clone());
            }
            if state.ended || state.written > position {
                return Ok((state.written, state.ended));
            }
            (self.check_interrupted)()?;
            self.more.wait_for(&mut state, POLL);
        }
    }

    /// Waits until the delta is complete; returns its size in bytes.
    pub fn size(&self) -> Result<u64> {
        self.wait(u64::MAX).map(|(written, _)| written)
    }

    /// Bytes written so far, and whether the delta is complete.
    pub fn size_so_far(&self) -> (u64, bool) {
        let state = self.state.lock();
        (state.written, state.ended)
    }

    /// Size estimated from the part that is encoded; none while that part is too small.
    pub fn expected_size(&self) -> Option<u64> {
        let State { written, encoded: (encoded, all), ended, .. } = *self.state.lock();
        if ended {
            return Some(written);
        }
        let share = u128::from(written) * u128::from(all);
        let size = share.checked_div(encoded.into()).and_then(|size| u64::try_from(size).ok());
        size.filter(|_| encoded >= all / MIN_PART)
    }

    /// Returns whether the delta could not be encoded.
    pub fn has_failed(&self) -> bool {
        self.state.lock().failure.is_some()
    }

    /// Reads bytes that have been written.
    pub fn read(&self, buffer: &mut [u8], position: u64) -> Result<()> {
        self.file.read_exact_at(buffer, position).context("read a delta file")
    }

    /// Encodes the delta on all cores, and gives the file its name in `dir` once it is complete.
    pub fn encode(&self, inputs: &Inputs, target: tempfile::NamedTempFile, dir: &Utf8Path) {
        let result = self.write(inputs, &target, dir).and_then(|()| {
            target
                .persist(dir.join(&self.name))
                .map(drop)
                .with_context(|| format!("keep a delta file in `{dir}`"))
        });
        let mut state = self.state.lock();
        state.failure = result.err().map(|error| format!("{error:#}"));
        state.ended = true;
        self.more.notify_all();
    }

    fn write(&self, inputs: &Inputs, target: &tempfile::NamedTempFile, dir: &Utf8Path) -> Result<()> {
        let sources = Sources::open(inputs)?;
        let full = || format!("this machine cannot write to `{dir}`");
        let ops = &inputs.plan.ops;
        let level = level(ops);
        let encoders = Encoders::default();
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers.min(ops.len()) {
                scope.spawn(|| encoders.work(ops, &sources, level, workers * BUFFERED));
            }
            // Ends the workers also after an error: they would wait for ever.
            let _closing = Closing(&encoders);
            let mut out = target.as_file();
            let mut sum = crc32fast::Hasher::new();
            self.state.lock().encoded.1 = ops.iter().map(encoded_bytes).sum();
            for (number, op) in ops.iter().enumerate() {
                (self.check_interrupted)()?;
                let bytes = encoders.take(number)?;
                out.write_all(&bytes).with_context(full)?;
                sum.update(&bytes);
                self.advance(bytes.len(), encoded_bytes(op));
            }
            sum.update(b"E");
            out.write_all(b"E").with_context(full)?;
            // A later run knows by the checksum that the file is intact.
            let sum = sum.finalize().to_le_bytes();
            out.write_all(&sum).with_context(full)?;
            self.advance(1, 0);
            Ok(())
        })
    }

    fn advance(&self, written: usize, encoded: u64) {
        let mut state = self.state.lock();
        state.written += written as u64;
        state.encoded.0 += encoded;
        drop(state);
        self.more.notify_all();
    }
}

/// Returns the size of the delta in a file; none unless the checksum at the end of the file is right.
fn intact_size(file: &File) -> Option<u64> {
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

/// Bytes of the layer that an operation encodes.
fn encoded_bytes(op: &Op) -> u64 {
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

/// Open files of the layer and its bases.
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

    /// Appends the bytes of a span, read from the new layer where the basis is not on this machine.
    fn read_span(&self, span: &Span, buffer: &mut Vec<u8>) -> Result<()> {
        let (file, start) = match (span.twin, self.bases.get(span.basis)) {
            (Some(twin), _) => (&self.layer, twin),
            (None, Some(Some(file))) => (file, span.range.start),
            (None, _) => anyhow::bail!("a basis of the delta is not on this machine"),
        };
        append(file, start, span.range.end - span.range.start, buffer)
    }

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
                let (mut prefix_bytes, mut content) = (Vec::new(), Vec::new());
                for span in prefix {
                    self.read_span(span, &mut prefix_bytes)?;
                }
                append(&self.layer, made.start, made.end - made.start, &mut content)?;
                let frame = compress(&content, &prefix_bytes, level)?;
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
    file.read_exact_at(&mut buffer[begin..], start).context("read a layer that has become shorter")
}

/// Compresses `content` to a frame that refers to `prefix`.
fn compress(content: &[u8], prefix: &[u8], level: i32) -> Result<Vec<u8>> {
    let failed = |code| anyhow::anyhow!("zstd: {}", zstd::zstd_safe::get_error_name(code));
    let mut context = CCtx::create();
    // The window reaches from the end of the content to the beginning of the prefix.
    let window = (content.len() + prefix.len()).max(1024).ilog2() + 1;
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window),
        CParameter::EnableLongDistanceMatching(!prefix.is_empty()),
        CParameter::ContentSizeFlag(true),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    if !prefix.is_empty() {
        context.ref_prefix(prefix).map_err(failed)?;
    }
    let mut frame = Vec::with_capacity(compress_bound(content.len()));
    context.compress2(&mut frame, content).map_err(failed)?;
    Ok(frame)
}

/// Threads that encode operations in parallel. The results are taken in order.
#[derive(Default)]
struct Encoders {
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

impl Encoders {
    fn work(&self, ops: &[Op], sources: &Sources, level: i32, buffered: usize) {
        let _panicking = Panicking(self);
        while let number = self.next.fetch_add(1, Ordering::Relaxed)
            && let Some(op) = ops.get(number)
        {
            let too_far = |ready: &mut Ready| number > ready.taken + buffered && !ready.closed;
            let mut ready = self.ready.lock();
            self.change.wait_while(&mut ready, too_far);
            if ready.closed {
                return;
            }
            drop(ready);
            let bytes = sources.encode(op, level);
            self.ready.lock().ops.insert(number, bytes);
            self.change.notify_all();
        }
    }

    fn take(&self, number: usize) -> Result<Vec<u8>> {
        let missing = |ready: &mut Ready| !ready.ops.contains_key(&number) && !ready.closed;
        let mut ready = self.ready.lock();
        self.change.wait_while(&mut ready, missing);
        let bytes = ready.ops.remove(&number).context("encode a part of a delta")?;
        ready.taken = number + 1;
        self.change.notify_all();
        bytes
    }
}

/// Closes the encoders if a worker panics: its result would be waited for.
struct Panicking<'a>(&'a Encoders);

impl Drop for Panicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(Closing(self.0));
        }
    }
}

/// Closes the encoders when it is dropped.
struct Closing<'a>(&'a Encoders);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.ready.lock().closed = true;
        self.0.change.notify_all();
    }
}
