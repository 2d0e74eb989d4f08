//! `cargo xtask watch`: deploys after each save.

use std::time::Instant;

use anyhow::Context as _;

use super::workspace;
use crate::config::Workspace;
use crate::error::{FollowedBy as _, Result, until_interrupted};
use crate::process::{self, Cmd};
use crate::ui;
use crate::watcher::Watcher;

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask watch --robot main

Files saved while a deploy runs are deployed together after it.")]
pub struct Args {
    /// The robot, or several separated by commas; optional if there is only one
    #[arg(long, short, value_name = "ROBOT", value_delimiter = ',')]
    robot: Vec<String>,

    /// Start new releases even if a robot is busy
    #[arg(long)]
    force: bool,
}

/// Deploys once, and then after each save. Each deploy is a separate process, so that a failed one, also a
/// crash, does not end the watch.
pub(crate) fn run(args: &Args) -> Result<()> {
    until_interrupted(watch(args))
}

fn watch(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    // Fails early if a robot is unknown.
    workspace.robots_named(&args.robot)?;
    let program = std::env::current_exe().context("find this program")?;
    let mut words = vec!["deploy", "--wait", "--yes"];
    let names = args.robot.join(",");
    if !args.robot.is_empty() {
        words.extend(["--robot", &names]);
    }
    words.extend(args.force.then_some("--force"));
    words.extend(crate::mode::verbose().then_some("--verbose"));
    let deploy = Cmd::new(program.to_string_lossy()).args(words).dir(&workspace.root);
    deploy.plan().followed_by("doing so again after each save")?;
    let mut watcher = Watcher::of(&workspace)?;
    loop {
        let began = Instant::now();
        let deployed = deploy.interactive();
        process::check_interrupted()?;
        match deployed {
            Ok(()) => ui::done(
                "watch",
                &format!("done in {:.1} s; waiting for a save", began.elapsed().as_secs_f32()),
            ),
            Err(_) => ui::warn("watch", "the deploy failed, see above; waiting for a save"),
        }
        let path = watcher.next()?;
        ui::step("watch", &format!("{path} was saved"));
        // With a mistake in robots.toml, the deploy tells it.
        if let Ok(workspace) = Workspace::load(&workspace.root) {
            watcher = watcher.follow(&workspace)?;
        }
    }
}
