//! Random file trees, with everything that a layer may contain and names that are difficult for shells and
//! archives.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use fastrand::Rng;
use sha2::{Digest as _, Sha256};

/// The type of a path's entry.
#[derive(Clone, PartialEq)]
enum Kind {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
    /// A hard link, with the path of its file.
    Hard(Vec<u8>),
    Pipe,
}

#[derive(Clone)]
struct Node {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    time: u64,
}

/// The entry at each path. Directories come before the paths in them.
#[derive(Clone, Default)]
pub struct Tree(BTreeMap<Vec<u8>, Node>);

/// Prints the content of a directory (its argument), one line per path, like [`Tree::listing`].
pub const LIST: &str = "\
import hashlib, os, stat, sys
tree = os.fsencode(sys.argv[1])
paths = [os.path.join(top, name) for top, dirs, files in os.walk(tree) for name in dirs + files]
first = {}
for path in sorted(paths):
    at, name = os.lstat(path), path[len(tree) + 1:].hex()
    kind, mode = stat.S_IFMT(at.st_mode), stat.S_IMODE(at.st_mode)
    if stat.S_ISLNK(kind):
        mode, about = 0, os.readlink(path).hex()
    elif stat.S_ISREG(kind):
        about = first.setdefault(at.st_ino, name) + ' ' + hashlib.sha256(open(path, 'rb').read()).hexdigest()
    else:
        about = '-'
    print(name, '%o %o' % (kind, mode), at.st_uid, at.st_gid, int(at.st_mtime), about)
";

/// Names, most of them difficult.
const NAMES: [&[u8]; 20] = [
    b"lib",
    b"share",
    b"a",
    b"with blanks ",
    b"it's",
    b"\"quoted\"",
    b"new\nline",
    b"tab\t",
    "Müller".as_bytes(),
    "e\u{301}tude".as_bytes(),
    "地図".as_bytes(),
    "🤖".as_bytes(),
    b"-rf",
    b"*?[a]",
    b"$HOME",
    b"back\\slash",
    b".hidden",
    b"...",
    b"%s%n",
    b"a name that is much too long for the hundred bytes which the header of an archive has room for, \
      and so long that it is no use without a tenth of a kilobyte more",
];

impl Tree {
    /// A tree of a few dozen paths and some megabytes.
    pub fn random(rng: &mut Rng) -> Self {
        let mut tree = Self::default();
        for _ in 0..rng.usize(30..90) {
            tree.add(rng);
        }
        for _ in 0..2 {
            let path = tree.path(rng);
            let size = rng.usize(2_000_000..9_000_000);
            let kind = Kind::File(content(rng, size));
            tree.insert(path, node(rng, kind));
        }
        tree.repaired()
    }

    /// The tree after some changes to contents, names, owners, times and types, with paths added and removed.
    pub fn edited(&self, rng: &mut Rng) -> Self {
        let mut tree = self.clone();
        for _ in 0..rng.usize(5..40) {
            let Some(path) = rng.choice(tree.0.keys()).cloned() else { break };
            match rng.u8(0..8) {
                0 => tree.remove(&path),
                1 => {
                    let moved = tree.0[&path].clone();
                    tree.remove(&path);
                    let to = tree.path(rng);
                    tree.insert(to, moved);
                }
                2 => {
                    let node = node(rng, Kind::File(b"where something else was".to_vec()));
                    tree.remove(&path);
                    tree.insert(path, node);
                }
                3 => {
                    tree.remove(&path);
                    let inner = [&path[..], b"/inside"].concat();
                    let node = node(rng, Kind::File(b"of a directory that was none".to_vec()));
                    tree.insert(inner, node);
                }
                4 => {
                    let old = tree.0.get_mut(&path).unwrap();
                    *old = node(rng, old.kind.clone());
                }
                5 => tree.add(rng),
                _ => {
                    if let Some(Node { kind: Kind::File(bytes), .. }) = tree.0.get_mut(&path) {
                        let start = rng.usize(0..=bytes.len());
                        let end = rng.usize(start..=(start + 3_000).min(bytes.len()));
                        let size = rng.usize(0..3_000);
                        drop(bytes.splice(start..end, content(rng, size)));
                    }
                }
            }
        }
        tree.repaired()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, rng: &mut Rng) {
        let path = self.path(rng);
        let before = |(other, node): &(&Vec<u8>, &Node)| matches!(node.kind, Kind::File(_)) && **other < path;
        let file = rng.choice(self.0.iter().filter(before).map(|(path, _)| path).collect::<Vec<_>>());
        let kind = match (rng.u8(0..12), file) {
            (0, _) => Kind::Directory,
            (1 | 2, _) => Kind::Symlink([b"../", rng.choice(NAMES).unwrap_or_default()].concat()),
            (3, _) => Kind::Symlink(b"/nowhere/at all".to_vec()),
            (4, _) => Kind::Pipe,
            (5 | 6, Some(file)) => Kind::Hard(file.clone()),
            _ => {
                let sizes = [0, 1, 511, 512, 513, rng.usize(0..5_000), rng.usize(0..100_000)];
                let size = sizes[rng.usize(..sizes.len())];
                Kind::File(content(rng, size))
            }
        };
        let node = node(rng, kind);
        self.insert(path, node);
    }

    /// A random path, new or existing, on any level.
    fn path(&self, rng: &mut Rng) -> Vec<u8> {
        let name = |rng: &mut Rng| {
            let name = rng.choice(NAMES).unwrap_or_default();
            if rng.bool() { name.to_vec() } else { [name, &[b'0' + rng.u8(..10)]].concat() }
        };
        let names: Vec<Vec<u8>> = (0..rng.usize(1..5)).map(|_| name(rng)).collect();
        names.join(&b'/')
    }

    /// Puts an entry at a path, replacing other entries in its way, and adds missing directories.
    fn insert(&mut self, path: Vec<u8>, node: Node) {
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let is_dir = self.0.get(&path[..end]).is_some_and(|node| node.kind == Kind::Directory);
            if !is_dir {
                let directory = Node { kind: Kind::Directory, mode: 0o755, owner: (0, 0), time: 1 };
                self.0.insert(path[..end].to_vec(), directory);
            }
        }
        if node.kind != Kind::Directory {
            self.remove(&path);
        }
        self.0.insert(path, node);
    }

    /// Removes a path and all below it.
    fn remove(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        self.0.retain(|other, _| other != path && !other.starts_with(&below));
    }

    /// The tree with consistent hard links: each has the owner and time of its file.
    fn repaired(mut self) -> Self {
        let files = self.0.clone();
        self.0.retain(|_, node| {
            let Kind::Hard(file) = &node.kind else { return true };
            let Some(target) = files.get(file).filter(|node| matches!(node.kind, Kind::File(_))) else {
                return false;
            };
            *node = Node { kind: node.kind.clone(), ..target.clone() };
            true
        });
        self.0.retain(|path, node| !matches!(&node.kind, Kind::Hard(file) if file > path));
        self
    }

    /// Expected output of [`LIST`].
    pub fn listing(&self) -> Vec<String> {
        let line = |(path, Node { kind, mode, owner, time }): (&Vec<u8>, &Node)| {
            let of_file = |path: &[u8], bytes: &[u8]| format!("{} {:x}", hex(path), Sha256::digest(bytes));
            let (format, mode, about) = match kind {
                Kind::File(bytes) => (0o100_000, *mode, of_file(path, bytes)),
                Kind::Hard(file) => match &self.0[file].kind {
                    Kind::File(bytes) => (0o100_000, *mode, of_file(file, bytes)),
                    _ => unreachable!("repaired"),
                },
                Kind::Directory => (0o40_000, *mode, "-".to_owned()),
                Kind::Symlink(target) => (0o120_000, 0, hex(target)),
                Kind::Pipe => (0o10_000, *mode, "-".to_owned()),
            };
            format!("{} {format:o} {mode:o} {} {} {time} {about}", hex(path), owner.0, owner.1)
        };
        self.0.iter().map(line).collect()
    }

    /// The tree as two archives, each with all directories: a file may move from one to the other.
    pub fn archives(&self) -> [Vec<u8>; 2] {
        let number = |path: &[u8]| usize::from(crc32fast::hash(path).count_ones() % 2 == 1);
        [0, 1].map(|archive| {
            let mut builder = tar::Builder::new(Vec::new());
            for (path, node) in &self.0 {
                let is_in = match &node.kind {
                    Kind::Directory => true,
                    Kind::Hard(file) => number(file) == archive,
                    _ => number(path) == archive,
                };
                if is_in {
                    append(&mut builder, path, node);
                }
            }
            builder.into_inner().unwrap()
        })
    }
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &[u8], node: &Node) {
    let as_path = |bytes| Path::new(OsStr::from_bytes(bytes)).to_owned();
    let mut header = tar::Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(node.owner.0.into());
    header.set_gid(node.owner.1.into());
    header.set_mtime(node.time);
    header.set_size(0);
    let (kind, content) = match &node.kind {
        Kind::File(bytes) => (tar::EntryType::Regular, &bytes[..]),
        Kind::Directory => (tar::EntryType::Directory, &[][..]),
        Kind::Pipe => (tar::EntryType::Fifo, &[][..]),
        Kind::Symlink(target) | Kind::Hard(target) => {
            let is_hard = matches!(node.kind, Kind::Hard(_));
            header.set_entry_type(if is_hard { tar::EntryType::Link } else { tar::EntryType::Symlink });
            builder.append_link(&mut header, as_path(path), as_path(target)).unwrap();
            return;
        }
    };
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, as_path(path), content).unwrap();
}

fn node(rng: &mut Rng, kind: Kind) -> Node {
    let modes: &[u32] = match kind {
        Kind::Directory => &[0o755, 0o700, 0o2775, 0o1777],
        _ => &[0o644, 0o755, 0o600, 0o4755, 0o2755, 0o444, 0],
    };
    let mut id = || rng.choice([0, 0, 1000, 65534, 1_000_000]).unwrap_or_default();
    let owner = (id(), id());
    let time = rng.choice([1, 1_700_000_000, 1_700_000_001, 4_000_000_000]).unwrap_or_default();
    Node { kind, mode: rng.choice(modes).copied().unwrap_or_default(), owner, time }
}

/// Random content, compressible or not.
fn content(rng: &mut Rng, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rng.fill(&mut bytes);
    if rng.bool() {
        bytes.iter_mut().for_each(|byte| *byte %= 4);
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
