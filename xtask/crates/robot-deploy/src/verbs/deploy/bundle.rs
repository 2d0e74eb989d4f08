//! `cargo xtask deploy --via archive --to FILE`: writes everything that robots need to a file. Touches no
//! robot.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::Args;
use crate::bundle::{self, Bundle, BundleSpec, Load, Signers};
use crate::config::{Robot, Workspace};
use crate::delivery::DigestCache;
use crate::delivery::archive::ArchiveImage;
use crate::deploy::{drafts, image_specs, images_of};
use crate::error::{FollowedBy as _, Result};
use crate::hub::tags;
use crate::image::Built;
use crate::release::compose::ComposeDraft;
use crate::release::metadata::SourceRevision;
use crate::ui::{self, Progress};
use crate::verbs::builder;
use crate::{host, image, process};

/// Builds the images and writes the bundle.
pub(super) fn write(args: &Args, workspace: &Workspace, to: &Utf8Path) -> Result<()> {
    let robots = args.robots.resolve(workspace)?;
    let against = args.against.as_deref().map(Bundle::open).transpose()?;
    let against = against.as_ref().map(Bundle::contents);
    if let Some(contents) = against {
        contents.check_project(&workspace.project.name)?;
    }
    // Fails early, before a build that may take minutes.
    let signers = Signers::of(workspace);
    let signer = signers.as_ref().map(Signers::signer).transpose()?;
    let builder = builder(args.yes, &host::needs(robots.iter().map(|robot| &robot.platform)))?;
    let drafts = drafts(workspace, &robots)?;
    let specs = image_specs(&drafts, &robots)?;
    let built = image::build(workspace, builder, &specs, image::Options::default())
        .followed_by(format!("writing the images and the release of each robot to {to}"))?;
    let loads = loads(workspace, &robots, &drafts, &built)?;
    let project = workspace.project.name.as_str();
    let revision = SourceRevision::of(workspace).title();
    let revision = revision.as_deref();
    let path = path(to, project, revision);
    process::outcome_needed()
        .followed_by(format!("writing the images, compressed, and the release of each robot to {path}"))?;
    let progress = Progress::new("bundle");
    let spec = BundleSpec { project, revision, loads: &loads, against, signer: signer.as_ref() };
    let size = bundle::write(&path, &spec, &progress)?;
    progress.finish();
    ui::done(
        "bundle",
        &format!("{path}: {}; `cargo xtask load-bundle {path}` loads it onto robots", ui::bytes(size)),
    );
    Ok(())
}

/// Images and release of each robot.
fn loads<'a>(
    workspace: &Workspace,
    robots: &[&'a Robot],
    drafts: &BTreeMap<&str, ComposeDraft>,
    built: &[Built],
) -> Result<Vec<Load<'a>>> {
    let digest_cache = DigestCache::load(&workspace.state_dir());
    let load = |robot: &&'a Robot| {
        let images = images_of(drafts, robot, built);
        let images: Vec<ArchiveImage> =
            images.iter().map(|built| ArchiveImage::of(built, &digest_cache)).collect();
        let reference = |item: &ArchiveImage| (item.image.clone(), item.reference(&workspace.project.name));
        let references = images.iter().map(reference).collect();
        let release = drafts[robot.name.as_str()].bundled(&references)?.archive;
        Ok(Load { robot: &robot.name, platform: &robot.platform, images, release })
    };
    robots.iter().map(load).collect()
}

/// Path of the bundle; in a directory the bundle is named after the project and its revision.
fn path(to: &Utf8Path, project: &str, revision: Option<&str>) -> Utf8PathBuf {
    if !to.is_dir() {
        return to.to_owned();
    }
    let revision = revision.map_or_else(String::new, |text| format!("-{}", tags::sanitised(text)));
    to.join(format!("{project}{revision}.bundle"))
}
