//! Mutations of samples.

use fastrand::Rng;

/// Longest input in bytes.
const LONGEST: usize = 64 << 10;

/// Numbers at limits of integer types, and texts that look like numbers.
const NUMBERS: [&str; 22] = [
    "0",
    "-0",
    "-1",
    "-1000",
    "1",
    "255",
    "256",
    "65536",
    "2147483647",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "1e309",
    "0.1",
    "00000000000000000000000000000000001",
    "0x10",
    "NaN",
];

/// Syntax of various formats, invalid UTF-8, and characters that are not printable.
const WORDS: [&[u8]; 42] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"\"",
    b"'",
    b"\\",
    b"<a>",
    b"</a>",
    b"<!--",
    b"&lt;",
    b"=",
    b":",
    b"/",
    b"../",
    b"/../../",
    b"\t",
    b"\n",
    b"\r\n",
    b" ",
    b"#",
    b"$",
    b"$(x)",
    b"`",
    b",",
    b"-",
    b"@",
    b"\0",
    b"\x1b[31m",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xe2\x82",
    b"\xf4\x90\x80\x80",
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
    "ä".as_bytes(),
    "\u{1f916}".as_bytes(),
    b"sha256:",
    b"null",
];

/// Input of a case: first the samples themselves, then mutations.
pub(super) fn case(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let sample = usize::try_from(seed).ok().and_then(|number| corpus.get(number));
    if let Some(sample) = sample {
        return sample.clone();
    }
    let mut rng = Rng::with_seed(seed);
    let mut bytes = rng.choice(corpus).cloned().unwrap_or_default();
    let longest = LONGEST.max(bytes.len());
    let mut rounds = 1;
    while rounds < 12 && rng.u8(0..3) > 0 {
        rounds += 1;
    }
    for _ in 0..rounds {
        mutate(&mut rng, &mut bytes, corpus);
        bytes.truncate(longest);
    }
    bytes
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    match rng.u8(0..13) {
        0 | 1 => flip(rng, bytes),
        2 | 3 => number(rng, bytes),
        4 => binary(rng, bytes),
        5 | 6 => {
            let word = rng.choice(WORDS).unwrap_or_default();
            insert(rng, bytes, word);
        }
        7 => nest(rng, bytes),
        8 => repeat(rng, bytes),
        9 => {
            let range = part(rng, bytes.len());
            drop(bytes.drain(range));
        }
        10 => bytes.truncate(rng.usize(0..=bytes.len())),
        11 => {
            let other = rng.choice(corpus).cloned().unwrap_or_default();
            let piece = other[part(rng, other.len())].to_vec();
            let range = part(rng, bytes.len());
            drop(bytes.splice(range, piece));
        }
        _ => line(rng, bytes),
    }
}

/// Random range within `length`, often a short one.
fn part(rng: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let start = rng.usize(0..=length);
    let most = if rng.bool() { 16 } else { length };
    start..(start + rng.usize(0..=most)).min(length)
}

fn flip(rng: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..rng.u8(1..4) {
        let place = rng.usize(0..bytes.len().max(1));
        if let Some(byte) = bytes.get_mut(place) {
            *byte = if rng.bool() { *byte ^ 1 << rng.u8(0..8) } else { rng.u8(..) };
        }
    }
}

fn insert(rng: &mut Rng, bytes: &mut Vec<u8>, word: &[u8]) {
    let at = rng.usize(0..=bytes.len());
    // Half of the time overwrite instead, which keeps lengths intact.
    let end = if rng.bool() { at } else { (at + word.len()).min(bytes.len()) };
    drop(bytes.splice(at..end, word.iter().copied()));
}

/// Replaces a number, if there is one, by another.
fn number(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
    let digits: Vec<usize> = (0..bytes.len()).filter(is_digit).collect();
    let start = rng.choice(&digits).copied().unwrap_or_else(|| rng.usize(0..=bytes.len()));
    let run = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = rng.choice(NUMBERS).unwrap_or_default().as_bytes();
    if rng.bool() {
        drop(bytes.splice(start..start + run, number.iter().copied()));
    } else {
        // Keep the length for fixed-width fields of headers.
        let width = number.len().min(bytes.len() - start);
        bytes[start..start + width].copy_from_slice(&number[..width]);
    }
}

/// Overwrites bytes with a binary number at a limit.
fn binary(rng: &mut Rng, bytes: &mut [u8]) {
    let width = rng.choice([1, 2, 4, 8]).unwrap_or(1);
    let number = rng.choice([0, 1, u64::MAX, u64::MAX >> 1, 1 << 63, 1 << 31, 1 << 32, 0xffff]).unwrap_or(0);
    let start = rng.usize(0..=bytes.len());
    for (byte, value) in bytes[start..].iter_mut().zip(number.to_le_bytes()).take(width) {
        *byte = value;
    }
}

/// Repeats something short very often: parsers of nested formats are recursive.
fn nest(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let word = if rng.bool() {
        rng.choice(WORDS).unwrap_or_default().to_vec()
    } else {
        bytes[part(rng, bytes.len())].to_vec()
    };
    let times = rng.choice([10, 200, 30_000]).unwrap_or(10).min(LONGEST / word.len().max(1));
    insert(rng, bytes, &word.repeat(times));
}

/// Repeats a part, for duplicate fields and entries.
fn repeat(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let piece = bytes[part(rng, bytes.len())].to_vec();
    for _ in 0..rng.u8(1..4) {
        let at = rng.usize(0..=bytes.len());
        drop(bytes.splice(at..at, piece.iter().copied()));
    }
}

/// Repeats, removes or moves a whole line.
fn line(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let from = rng.usize(0..lines.len().max(1));
    if let Some(line) = lines.get(from).cloned() {
        if rng.bool() {
            drop(lines.remove(from));
        }
        if rng.bool() {
            lines.insert(rng.usize(0..=lines.len()), line);
        }
    }
    *bytes = lines.concat();
}

/// Returns a tar archive with valid header checksums (POSIX.1-2001, ustar); without them parsers stop early.
pub fn with_sums(archive: &[u8]) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    let (headers, _rest) = bytes.as_chunks_mut::<512>();
    for header in headers.iter_mut().filter(|header| header[257..262] == *b"ustar") {
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}
