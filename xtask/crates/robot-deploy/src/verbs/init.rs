//! `cargo xtask init`: makes a repository ready to be deployed.

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueHint;

use crate::config::Workspace;
use crate::error::{Exit, Failure, FollowedBy as _, Result, exit_of, hints_of};
use crate::process::{self, Cmd};
use crate::release::compose::ComposeDraft;
use crate::{init, ui};

/// Most changes that are shown one by one.
const SHOWN: usize = 8;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "It looks for Compose files and ROS packages, shows what it would write, and asks. Nothing that is there is replaced, so \
                        it can be run again."
)]
pub struct Args {
    /// The repository
    #[arg(value_name = "DIRECTORY", value_hint = ValueHint::DirPath, default_value = ".")]
    path: Utf8PathBuf,

    /// Write without asking
    #[arg(long, short)]
    yes: bool,
}

/// Shows the changes, asks, and makes them.
///
/// # Errors
/// Fails with exit code 2 if the directory has nothing that could be deployed, or if nobody can be asked.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root(&args.path)?;
    let changes = init::changes(&root)?;
    for change in changes.iter().take(SHOWN) {
        ui::step("init", &format!("{}: {}", change.path, change.about));
    }
    if let Some(more) = changes.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        ui::step("init", &format!("and {more} more files in `docker/`"));
    }
    process::outcome_needed().followed_by("writing these files")?;
    if !changes.is_empty() && !args.yes && !ui::confirm(&format!("Write these files in `{root}`?")) {
        return Err(Failure::config("nothing was written").hint("`--yes` writes without asking").into());
    }
    changes.iter().try_for_each(|change| change.make(&root))?;
    let workspace = Workspace::load(&root)?;
    let questions =
        || workspace.robots.values().filter_map(|robot| ComposeDraft::render(&workspace, robot).err());
    match questions().find(|error| exit_of(error) == Exit::Config) {
        None => ui::done("init", &format!("`{root}` is ready; next:")),
        Some(error) => {
            ui::done("init", &format!("`{root}` has what it needs except for this: {error:#}"));
            hints_of(&error).iter().for_each(|hint| ui::step("init", hint));
            ui::step("init", "then:");
        }
    }
    ui::step("init", "cargo xtask setup");
    ui::step("init", "cargo xtask deploy --robot main");
    Ok(())
}

/// The repository that contains a directory, or the directory itself.
fn root(path: &Utf8Path) -> Result<Utf8PathBuf> {
    let path = path.canonicalize_utf8().with_context(|| format!("find `{path}`"))?;
    let top = Cmd::new("git").args(["rev-parse", "--show-toplevel"]).dir(&path).read();
    Ok(top.map_or(path, Utf8PathBuf::from))
}
