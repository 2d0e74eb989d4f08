//! Delta plans: how a robot makes a layer from its bases by copying and patching.
//!
//! For each entry of the new layer a counterpart is looked for in all layers that the robot has: by name and
//! content, by name, by content, and by a name that differs only in digits, as in a version. Runs of equal
//! entries are copied. Entries between them are sent in zstd frames, whose prefix is the counterparts, as with
//! `zstd --patch-from`. Without counterparts the prefix is empty and the frame is plain compression.
//!
//! Memory is bounded on both sides: a frame makes at most [`FRAME`] bytes from at most [`PREFIX`] bytes.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::index::{Entry, LayerIndex};

/// Most bytes of a layer in one frame.
pub const FRAME: u64 = 8 << 20;

/// Most bytes of a frame's prefix.
pub const PREFIX: u64 = 24 << 20;

/// Shortest run, in bytes, that is copied. A frame encodes shorter ones in a few bytes.
const SHORTEST_COPY: u64 = 16 << 10;

/// Largest gap between two spans of a prefix that are merged.
const GAP: u64 = 64 << 10;

/// Most spans of a frame's prefix.
const MAX_SPANS: usize = 4096;

/// Files larger than this are copied on their own if only their headers or places differ.
const LARGE: u64 = 256 << 10;

/// Most bytes by which a part of a large file is expected to have moved.
const MARGIN: u64 = 4 << 20;

/// A range of bytes of a basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Position of the basis in [`DeltaPlan::bases`].
    pub basis: usize,
    pub range: Range<u64>,
    /// Offset of the same bytes in the new layer, if the basis is not on this machine.
    pub twin: Option<u64>,
}

impl Span {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// An operation, which makes the next bytes of the new layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Copy(Span),
    /// Decompresses a frame.
    Frame {
        /// The spans that the frame refers to.
        prefix: Vec<Span>,
        /// Range of the new layer.
        made: Range<u64>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeltaPlan {
    /// The bases that are used, by their position among those offered.
    pub bases: Vec<usize>,
    /// The operations that make the layer from its beginning to its end.
    pub ops: Vec<Op>,
}

/// A layer that a robot has.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    pub index: &'a LayerIndex,
    /// True if the same instruction of a Dockerfile made the layer: such layers are preferred.
    pub same_instruction: bool,
    /// True if the layer is on this machine. If not, only equal contents can be used.
    pub is_here: bool,
}

impl DeltaPlan {
    /// Plans to send a layer whole.
    pub fn whole(size: u64) -> Self {
        let mut ops = Vec::new();
        push_frames(&mut ops, 0..size);
        Self { bases: Vec::new(), ops }
    }

    /// Plans how to make a layer from `bases`.
    pub fn new(layer: &LayerIndex, bases: &[Basis<'_>]) -> Self {
        let counterparts = Counterparts::new(layer, bases);
        let mut plan = Self::default();
        let mut frame = Frame::default();
        let mut position = 0;
        let entries = &layer.entries;
        while position < entries.len() {
            let entry = &entries[position];
            let found = counterparts.find(entry, frame.last());
            if let Some((span, run)) = same_run(&entries[position..], found.as_ref(), bases) {
                frame.finish(&mut plan.ops);
                plan.ops.push(Op::Copy(span));
                position += run;
                continue;
            }
            let found = found.map(|found| (bases[found.basis].is_here, found));
            frame.add(entry, found, &mut plan.ops);
            position += 1;
        }
        frame.finish(&mut plan.ops);
        plan.renumber();
        plan
    }

    /// Returns whether the layer is sent whole.
    pub fn is_whole(&self) -> bool {
        self.bases.is_empty()
    }

    /// Keeps only the bases that are used, those with the most bytes first.
    fn renumber(&mut self) {
        let mut bytes: BTreeMap<usize, u64> = BTreeMap::new();
        for span in self.spans() {
            *bytes.entry(span.basis).or_default() += span.bytes();
        }
        self.bases = bytes.keys().copied().collect();
        self.bases.sort_by_key(|basis| std::cmp::Reverse(bytes[basis]));
        let numbers: HashMap<usize, usize> =
            self.bases.iter().enumerate().map(|(number, basis)| (*basis, number)).collect();
        for span in self.spans() {
            span.basis = numbers[&span.basis];
        }
    }

    fn spans(&mut self) -> impl Iterator<Item = &mut Span> {
        self.ops.iter_mut().flat_map(|op| match op {
            Op::Copy(span) => std::slice::from_mut(span),
            Op::Frame { prefix, .. } => prefix.as_mut_slice(),
        })
    }
}

/// An entry's counterpart in a basis.
#[derive(Clone, Debug)]
struct Found<'a> {
    basis: usize,
    number: usize,
    entry: &'a Entry,
    likeness: Likeness,
    /// Range of the whole entry, or of its content alone.
    range: Range<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    /// Headers and content are equal.
    Same,
    /// The content is equal.
    Content,
    /// The name is equal or similar, and the content probably similar.
    Similar,
}

impl Found<'_> {
    /// The span for the prefix of the frame with `entry`.
    fn span(&self, entry: &Entry, basis_is_here: bool) -> Span {
        let twin = (!basis_is_here).then_some(entry.content);
        Span { basis: self.basis, range: self.range.clone(), twin }
    }
}

/// The entries of all bases, by the features that counterparts are looked for by. A place is a basis and the
/// number of an entry in it.
struct Counterparts<'a> {
    bases: &'a [Basis<'a>],
    by_path: HashMap<&'a str, Vec<(usize, usize)>>,
    by_content: HashMap<(u32, u64), (usize, usize)>,
    by_name_stem: HashMap<String, (usize, usize)>,
}

impl<'a> Counterparts<'a> {
    fn new(layer: &LayerIndex, bases: &'a [Basis<'a>]) -> Self {
        let (by_path, by_content, by_name_stem) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut counterparts = Self { bases, by_path, by_content, by_name_stem };
        for basis in ranked(layer, bases) {
            for (number, entry) in bases[basis].index.entries.iter().enumerate() {
                let place = (basis, number);
                if let Some(fingerprint) = entry.fingerprint() {
                    counterparts.by_content.entry(fingerprint).or_insert(place);
                }
                if bases[basis].is_here {
                    counterparts.by_path.entry(entry.path.as_str()).or_default().push(place);
                    counterparts.by_name_stem.entry(name_stem(&entry.path)).or_insert(place);
                }
            }
        }
        counterparts
    }

    fn entry(&self, (basis, number): (usize, usize)) -> &'a Entry {
        &self.bases[basis].index.entries[number]
    }

    /// Returns the best counterpart of an entry; of several equal ones the entry behind `last`.
    fn find(&self, entry: &Entry, last: Option<(usize, usize)>) -> Option<Found<'a>> {
        // The bytes behind the last file are zeros.
        if entry.path.is_empty() && entry.size() < SHORTEST_COPY {
            return None;
        }
        let places = self.by_path.get(entry.path.as_str()).map_or(&[][..], Vec::as_slice);
        let rank = |place: &(usize, usize)| {
            let other = self.entry(*place);
            let follows = last.is_some_and(|(basis, number)| (basis, number + 1) == *place);
            (is_same(entry, other), entry.fingerprint() == other.fingerprint(), follows)
        };
        // The first of equals, because the bases are ranked.
        let by_path = places.iter().copied().rev().max_by_key(rank);
        let fingerprint = entry.fingerprint();
        if let Some(place) = by_path
            && (fingerprint.is_none() || self.entry(place).fingerprint() == fingerprint)
        {
            return Some(self.found_entry(entry, place));
        }
        fingerprint
            .and_then(|fingerprint| self.by_content.get(&fingerprint).copied())
            .map(|place| self.found_content(place))
            .or_else(|| by_path.map(|place| self.found_entry(entry, place)))
            .or_else(|| {
                let place = self.by_name_stem.get(&name_stem(&entry.path))?;
                Some(self.found_entry(entry, *place))
            })
    }

    fn found_entry(&self, entry: &Entry, place: (usize, usize)) -> Found<'a> {
        let other = self.entry(place);
        let likeness = if is_same(entry, other) { Likeness::Same } else { Likeness::Similar };
        Found { basis: place.0, number: place.1, entry: other, likeness, range: other.start..other.end }
    }

    fn found_content(&self, place: (usize, usize)) -> Found<'a> {
        let other = self.entry(place);
        let range = other.content..other.content + other.length;
        Found { basis: place.0, number: place.1, entry: other, likeness: Likeness::Content, range }
    }
}

/// Ranks the bases by the bytes that they have in common with the layer, those of the same instruction first.
fn ranked(layer: &LayerIndex, bases: &[Basis<'_>]) -> Vec<usize> {
    let wanted: HashMap<&str, &Entry> =
        layer.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let mut ranks: Vec<(bool, u64, usize)> = bases
        .iter()
        .enumerate()
        .map(|(number, basis)| (!basis.same_instruction, u64::MAX - score(basis, &wanted), number))
        .collect();
    ranks.sort_unstable();
    ranks.into_iter().map(|(.., number)| number).collect()
}

/// Bytes of a basis that the wanted entries have as well; equal entries count twice.
fn score(basis: &Basis<'_>, wanted: &HashMap<&str, &Entry>) -> u64 {
    let common = basis.index.entries.iter().map(|entry| match wanted.get(entry.path.as_str()) {
        Some(other) if is_same(entry, other) => 2 * entry.size(),
        Some(_) => entry.size(),
        None => 0,
    });
    common.sum()
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    a.whole == b.whole && a.size() == b.size() && a.path == b.path
}

/// A file's name without directory and digits, so that versions of a file have the same one.
fn name_stem(path: &str) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    name.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// Returns the run of entries that are equal to consecutive entries of a basis, as the span to copy and the
/// number of entries; none if it is too short.
fn same_run(entries: &[Entry], first: Option<&Found<'_>>, bases: &[Basis<'_>]) -> Option<(Span, usize)> {
    let first = first.filter(|found| found.likeness == Likeness::Same)?;
    let others = &bases[first.basis].index.entries[first.number..];
    let run = entries.iter().zip(others).take_while(|(entry, other)| is_same(entry, other)).count();
    let range = first.entry.start..others[run - 1].end;
    (range.end - range.start >= SHORTEST_COPY)
        .then_some((Span { basis: first.basis, range, twin: None }, run))
}

/// A frame that entries are added to.
#[derive(Default)]
struct Frame {
    made: Range<u64>,
    prefix: Vec<Span>,
    prefix_bytes: u64,
    last: Option<(usize, usize)>,
}

impl Frame {
    fn last(&self) -> Option<(usize, usize)> {
        self.last
    }

    fn add(&mut self, entry: &Entry, found: Option<(bool, Found<'_>)>, ops: &mut Vec<Op>) {
        if let Some((_, found)) = &found
            && found.likeness == Likeness::Content
            && entry.length > LARGE
            && entry.size() - entry.length <= FRAME
        {
            // A large file that was moved or has other headers: only the headers are sent.
            self.extend(entry.start..entry.content, ops);
            self.finish(ops);
            ops.push(Op::Copy(Span { basis: found.basis, range: found.range.clone(), twin: None }));
            self.extend(entry.content + entry.length..entry.end, ops);
            return;
        }
        if entry.size() > FRAME {
            self.finish(ops);
            push_large(entry, found.as_ref().filter(|(is_here, _)| *is_here).map(|(_, found)| found), ops);
            return;
        }
        let bytes = found.as_ref().map_or(0, |(_, found)| found.range.end - found.range.start);
        if self.prefix_bytes + bytes > PREFIX || self.prefix.len() >= MAX_SPANS {
            self.finish(ops);
        }
        self.extend(entry.start..entry.end, ops);
        // A counterpart larger than a whole prefix is left out.
        if let Some((is_here, found)) = found.filter(|_| bytes <= PREFIX) {
            self.last = Some((found.basis, found.number));
            self.refer_to(found.span(entry, is_here));
        }
    }

    /// Adds the next bytes of the layer, to a new frame if this one is full.
    fn extend(&mut self, bytes: Range<u64>, ops: &mut Vec<Op>) {
        if !self.made.is_empty() && bytes.end - self.made.start > FRAME {
            self.finish(ops);
        }
        if self.made.is_empty() {
            self.made = bytes;
        } else {
            self.made.end = bytes.end;
        }
    }

    fn refer_to(&mut self, span: Span) {
        // Spans of a basis that is not here cannot be merged: the bytes between them are unknown.
        let room = PREFIX - self.prefix_bytes;
        let near = self.prefix.iter_mut().filter(|_| span.twin.is_none()).find_map(|known| {
            let joined = known.range.start.min(span.range.start)..known.range.end.max(span.range.end);
            let is_near = known.basis == span.basis
                && known.twin.is_none()
                && joined.end - joined.start <= known.bytes() + span.bytes() + GAP
                && joined.end - joined.start - known.bytes() <= room;
            is_near.then_some((known, joined))
        });
        if let Some((known, joined)) = near {
            self.prefix_bytes += joined.end - joined.start - known.bytes();
            known.range = joined;
            return;
        }
        self.prefix_bytes += span.bytes();
        self.prefix.push(span);
    }

    fn finish(&mut self, ops: &mut Vec<Op>) {
        let Self { made, prefix, .. } = std::mem::take(self);
        if !made.is_empty() {
            ops.push(Op::Frame { prefix, made });
        }
    }
}

/// Adds the frames of a file larger than a frame, each with about the same part of the file's counterpart as
/// its prefix.
fn push_large(entry: &Entry, found: Option<&Found<'_>>, ops: &mut Vec<Op>) {
    let Some(found) = found else { return push_frames(ops, entry.start..entry.end) };
    let mut start = entry.start;
    while start < entry.end {
        let end = (start + FRAME).min(entry.end);
        // Insertions and removals have moved this part by as much as the sizes differ, at most.
        let low = found.range.start + (start - entry.start);
        let shift = (found.range.end - found.range.start).abs_diff(entry.size()).min(MARGIN);
        let range = low.saturating_sub(MARGIN.min(shift + GAP)).max(found.range.start)
            ..(low + (end - start) + shift + GAP).min(found.range.end);
        let prefix = if range.start < range.end {
            vec![Span { basis: found.basis, range, twin: None }]
        } else {
            Vec::new()
        };
        ops.push(Op::Frame { prefix, made: start..end });
        start = end;
    }
}

fn push_frames(ops: &mut Vec<Op>, range: Range<u64>) {
    let mut start = range.start;
    while start < range.end {
        let end = (start + FRAME).min(range.end);
        ops.push(Op::Frame { prefix: Vec::new(), made: start..end });
        start = end;
    }
}
