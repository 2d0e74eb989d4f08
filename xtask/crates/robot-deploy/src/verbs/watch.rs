//! `cargo xtask watch`: a deploy for each save.

use std::time::Instant;

use anyhow::Context as _;

use super::workspace;
use crate::error::Result;
use crate::process::{self, Cmd};
use crate::ui;
use crate::watcher::Watcher;

/// Deploy whenever something is saved in the ROS workspace, in docker/ or in robots.toml, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask watch --robot main

What is saved while a deploy runs is deployed after it, all of it at once.")]
pub struct Args {
    /// The robots, with commas between; may be left out where there is only one
    #[arg(long, short, value_name = "ROBOT", value_delimiter = ',')]
    robot: Vec<String>,

    /// Deploy even if a robot says that it is busy
    #[arg(long)]
    force: bool,
}

/// Watches. Each deploy is a run of its own: one that fails, in whatever way, does not end this.
///
/// # Errors
/// Fails when `robots.toml` cannot be read in the beginning, and when the run is interrupted.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let _robots = workspace.robots_named(&args.robot)?;
    let program = std::env::current_exe().context("find this program")?;
    let mut words = vec!["deploy", "--wait", "--yes"];
    let names = args.robot.join(",");
    if !args.robot.is_empty() {
        words.extend(["--robot", &names]);
    }
    words.extend(args.force.then_some("--force"));
    words.extend(process::mode().verbose.then_some("--verbose"));
    let deploy = Cmd::new(program.to_string_lossy()).args(words).dir(&workspace.root);
    if process::mode().dry_run {
        return deploy.run();
    }
    let watcher = Watcher::of(&workspace)?;
    loop {
        let began = Instant::now();
        let deployed = deploy.interactive();
        process::check_interrupted()?;
        match deployed {
            Ok(()) => ui::done(
                "watch",
                &format!("done in {:.1} s; waiting for a save", began.elapsed().as_secs_f32()),
            ),
            Err(_) => ui::warn("watch", "that failed, see above; waiting for a save"),
        }
        let path = watcher.next()?;
        ui::step("watch", &format!("{path} was saved"));
    }
}
