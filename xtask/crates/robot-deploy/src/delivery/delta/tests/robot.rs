//! Applies deltas as `robot-side/registry_agent.py` does, and asserts the bounds that the agent relies on.

use sha2::{Digest as _, Sha256};
use zstd::zstd_safe::DCtx;

use super::super::plan::{FRAME, PREFIX};

/// Makes a layer from a delta. Fails as the agent would, also if the layer has another digest than `digest`.
pub fn make(delta: &[u8], bases: &[&[u8]], digest: &str) -> Result<Vec<u8>, String> {
    let made = apply(delta, bases)?;
    if format!("{:x}", Sha256::digest(&made)) == digest { Ok(made) } else { Err("another digest".into()) }
}

fn apply(delta: &[u8], bases: &[&[u8]]) -> Result<Vec<u8>, String> {
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
                assert!(size <= FRAME as usize, "a frame of {size} bytes");
                assert!(prefix.len() <= PREFIX as usize, "a prefix of {} bytes", prefix.len());
                made.extend(decode(frame, &prefix, size)?);
            }
            other => return Err(format!("the delta is damaged: {other:?}")),
        }
    }
    if delta.0.is_empty() { Ok(made) } else { Err("the delta is longer than its layer needs".into()) }
}

fn decode(frame: &[u8], prefix: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let failed = |code| zstd::zstd_safe::get_error_name(code).to_owned();
    let mut context = DCtx::create();
    if !prefix.is_empty() {
        context.ref_prefix(prefix).map_err(failed)?;
    }
    let mut made = Vec::with_capacity(size);
    context.decompress(&mut made, frame).map_err(failed)?;
    if made.len() == size { Ok(made) } else { Err(format!("{} bytes for {size}", made.len())) }
}

fn span<'a>(bases: &[&'a [u8]], basis: usize, offset: usize, length: usize) -> Result<&'a [u8], String> {
    let basis = bases.get(basis).ok_or("no such basis")?;
    offset
        .checked_add(length)
        .and_then(|end| basis.get(offset..end))
        .ok_or_else(|| "the basis is shorter".into())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("the delta ended early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}
