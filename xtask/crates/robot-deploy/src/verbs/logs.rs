//! `cargo xtask logs`: output of the services of one or more robots.

use super::{RobotsArg, workspace};
use crate::config::Robot;
use crate::error::Result;
use crate::fleet;
use crate::reach::reach;
use crate::release::services;
use crate::robot::Session;
use crate::ui;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask logs --robot main
  cargo xtask logs --all --follow navigation localization")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Only these services; by default all
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// Follow the output until Ctrl-C
    #[arg(long, short)]
    follow: bool,

    /// Number of earlier lines to show of each service
    #[arg(long, default_value_t = 100, value_name = "LINES")]
    tail: u32,

    /// Only output after this time, or in the last duration, like 10m
    #[arg(long, value_name = "WHEN", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    since: Option<String>,
}

/// Prints the logs on stdout.
pub(crate) fn run(args: &Args) -> Result<()> {
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
            // Without a prefix for a single robot, so that other programs can read the lines.
            let name = if robots.len() == 1 { String::new() } else { format!("{:<width$}  ", robot.name) };
            Ok(ui::result(&format!("{name}{line}"))?)
        })
    };
    fleet::each(&robots, show).1
}
