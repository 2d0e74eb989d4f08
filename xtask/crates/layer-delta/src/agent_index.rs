//! Decodes the agent's index of a layer that this machine does not have: checksum, length and offset of each
//! file.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use base64::Engine as _;

use crate::index::{Entry, LayerIndex};

/// Bytes of a file's record.
const RECORD: usize = 20;

/// Least bytes of a file with content in a layer: its header and a block.
const MIN_FILE: u64 = 1024;

/// Most files of one layer. The largest known layers, of a ROS desktop, have 200,000.
const MAX_FILES: u64 = 1 << 19;

/// Decodes the index of a layer of `size` bytes. No more is unpacked than the records of as many files as fit
/// into the layer. Files outside of the layer are left out. The index of a layer with too many files is
/// empty.
pub fn read(packed: &str, size: u64) -> Result<LayerIndex> {
    let unreadable = "decode the robot's index of a layer";
    let packed = base64::prelude::BASE64_STANDARD.decode(packed).context(unreadable)?;
    let mut unpacked = zstd::Decoder::new(packed.as_slice()).context(unreadable)?;
    unpacked.window_log_max(24).context(unreadable)?;
    let fit = size / MIN_FILE;
    let limit = MAX_FILES.min(fit) * RECORD as u64;
    let mut bytes = Vec::new();
    unpacked.take(limit + 1).read_to_end(&mut bytes).context(unreadable)?;
    if bytes.len() as u64 > limit {
        anyhow::ensure!(
            fit > MAX_FILES,
            "the robot's index of a layer has more files than fit into the layer"
        );
        return Ok(LayerIndex::default());
    }
    let (records, _rest) = bytes.as_chunks::<RECORD>();
    Ok(LayerIndex { entries: records.iter().filter_map(|record| entry(record, size)).collect() })
}

fn entry(record: &[u8; RECORD], size: u64) -> Option<Entry> {
    let number = |range: std::ops::Range<usize>| {
        record[range].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let (length, content) = (number(4..12), number(12..20));
    let end = content.checked_add(length).filter(|end| *end <= size)?;
    let checksum = u32::try_from(number(0..4)).ok()?;
    Some(Entry { path: String::new(), start: content, content, end, whole: 0, length, checksum })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(records: &[(u32, u64, u64)]) -> String {
        let record = |(checksum, length, content): &(u32, u64, u64)| {
            [&checksum.to_le_bytes()[..], &length.to_le_bytes(), &content.to_le_bytes()].concat()
        };
        pack(&records.iter().flat_map(record).collect::<Vec<u8>>())
    }

    fn pack(bytes: &[u8]) -> String {
        base64::prelude::BASE64_STANDARD.encode(zstd::encode_all(bytes, 9).unwrap())
    }

    #[test]
    fn records_become_entries() -> Result<()> {
        let index = read(&encoded(&[(7, 100, 512), (9, 2000, 1536)]), 4096)?;
        let entries: Vec<_> =
            index.entries.iter().map(|one| (one.checksum, one.length, one.content, one.end)).collect();
        assert_eq!(entries, [(7, 100, 512, 612), (9, 2000, 1536, 3536)]);
        assert!(read(&encoded(&[]), 0)?.entries.is_empty());
        Ok(())
    }

    #[test]
    fn unpacking_is_bounded() {
        // 2 GB of zeros, a bomb of 64 kB: the records of files without content.
        let mut bomb = zstd::Encoder::new(Vec::new(), 9).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(2 << 30), &mut bomb).unwrap();
        let bomb = base64::prelude::BASE64_STANDARD.encode(bomb.finish().unwrap());
        for size in [0, 1_000_000, MAX_FILES * MIN_FILE] {
            let error = read(&bomb, size).unwrap_err();
            assert!(error.to_string().contains("more files than fit"), "{error:#}");
        }
        assert_eq!(read(&bomb, u64::MAX).unwrap(), LayerIndex::default());
    }

    #[test]
    fn files_outside_of_their_layer_are_left_out() -> Result<()> {
        for (length, content) in [(4096, 1), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            let index = read(&encoded(&[(7, length, content), (9, 10, 512)]), 4096)?;
            let lengths: Vec<_> = index.entries.iter().map(|one| one.length).collect();
            assert_eq!(lengths, [10]);
        }
        Ok(())
    }

    #[test]
    fn invalid_text_is_an_error() {
        for text in ["", "not base64 at all", "AAAA", &pack(&[1; 2_000_000])[..2]] {
            assert!(read(text, 1 << 30).is_err(), "{text}");
        }
    }
}
