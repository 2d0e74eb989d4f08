//! Layer index: the entries of a layer's archive with their positions and checksums, by which they are found
//! again in other layers.
//!
//! A layer is a tar archive: files ordered by name, each behind a header. A delta compares bytes of archives;
//! the entries only help to find the bytes that belong together.

use std::io::{BufReader, Read};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

/// An entry of a layer's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Empty for the bytes behind the last file.
    pub path: String,
    /// Offset of the headers in the archive.
    pub start: u64,
    /// Offset of the content.
    pub content: u64,
    /// Offset of the next entry.
    pub end: u64,
    /// Checksum over headers, content and padding.
    pub whole: u32,
    /// Bytes of the content, without padding.
    pub length: u64,
    /// Checksum over the content.
    pub checksum: u32,
}

impl Entry {
    /// Bytes of the entry in the archive.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Checksum and length by which equal contents are found; none for an empty content.
    pub fn fingerprint(&self) -> Option<(u32, u64)> {
        (self.length > 0).then_some((self.checksum, self.length))
    }
}

/// Most bytes of an entry's name or extended headers. Engines do not unpack more either (Go, `archive/tar`).
const MAX_DESCRIPTION: u64 = 1 << 20;

/// The entries of a layer, in order and without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerIndex {
    pub entries: Vec<Entry>,
}

impl LayerIndex {
    /// Indexes a layer. A layer that is not a valid archive becomes one entry.
    pub fn read(path: &Utf8Path) -> Result<Self> {
        let size = fs_err::metadata(path)?.len();
        // An invalid archive is sent all the same, as one entry.
        let mut index = Self { entries: Self::read_headers(path).unwrap_or_default() };
        let end = index.entries.last().map_or(0, |entry| entry.end);
        index.entries.push(Entry {
            path: String::new(),
            start: end,
            content: end,
            end: size,
            whole: 0,
            length: size.saturating_sub(end),
            checksum: 0,
        });
        index.add_checksums(path)?;
        Ok(index)
    }

    /// Returns whether the entries can be those of an archive of `size` bytes: a stored index may be damaged.
    pub fn covers(&self, size: u64) -> bool {
        let mut position = 0;
        let in_order = self.entries.iter().all(|entry| {
            let begins = std::mem::replace(&mut position, entry.end);
            entry.start == begins
                && entry.start <= entry.content
                && entry.content.checked_add(entry.length).is_some_and(|end| end <= entry.end)
        });
        in_order && position == size
    }

    /// Reads the entries from their headers, without checksums.
    fn read_headers(path: &Utf8Path) -> Result<Vec<Entry>> {
        let size = fs_err::metadata(path)?.len();
        check_names(path)?;
        let mut archive = tar::Archive::new(fs_err::File::open(path)?);
        let mut entries: Vec<Entry> = Vec::new();
        for entry in archive.entries_with_seek().context("read a layer's archive")? {
            let entry = entry.context("read a layer's archive")?;
            let content = entry.raw_file_position();
            let length = match entry.header().entry_type() {
                // Links and directories have no content, whatever size their headers have.
                kind if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => {
                    entry.header().entry_size().context("read a layer's archive")?
                }
                _ => 0,
            };
            let end = content.saturating_add(length.next_multiple_of(512));
            anyhow::ensure!(end <= size, "a layer's archive is cut off");
            entries.push(Entry {
                path: String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
                start: entries.last().map_or(0, |last| last.end),
                content,
                end,
                whole: 0,
                length,
                checksum: 0,
            });
        }
        let in_order = entries.iter().all(|entry| entry.start <= entry.content && entry.content <= entry.end);
        anyhow::ensure!(in_order, "a layer's archive is out of order");
        Ok(entries)
    }

    /// Computes the checksums. Reads the file once.
    fn add_checksums(&mut self, path: &Utf8Path) -> Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, fs_err::File::open(path)?);
        for entry in &mut self.entries {
            let mut whole = crc32fast::Hasher::new();
            let mut content = crc32fast::Hasher::new();
            feed(&mut reader, entry.content - entry.start, &mut [&mut whole])?;
            feed(&mut reader, entry.length, &mut [&mut whole, &mut content])?;
            feed(&mut reader, entry.end - entry.content - entry.length, &mut [&mut whole])?;
            entry.whole = whole.finalize();
            entry.checksum = content.finalize();
        }
        Ok(())
    }
}

/// Fails if an entry has too long a name: names are read into memory.
fn check_names(path: &Utf8Path) -> Result<()> {
    let mut archive = tar::Archive::new(fs_err::File::open(path)?);
    for entry in archive.entries_with_seek().context("read a layer's archive")?.raw(true) {
        let entry = entry.context("read a layer's archive")?;
        let kind = entry.header().entry_type();
        let describes = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        anyhow::ensure!(
            !describes || entry.size() <= MAX_DESCRIPTION,
            "a layer's archive has too long a name"
        );
    }
    Ok(())
}

fn feed(reader: &mut impl Read, bytes: u64, hashers: &mut [&mut crc32fast::Hasher]) -> Result<()> {
    let mut left = bytes;
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        reader.read_exact(&mut buffer[..wanted]).context("read a layer")?;
        for hasher in hashers.iter_mut() {
            hasher.update(&buffer[..wanted]);
        }
        left -= wanted as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;
    use test_support::fuzz::{fuzz, with_sums};

    fn index(bytes: &[u8]) -> Result<LayerIndex> {
        let guard = tempfile::NamedTempFile::new()?;
        fs_err::write(guard.path(), bytes)?;
        LayerIndex::read(&Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap())
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn fuzzed_layers_are_covered_by_entries() {
        let long = "a/".repeat(120) + "long";
        let usual = archive(&[("one", b"1"), (&long, &[7; 600]), ("empty", b"")]);
        let mut sparse = tar::Header::new_gnu();
        sparse.set_entry_type(tar::EntryType::GNUSparse);
        sparse.set_size(512);
        sparse.set_cksum();
        let sparse = [sparse.as_bytes().as_slice(), &[1; 1536]].concat();
        let pax = [
            archive(&[("x", b"30 path=another/name/for/it\n\n")])[..1024].to_vec(),
            archive(&[("one", b"1")]),
        ];
        let pax = {
            let mut bytes = pax.concat();
            bytes[156] = b'x';
            bytes
        };
        fuzz("layer", 400, &[&usual, &sparse, &pax], |bytes| {
            let bytes = with_sums(bytes);
            let index = index(&bytes).unwrap();
            assert!(index.covers(bytes.len() as u64), "{index:?}");
        });
    }

    #[test]
    fn entries_cover_the_archive_without_gaps() -> Result<()> {
        let long = "a/".repeat(120) + "long";
        let bytes = archive(&[("one", b"1"), (&long, &[7; 600]), ("empty", b"")]);
        let index = index(&bytes)?;
        let paths: Vec<&str> = index.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["one", &long, "empty", ""]);
        let mut position = 0;
        for entry in &index.entries {
            assert_eq!(entry.start, position);
            position = entry.end;
        }
        assert_eq!(position, bytes.len() as u64);
        assert_eq!(index.entries[1].length, 600);
        assert_eq!(index.entries[1].checksum, crc32fast::hash(&[7; 600]));
        Ok(())
    }

    #[test]
    fn equal_contents_have_equal_fingerprints() -> Result<()> {
        let a = index(&archive(&[("one", b"text"), ("two", b"other")]))?;
        let b = index(&archive(&[("three", b"text")]))?;
        assert_eq!(a.entries[0].fingerprint(), b.entries[0].fingerprint());
        assert_ne!(a.entries[0].whole, b.entries[0].whole);
        assert_ne!(a.entries[1].fingerprint(), b.entries[0].fingerprint());
        Ok(())
    }

    #[test]
    fn an_endless_name_takes_little_memory() -> Result<()> {
        for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader, tar::EntryType::XGlobalHeader] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(150 << 20);
            header.set_cksum();
            let file = tempfile::NamedTempFile::new()?;
            fs_err::write(file.path(), header.as_bytes())?;
            file.as_file().set_len(151 << 20)?;
            let path = Utf8PathBuf::from_path_buf(file.path().to_owned()).unwrap();
            let mut entries = 0;
            let memory =
                allocation_counter::measure(|| entries = LayerIndex::read(&path).unwrap().entries.len());
            assert_eq!(entries, 1);
            assert!(memory.bytes_max < 16 << 20, "{kind:?}: {} bytes of memory", memory.bytes_max);
        }
        Ok(())
    }

    #[test]
    fn an_invalid_archive_is_one_entry() -> Result<()> {
        for bytes in [&b"no archive at all"[..], &[0xff; 2000], b"", &archive(&[("a", &[1; 5000])])[..1024]] {
            let index = index(bytes)?;
            assert_eq!(index.entries.len(), 1, "{index:?}");
            assert_eq!(index.entries[0].end, bytes.len() as u64);
        }
        Ok(())
    }
}
