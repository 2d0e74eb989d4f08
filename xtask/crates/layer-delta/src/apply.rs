//! Applies deltas as the agent does, within the same bounds.

use anyhow::{Context as _, Result, bail, ensure};
use zstd::zstd_safe::DCtx;

use crate::plan::{FRAME, PREFIX};

/// Makes a layer from a delta and its bases. The caller compares the digest of the result: a delta is not protected against
/// bases other than those that it was made for.
pub fn apply(delta: &[u8], bases: &[&[u8]]) -> Result<Vec<u8>> {
    let mut delta = Reader(delta);
    let mut made = Vec::new();
    loop {
        match delta.take(1)? {
            b"E" => break,
            b"C" => {
                let (basis, offset, length) = (delta.number(2)?, delta.number(8)?, delta.number(8)?);
                made.extend_from_slice(span(bases, basis, offset, length)?);
            }
            b"F" => {
                let (spans, size, length) = (delta.number(2)?, delta.number(4)?, delta.number(4)?);
                let mut prefix = Vec::new();
                for _ in 0..spans {
                    let (basis, offset, length) = (delta.number(2)?, delta.number(8)?, delta.number(4)?);
                    prefix.extend_from_slice(span(bases, basis, offset, length)?);
                }
                let frame = delta.take(length)?;
                ensure!(size as u64 <= FRAME, "a frame of {size} bytes");
                ensure!(prefix.len() as u64 <= PREFIX, "a prefix of {} bytes", prefix.len());
                made.extend(decode(frame, &prefix, size)?);
            }
            other => bail!("the delta is damaged: {other:?}"),
        }
    }
    ensure!(delta.0.is_empty(), "the delta is longer than its layer needs");
    Ok(made)
}

fn decode(frame: &[u8], prefix: &[u8], size: usize) -> Result<Vec<u8>> {
    let failed = |code| anyhow::anyhow!(zstd::zstd_safe::get_error_name(code));
    let mut context = DCtx::create();
    if !prefix.is_empty() {
        context.ref_prefix(prefix).map_err(failed)?;
    }
    let mut made = Vec::with_capacity(size);
    context.decompress(&mut made, frame).map_err(failed)?;
    ensure!(made.len() == size, "{} bytes for {size}", made.len());
    Ok(made)
}

fn span<'a>(bases: &[&'a [u8]], basis: usize, offset: usize, length: usize) -> Result<&'a [u8]> {
    let basis = bases.get(basis).context("no such basis")?;
    offset.checked_add(length).and_then(|end| basis.get(offset..end)).context("the basis is shorter")
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("the delta ended early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}
