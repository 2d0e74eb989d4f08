//! What is the least that could have travelled: the difference of the images' whole file trees, by `zstd`.
//!
//! The tree of an image is what `docker export` makes of a container that was never started: one archive, always
//! in the same order. Each image that an edit changes counts; nothing is counted for the others. Of a first deploy
//! the first image counts whole, and each other one by its difference from it.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::contender::Contender;
use super::copy::Copy;
use crate::error::Result;
use crate::process::Cmd;
use crate::ui;

/// The levels that are tried, with what `zstd` itself advises for comparing files with the highest. That one takes
/// minutes, and is not always the best: the smallest counts.
const LEVELS: [(u8, &[&str]); 3] = [(3, &[]), (9, &[]), (HIGHEST, &["--zstd=targetLength=4096,chainLog=28"])];

const HIGHEST: u8 = 19;

/// Trees of more bytes are not compared with the highest level.
const LARGE: u64 = 300_000_000;

/// The floor of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// Of what.
    pub case: Case,
    /// Bytes.
    pub bytes: u64,
    /// The sums that each level gave, where all of it could be compressed with it.
    pub levels: Vec<(u8, u64)>,
}

/// The floors of cases, measured on the images that `contender` builds.
pub fn all(cases: &[Case], contender: &dyn Contender, copy: &Copy, dir: &Utf8Path) -> Result<Vec<Floor>> {
    let dir = dir.join("floor");
    let mut floors = Vec::new();
    // Two at a time: one thread compresses each, and archives of all cases would fill disks.
    for cases in cases.chunks(2) {
        let trees =
            cases.iter().map(|case| Trees::of(*case, contender, copy, &dir)).collect::<Result<Vec<Trees>>>();
        let compress = |trees: Vec<Trees>| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = trees.iter().map(|trees| scope.spawn(|| trees.compress())).collect();
                let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Floor>>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                threads.into_iter().map(join).collect::<Result<Vec<Floor>>>()
            })
        };
        let measured = trees.and_then(compress);
        fs_err::remove_dir_all(&dir)?;
        floors.extend(measured?);
    }
    Ok(floors)
}

/// What is compared: each tree with what is there before it, if anything.
struct Trees {
    case: Case,
    dir: Utf8PathBuf,
    pairs: Vec<(Option<Utf8PathBuf>, Utf8PathBuf)>,
}

impl Trees {
    fn of(case: Case, contender: &dyn Contender, copy: &Copy, dir: &Utf8Path) -> Result<Self> {
        ui::step("bench", &format!("the floor of: {}", case.title()));
        let dir = dir.join(format!("{case:?}"));
        fs_err::create_dir_all(&dir)?;
        let images = contender.images(case.subject());
        copy.reset()?;
        contender.build(case.subject())?;
        let mut pairs = Vec::new();
        if let Some(edit) = case.edit(0) {
            let before = ids(&images)?;
            let old = export(&images, &dir, "old")?;
            copy.apply(&edit)?;
            contender.build(case.subject())?;
            let after = ids(&images)?;
            let new = export(&images, &dir, "new")?;
            let changed = before.iter().zip(&after).map(|(before, after)| before != after);
            let trees = old.into_iter().zip(new).zip(changed).filter(|(_, changed)| *changed);
            pairs.extend(trees.map(|((old, new), _)| (Some(old), new)));
        } else {
            let trees = export(&images, &dir, "new")?;
            let first = trees.first().cloned();
            pairs.extend(
                trees
                    .into_iter()
                    .enumerate()
                    .map(|(number, tree)| (first.clone().filter(|_| number > 0), tree)),
            );
        }
        Ok(Self { case, dir, pairs })
    }

    fn compress(&self) -> Result<Floor> {
        let mut bytes = 0;
        let mut levels: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for (old, new) in &self.pairs {
            let large = fs_err::metadata(new)?.len() > LARGE;
            let mut sizes = Vec::new();
            for (level, options) in LEVELS {
                let pointless = match old {
                    Some(_) => level == HIGHEST && (large || self.case == Case::First),
                    None => level != HIGHEST,
                };
                if !pointless {
                    let size = self.size(level, options, old.as_deref(), new)?;
                    levels.entry(level).or_default().push(size);
                    sizes.push(size);
                }
            }
            bytes += sizes.into_iter().min().unwrap_or_default();
        }
        let whole = levels.into_iter().filter(|(_, sizes)| sizes.len() == self.pairs.len());
        let levels = whole.map(|(level, sizes)| (level, sizes.into_iter().sum())).collect();
        Ok(Floor { case: self.case, bytes, levels })
    }

    fn size(&self, level: u8, options: &[&str], old: Option<&Utf8Path>, new: &Utf8Path) -> Result<u64> {
        let patch = self.dir.join("patch");
        Cmd::new("zstd")
            .args(["--quiet", "--force", &format!("-{level}"), "--long=31", "--single-thread"])
            .args(old.iter().flat_map(|_| options.iter().copied()))
            .args(old.iter().map(|old| format!("--patch-from={old}")))
            .args([new.as_str(), "-o", patch.as_str()])
            .run()?;
        Ok(fs_err::metadata(&patch)?.len())
    }
}

/// The trees of images as archives.
fn export(images: &[String], dir: &Utf8Path, name: &str) -> Result<Vec<Utf8PathBuf>> {
    let tree = |(number, image): (usize, &String)| {
        let file = dir.join(format!("{name}-{number}.tar"));
        // Images may have no command of their own; this one is never run.
        let container = Cmd::new("docker").args(["create", image, "true"]).run_for_output()?;
        let exported = Cmd::new("docker").args(["export", "--output", file.as_str(), &container]).run();
        Cmd::new("docker").args(["rm", &container]).clean_up();
        exported.map(|()| file)
    };
    images.iter().enumerate().map(tree).collect()
}

/// What the image store identifies images by.
fn ids(images: &[String]) -> Result<Vec<String>> {
    let inspect = Cmd::new("docker").args(["image", "inspect", "--format", "{{.Id}}"]);
    Ok(inspect.args(images.iter().map(String::as_str)).read()?.lines().map(str::to_owned).collect())
}
