//! Transport a robot makes a layer out of those it has: what is copied, and what is patched against what.
//!
//! Each entry of the new layer is looked for in all layers that the robot has: by name and content, by name,
//! by content, by a name that differs in its version only. Runs of entries that are the same in both are
//! copied; what is between them is sent as zstd frames that refer to their counterparts as a prefix
//! (`zstd --patch-from`). Where nothing matches, the prefix is empty and the frame is plain compression.
//!
//! DigestCache is bounded on both sides: a frame makes at most [`FRAME`] bytes out of at most [`PREFIX`].

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::index::{Entry, LayerIndex};

/// Most bytes that one frame makes.
pub const FRAME: u64 = 8 << 20;

/// Most bytes of the prefix of a frame.
pub const PREFIX: u64 = 24 << 20;

/// Runs shorter than this are not worth a step of their own: a frame says "the same" in a few bytes.
const SHORTEST_COPY: u64 = 16 << 10;

/// Gaps up to this are bridged: one range of a prefix instead of two.
const GAP: u64 = 64 << 10;

/// Most pieces of the prefix of a frame.
const PIECES: usize = 4096;

/// Files from this size on are copied by themselves when only their headers differ.
const LARGE: u64 = 256 << 10;

/// How far the counterpart of a part of a large file may have moved.
const MARGIN: u64 = 4 << 20;

/// Bytes of a basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which basis, as the recipe counts them.
    pub basis: usize,
    /// Its bytes.
    pub range: Range<u64>,
    /// Where the same bytes are in the new layer, if the basis is not on this machine.
    pub twin: Option<u64>,
}

impl Span {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The next bytes of the new layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// They are these.
    Copy(Span),
    /// They are in a frame.
    Frame {
        /// What the frame refers to.
        prefix: Vec<Span>,
        /// Which bytes of the new layer.
        made: Range<u64>,
    },
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeltaPlan {
    /// The bases that are used, by their position among those offered.
    pub bases: Vec<usize>,
    /// The steps; what they make, one after another, is the layer.
    pub ops: Vec<Op>,
}

/// A layer that a robot has.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Its entries.
    pub contents: &'a LayerIndex,
    /// Whether the same instruction made it: such a layer is looked into first.
    pub same_history: bool,
    /// Whether its bytes are on this machine. If not, only contents that are the same can be used.
    pub is_here: bool,
}

impl DeltaPlan {
    /// The recipe for a layer that is sent whole.
    pub fn whole(size: u64) -> Self {
        let mut ops = Vec::new();
        push_frames(&mut ops, 0..size);
        Self { bases: Vec::new(), ops }
    }

    /// The recipe for a layer out of `bases`.
    pub fn new(layer: &LayerIndex, bases: &[Basis<'_>]) -> Self {
        let index = Index::new(layer, bases);
        let mut plan = Self::default();
        let mut frame = Frame::default();
        let mut position = 0;
        let entries = &layer.entries;
        while position < entries.len() {
            let entry = &entries[position];
            let found = index.find(entry, frame.last());
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

    /// Whether it uses nothing of what the robot has.
    pub fn is_whole(&self) -> bool {
        self.bases.is_empty()
    }

    /// Keeps only the bases that are used, the one that gives most first.
    fn renumber(&mut self) {
        let mut given: BTreeMap<usize, u64> = BTreeMap::new();
        for span in self.spans() {
            *given.entry(span.basis).or_default() += span.bytes();
        }
        self.bases = given.keys().copied().collect();
        self.bases.sort_by_key(|basis| std::cmp::Reverse(given[basis]));
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

/// An entry's counterpart.
#[derive(Clone, Debug)]
struct Found<'a> {
    basis: usize,
    number: usize,
    entry: &'a Entry,
    /// How much of it is the same.
    likeness: Likeness,
    /// The bytes that help to make it: the whole entry, or the content alone.
    range: Range<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    /// Headers and content.
    Same,
    /// The content.
    Content,
    /// Something, hopefully.
    Alike,
}

impl Found<'_> {
    /// What it gives a frame that makes `entry`.
    fn span(&self, entry: &Entry, basis_is_here: bool) -> Span {
        let twin = (!basis_is_here).then_some(entry.content);
        Span { basis: self.basis, range: self.range.clone(), twin }
    }
}

/// The entries of all bases, by what they are looked for.
struct Index<'a> {
    bases: &'a [Basis<'a>],
    by_path: HashMap<&'a str, Vec<(usize, usize)>>,
    by_content: HashMap<(u32, u64), (usize, usize)>,
    by_likeness: HashMap<String, (usize, usize)>,
}

impl<'a> Index<'a> {
    fn new(layer: &LayerIndex, bases: &'a [Basis<'a>]) -> Self {
        let mut index =
            Self { bases, by_path: HashMap::new(), by_content: HashMap::new(), by_likeness: HashMap::new() };
        for basis in ranked(layer, bases) {
            for (number, entry) in bases[basis].contents.entries.iter().enumerate() {
                let place = (basis, number);
                if let Some(fingerprint) = entry.fingerprint() {
                    index.by_content.entry(fingerprint).or_insert(place);
                }
                if bases[basis].is_here {
                    index.by_path.entry(entry.path.as_str()).or_default().push(place);
                    index.by_likeness.entry(likeness(&entry.path)).or_insert(place);
                }
            }
        }
        index
    }

    fn entry(&self, (basis, number): (usize, usize)) -> &'a Entry {
        &self.bases[basis].contents.entries[number]
    }

    /// The best counterpart of an entry; of several that are the same, the one behind `last`.
    fn find(&self, entry: &Entry, last: Option<(usize, usize)>) -> Option<Found<'a>> {
        // What stands behind the last entry is zeros.
        if entry.path.is_empty() && entry.size() < SHORTEST_COPY {
            return None;
        }
        let places = self.by_path.get(entry.path.as_str()).map_or(&[][..], Vec::as_slice);
        let rank = |place: &(usize, usize)| {
            let other = self.entry(*place);
            let follows = last.is_some_and(|(basis, number)| (basis, number + 1) == *place);
            (is_same(entry, other), entry.fingerprint() == other.fingerprint(), follows)
        };
        // Of equals the first: the bases are ranked.
        let by_path = places.iter().copied().rev().max_by_key(rank);
        let whole = |place: (usize, usize)| {
            let other = self.entry(place);
            let likeness = if is_same(entry, other) { Likeness::Same } else { Likeness::Alike };
            Found { basis: place.0, number: place.1, entry: other, likeness, range: other.start..other.end }
        };
        let content = |place: (usize, usize)| {
            let other = self.entry(place);
            let range = other.content..other.content + other.length;
            Found { basis: place.0, number: place.1, entry: other, likeness: Likeness::Content, range }
        };
        let fingerprint = entry.fingerprint();
        if let Some(place) = by_path
            && (fingerprint.is_none() || self.entry(place).fingerprint() == fingerprint)
        {
            return Some(whole(place));
        }
        fingerprint
            .and_then(|fingerprint| self.by_content.get(&fingerprint).copied())
            .map(content)
            .or_else(|| by_path.map(whole))
            .or_else(|| self.by_likeness.get(&likeness(&entry.path)).copied().map(whole))
    }
}

/// The bases, the likeliest first: by the bytes that they have in common with the layer.
fn ranked(layer: &LayerIndex, bases: &[Basis<'_>]) -> Vec<usize> {
    let wanted: HashMap<&str, &Entry> =
        layer.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let score = |basis: &Basis<'_>| -> u64 {
        let common = basis.contents.entries.iter().map(|entry| match wanted.get(entry.path.as_str()) {
            Some(other) if is_same(entry, other) => 2 * entry.size(),
            Some(_) => entry.size(),
            None => 0,
        });
        common.sum()
    };
    let mut request: Vec<(bool, u64, usize)> = bases
        .iter()
        .enumerate()
        .map(|(number, basis)| (!basis.same_history, u64::MAX - score(basis), number))
        .collect();
    request.sort_unstable();
    request.into_iter().map(|(.., number)| number).collect()
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    a.whole == b.whole && a.size() == b.size() && a.path == b.path
}

/// A file's name without its directory and without digits: those are what versions change.
fn likeness(path: &str) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    name.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// The longest run of entries that are the same, one after another, in a basis: what to copy, and how many
/// entries it makes.
fn same_run(entries: &[Entry], first: Option<&Found<'_>>, bases: &[Basis<'_>]) -> Option<(Span, usize)> {
    let first = first.filter(|found| found.likeness == Likeness::Same)?;
    let others = &bases[first.basis].contents.entries[first.number..];
    let run = entries.iter().zip(others).take_while(|(entry, other)| is_same(entry, other)).count();
    let range = first.entry.start..others[run - 1].end;
    (range.end - range.start >= SHORTEST_COPY)
        .then_some((Span { basis: first.basis, range, twin: None }, run))
}

/// A frame in the making.
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
            // A large file that has got another place or other headers: only those are sent.
            self.extend(entry.start..entry.content, ops);
            self.finish(ops);
            ops.push(Op::Copy(Span { basis: found.basis, range: found.range.clone(), twin: None }));
            self.extend(entry.content + entry.length..entry.end, ops);
            return;
        }
        if entry.size() > FRAME {
            self.finish(ops);
            large(entry, found.as_ref().filter(|(is_here, _)| *is_here).map(|(_, found)| found), ops);
            return;
        }
        let bytes = found.as_ref().map_or(0, |(_, found)| found.range.end - found.range.start);
        if self.prefix_bytes + bytes > PREFIX || self.prefix.len() >= PIECES {
            self.finish(ops);
        }
        self.extend(entry.start..entry.end, ops);
        // A counterpart that would fill the prefix alone cannot be of much help.
        if let Some((is_here, found)) = found.filter(|_| bytes <= PREFIX) {
            self.last = Some((found.basis, found.number));
            self.refer_to(found.span(entry, is_here));
        }
    }

    /// Takes the next bytes of the layer in, into a new frame where this one is full.
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
        // The bytes between two pieces are only known of a basis that is here.
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

/// A file larger than a frame: its parts, each against about the same part of its counterpart.
fn large(entry: &Entry, found: Option<&Found<'_>>, ops: &mut Vec<Op>) {
    let Some(found) = found else { return push_frames(ops, entry.start..entry.end) };
    let mut start = entry.start;
    while start < entry.end {
        let end = (start + FRAME).min(entry.end);
        // What was inserted or removed before has moved the rest: by as much, at most, as the sizes differ.
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
