//! `cargo xtask logs`: what the nodes say, of all services of all robots asked for.

use super::{RobotsArg, fleet, reach, workspace};
use crate::config::Robot;
use crate::error::Result;
use crate::release::services;
use crate::robot::Session;
use crate::ui;

/// Show what services print; of several robots, each line under the robot's name
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask logs --robot main
  cargo xtask logs --all --follow navigation localization")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Only these services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// Go on as lines come, until Ctrl-C
    #[arg(long, short)]
    follow: bool,

    /// Lines of each service to begin with
    #[arg(long, default_value_t = 100, value_name = "LINES")]
    tail: u32,

    /// Only what was printed after this: a time, or a duration like 10m
    #[arg(long, value_name = "WHEN", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    since: Option<String>,
}

/// Prints logs on stdout.
///
/// # Errors
/// Fails when a robot cannot be reached or has no such service; the others are shown all the same.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let project = workspace.project.name.as_str();
    let robots = args.robots.resolve(&workspace)?;
    let tail = format!("--tail={}", args.tail);
    let since = args.since.as_ref().map(|since| format!("--since={since}"));
    let mut words = vec!["logs", "--no-color", &tail];
    words.extend(args.follow.then_some("--follow"));
    words.extend(since.as_deref());
    words.push("--");
    words.extend(args.services.iter().map(String::as_str));
    let width = robots.iter().map(|robot| robot.name.chars().count()).max().unwrap_or_default();
    let show = |robot: &Robot| {
        let session = Session::open(reach(&workspace, robot)?)?;
        services::check(&session, project, &args.services)?;
        services::lines(&session, project, &words, |line| {
            // Of one robot they stay as they are, for other programs to read; but for what a terminal would obey.
            let name = if robots.len() == 1 { String::new() } else { format!("{:<width$}  ", robot.name) };
            Ok(ui::result(&format!("{name}{line}"))?)
        })
    };
    fleet::each(&robots, show).1
}
