//! Bases of images: bootstrapped from the Debian archive, an image of a registry, or an image of this machine.
//!
//! Each base is kept in this machine's image store under a tag of its own, so that later builds need no internet.

pub mod debian;
pub(super) mod image;

use camino::{Utf8Path, Utf8PathBuf};

use super::Builder;
use crate::cmd;
use crate::config::{Base, BaseSource, Platform, Workspace};
use crate::doctor::{Check, Outcome};
use crate::error::Result;
use crate::process;

/// Repository of bases in this machine's image store.
const REPOSITORY: &str = "xtask-base";

/// Makes sure that this machine has a base, and returns its named context for BuildKit.
pub fn ensure(workspace: &Workspace, builder: Builder, base: &Base, platform: &Platform) -> Result<String> {
    let tag = match &base.source {
        BaseSource::Debian { suite } => debian::ensure(suite, platform)?,
        BaseSource::Registry { reference } => image::pull(reference, platform)?,
        BaseSource::Local { name } => image::keep(&role(base), name, platform)?,
    };
    context(workspace, builder, &tag)
}

/// The named context for BuildKit of an image in this machine's store.
pub(super) fn context(workspace: &Workspace, builder: Builder, tag: &str) -> Result<String> {
    match builder {
        Builder::Engine { .. } => Ok(format!("docker-image://{tag}")),
        Builder::Container => as_layout(&workspace.state_dir().join("bases"), tag),
    }
}

/// A base, in messages about its image.
fn role(base: &Base) -> String {
    format!("the base `{}`", base.name)
}

/// Checks whether this machine has a base. `is_needed` tells whether images for the platform are built on it for sure.
pub(crate) fn check(base: &Base, platform: &Platform, is_needed: bool) -> Check {
    let name = format!("`{}` for {platform}", base.name);
    let tag = match &base.source {
        BaseSource::Debian { suite } => debian::tag(suite, platform),
        BaseSource::Registry { reference } => Ok(image::tag(reference, platform)),
        BaseSource::Local { name } => image::find(&role(base), name, platform).map(|_id| name.clone()),
    };
    let outcome = match (tag, &base.source) {
        (Err(error), _) if is_needed => Outcome::error(&error),
        (Err(error), _) => Outcome::note_error(&error),
        (Ok(tag), source) => match (image::size(&tag), source) {
            (Some(size), _) => Outcome::good(format!("{name}: {size}")),
            (None, BaseSource::Debian { .. }) => {
                Outcome::note(format!("{name} is not here yet: the first build makes it, with internet"))
            }
            (None, _) => {
                Outcome::note(format!("{name} is not here yet: the first build pulls it from its registry"))
            }
        },
    };
    Check::new("host", "base", outcome)
}

/// Writes a base as an OCI layout for the `docker-container` builder, which cannot read the engine's images.
fn as_layout(dir: &Utf8Path, tag: &str) -> Result<String> {
    let layout = dir.join(tag.replace(':', "-"));
    if !layout.is_dir() {
        // Renamed when complete: an interrupted copy must not be used as a layout.
        let unfinished = Utf8PathBuf::from(format!("{layout}.unfinished"));
        process::create_dir(&unfinished)?;
        cmd!("tar -xf - -C {unfinished}")?.feed(&cmd!("docker save {tag}")?)?;
        cmd!("mv {unfinished} {layout}")?.run()?;
    }
    Ok(format!("oci-layout://{layout}:{}", tag.rsplit(':').next().unwrap_or("latest")))
}
