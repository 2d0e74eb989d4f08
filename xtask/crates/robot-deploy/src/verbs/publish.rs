//! `cargo xtask publish`: builds the current revision and pushes its images to the registry of `[hub]`.

use anyhow::Context as _;

use super::{builder, workspace};
use crate::error::{FollowedBy as _, Result};
use crate::hub::{self, tags};
use crate::publish::{self, Checkout};
use crate::{host, image, ui};

#[derive(clap::Args, Debug)]
#[command(after_help = "Each image is tagged with the branch, each git tag and the revision:
  REPOSITORY:navigation-main  REPOSITORY:navigation-v1.2  REPOSITORY:navigation-0a1b2c3d4e5f
Log in first: docker login REGISTRY")]
pub struct Args {
    /// Install missing tools on this machine without asking
    #[arg(long, short)]
    yes: bool,
}

/// Publishes the images and prints their references.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let hub = hub::of(&workspace)?;
    for repository in std::iter::once(workspace.root.clone()).chain(workspace.nested_repositories()) {
        publish::check_clean(&repository)
            .with_context(|| format!("the repository `{}`", workspace.relative(&repository)))?;
    }
    let names = tags::names(&workspace.root)?;
    let builder = builder(args.yes, &host::needs(publish::platforms(&workspace)))?;
    let checkout = Checkout::of(&workspace)
        .followed_by("building all images from a clean checkout")
        .followed_by(format!("pushing them to {} with the tags {}", hub.repository, names.join(", ")))?;
    let published = publish::publish(&checkout.workspace()?, builder, hub, &names)?;
    let rows: Vec<[String; 3]> = published
        .into_iter()
        .map(|tag| [tag.reference, tag.platforms, image::short(&tag.digest).to_owned()])
        .collect();
    Ok(ui::result(&ui::table(["IMAGE", "PLATFORMS", "DIGEST"], &rows))?)
}
