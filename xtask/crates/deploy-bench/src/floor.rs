//! The floor, a reference for the bytes on the wire: the size of the difference between the images' whole
//! file trees, compressed by `zstd`.
//!
//! The tree of an image is the archive that `docker export` makes of a container that was never started; its
//! order is always the same. Only images that the edit changes count. For a first deploy, the first image
//! counts in full, and every other image counts by its difference from the first.
//!
//! The floor is a reference, not a strict minimum: it is measured for the first of a case's edits, and later
//! samples may deploy a smaller edit.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::copy::WorkspaceCopy;
use super::method::Method;
use robot_deploy::error::Result;
use robot_deploy::process::Cmd;
use robot_deploy::{parallel, ui};

/// Compression levels, with the options that `zstd` recommends for `--patch-from` at the highest level. That
/// level takes minutes and is not always the best, so the smallest result counts.
const LEVELS: [(u8, &[&str]); 3] = [(3, &[]), (9, &[]), (HIGHEST, &["--zstd=targetLength=4096,chainLog=28"])];

const HIGHEST: u8 = 19;

/// Trees above this size, in bytes, are not compared at the highest level.
const LARGE: u64 = 300_000_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Floor {
    pub case: Case,
    pub bytes: u64,
    /// Total bytes per level, for the levels at which every tree was compressed.
    pub levels: Vec<(u8, u64)>,
}

/// Measures the floors of cases, on the images that `method` builds.
pub(crate) fn all(
    cases: &[Case],
    method: &dyn Method,
    copy: &WorkspaceCopy,
    dir: &Utf8Path,
) -> Result<Vec<Floor>> {
    let dir = dir.join("floor");
    let mut floors = Vec::new();
    // Two at a time, one thread each: the archives of all cases at once could fill the disk.
    for cases in cases.chunks(2) {
        let trees =
            cases.iter().map(|case| Trees::of(*case, method, copy, &dir)).collect::<Result<Vec<Trees>>>();
        let compress = |trees: Vec<Trees>| parallel::map(&trees, Trees::compress).into_iter().collect();
        let measured: Result<Vec<Floor>> = trees.and_then(compress);
        fs_err::remove_dir_all(&dir)?;
        floors.extend(measured?);
    }
    Ok(floors)
}

/// Trees of a case, each with the tree that it is compared with, if there is one.
struct Trees {
    case: Case,
    dir: Utf8PathBuf,
    pairs: Vec<(Option<Utf8PathBuf>, Utf8PathBuf)>,
}

impl Trees {
    fn of(case: Case, method: &dyn Method, copy: &WorkspaceCopy, dir: &Utf8Path) -> Result<Self> {
        ui::step("bench", &format!("measuring the floor of: {}", case.title()));
        let dir = dir.join(format!("{case:?}"));
        fs_err::create_dir_all(&dir)?;
        let images = method.images(case.workload());
        copy.reset()?;
        method.build(case.workload())?;
        let mut pairs = Vec::new();
        if let Some(edit) = case.edit(0) {
            let before = ids(&images)?;
            let old = export(&images, &dir, "old")?;
            copy.apply(&edit)?;
            method.build(case.workload())?;
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
                let skip = match old {
                    Some(_) => level == HIGHEST && (large || self.case == Case::First),
                    None => level != HIGHEST,
                };
                if !skip {
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

/// Exports the trees of images as archives.
fn export(images: &[String], dir: &Utf8Path, name: &str) -> Result<Vec<Utf8PathBuf>> {
    let tree = |(number, image): (usize, &String)| {
        let file = dir.join(format!("{name}-{number}.tar"));
        // Images may have no command; `true` is never run.
        let container = Cmd::new("docker").args(["create", image, "true"]).run_for_output()?;
        let exported = Cmd::new("docker").args(["export", "--output", file.as_str(), &container]).run();
        Cmd::new("docker").args(["rm", &container]).clean_up();
        exported.map(|()| file)
    };
    images.iter().enumerate().map(tree).collect()
}

/// IDs of images in this machine's image store.
fn ids(images: &[String]) -> Result<Vec<String>> {
    let inspect = Cmd::new("docker").args(["image", "inspect", "--format", "{{.Id}}"]);
    Ok(inspect.args(images.iter().map(String::as_str)).read()?.lines().map(str::to_owned).collect())
}
