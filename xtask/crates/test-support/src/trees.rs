//! Random trees of files, random edits of the trees, and their archives.

use std::collections::BTreeMap;

use fastrand::Rng;

/// Most bytes that one frame makes: `layer_delta::plan::FRAME`.
const FRAME: u64 = 8 << 20;

#[derive(Clone, Debug)]
pub enum Node {
    File(Vec<u8>),
    Directory,
    Symlink(String),
    /// Hard link to the file at this path.
    Hard(String),
}

/// A node and its modification time for each path.
pub type Tree = BTreeMap<String, (Node, u64)>;

/// Random size: often at a boundary of archives or plans.
fn size(rng: &mut Rng) -> usize {
    match rng.u8(0..20) {
        0..4 => rng.choice([0, 1, 511, 512, 513, 1024]).unwrap(),
        4..13 => rng.usize(0..5_000),
        13..18 => rng.usize(5_000..80_000),
        _ => rng.usize(200_000..400_000),
    }
}

/// Random bytes: compressible or not.
pub fn content(rng: &mut Rng, size: usize) -> Vec<u8> {
    if rng.bool() {
        return noise(rng, size);
    }
    let words: Vec<String> = (0..20).map(|_| format!("{:x} ", rng.u32(..))).collect();
    let mut text = Vec::with_capacity(size + 10);
    while text.len() < size {
        text.extend_from_slice(words[rng.usize(..20)].as_bytes());
    }
    text.truncate(size);
    text
}

/// Random bytes that cannot be compressed.
pub fn noise(rng: &mut Rng, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rng.fill(&mut bytes);
    bytes
}

fn path(rng: &mut Rng) -> String {
    let mut path = format!("d{}/", rng.u8(0..4));
    if rng.u8(0..12) == 0 {
        // Longer than a tar header allows.
        path += &format!("{}/", "long".repeat(rng.usize(20..50)));
    }
    path + &format!("file-{}.{}", rng.u8(..), rng.u8(0..3))
}

fn node(rng: &mut Rng, tree: &Tree) -> Node {
    let files: Vec<&String> =
        tree.iter().filter(|(_, (node, _))| matches!(node, Node::File(_))).map(|(path, _)| path).collect();
    let file = rng.choice(files);
    match (rng.u8(0..12), file) {
        (0, _) => Node::Directory,
        (1, _) => Node::Symlink(path(rng)),
        (2, Some(file)) => Node::Hard(file.clone()),
        _ => {
            let size = size(rng);
            Node::File(content(rng, size))
        }
    }
}

pub fn tree(rng: &mut Rng) -> Tree {
    let mut tree = Tree::new();
    for _ in 0..rng.usize(0..25) {
        let node = node(rng, &tree);
        tree.insert(path(rng), (node, rng.u64(..2)));
    }
    if rng.u8(0..10) == 0 {
        let size = FRAME as usize + rng.usize(0..3_000_000);
        tree.insert("d1/large".into(), (Node::File(content(rng, size)), 0));
    }
    tree
}

/// The tree after random changes of contents, names and times, and with files added and removed.
pub fn edited(rng: &mut Rng, tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for _ in 0..rng.usize(0..8) {
        let Some(name) = rng.choice(tree.keys()).cloned() else { break };
        match rng.u8(0..6) {
            0 => {
                tree.remove(&name);
            }
            1 => {
                let moved = tree.remove(&name).unwrap();
                tree.insert(path(rng), moved);
            }
            2 => tree.get_mut(&name).unwrap().1 += 1,
            3 => {
                let node = node(rng, &tree);
                tree.insert(path(rng), (node, 0));
            }
            _ => {
                if let Node::File(bytes) = &mut tree.get_mut(&name).unwrap().0 {
                    change(rng, bytes);
                }
            }
        }
    }
    tree
}

/// Inserts, removes or replaces bytes anywhere.
fn change(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let start = rng.usize(0..=bytes.len());
    let end = rng.usize(start..=(start + 3_000).min(bytes.len()));
    let size = rng.usize(0..3_000);
    let new = content(rng, size);
    bytes.splice(start..end, new);
}

pub fn archive(tree: &Tree) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, (node, time)) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(*time);
        header.set_mode(0o644);
        header.set_size(0);
        match node {
            Node::File(bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
            }
            Node::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            Node::Symlink(target) | Node::Hard(target) => {
                let is_hard = matches!(node, Node::Hard(_));
                let kind = if is_hard { tar::EntryType::Link } else { tar::EntryType::Symlink };
                header.set_entry_type(kind);
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// A layer: mostly the archive of a tree; sometimes the archive is cut off, followed by other bytes, or not
/// an archive.
pub fn layer(rng: &mut Rng, tree: &Tree) -> Vec<u8> {
    let mut bytes = archive(tree);
    match rng.u8(0..12) {
        0 => bytes.truncate(rng.usize(0..=bytes.len())),
        1 => {
            let size = rng.usize(0..70_000);
            bytes.extend(content(rng, size));
        }
        2 => {
            let size = rng.usize(0..100_000);
            bytes = content(rng, size);
        }
        _ => {}
    }
    bytes
}
