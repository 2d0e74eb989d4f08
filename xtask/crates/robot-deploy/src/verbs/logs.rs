//! `cargo xtask logs`: output of the services of one or more robots.

use std::time::Instant;

use super::{RobotsArg, workspace};
use crate::complete;
use crate::config::Robot;
use crate::error::{Failure, Result, until_interrupted};
use crate::fleet;
use crate::reach::reach;
use crate::release::services;
use crate::robot::Session;
use crate::{process, ui};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask logs --robot main
  cargo xtask logs --all --follow navigation localization")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Only these services; by default all
    #[arg(value_name = "SERVICE", add = complete::services())]
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
    let words = |which: &[&str]| {
        let mut words = vec!["logs".to_owned(), "--no-color".to_owned()];
        words.extend(which.iter().map(|word| (*word).to_owned()));
        words.extend(args.follow.then(|| "--follow".to_owned()));
        words.push("--".to_owned());
        words.extend(args.services.iter().cloned());
        words
    };
    let first: Vec<&str> = std::iter::once(tail.as_str()).chain(since.as_deref()).collect();
    let width = robots.iter().map(|robot| robot.name.chars().count()).max().unwrap_or_default();
    let show = |robot: &Robot| {
        let session = Session::open(reach(&workspace, robot)?)?;
        services::check(&session, project, &args.services)?;
        let mut last: Option<Instant> = None;
        process::patiently(|| {
            let words = match last {
                None => words(&first),
                // Lines of the last second before the connection dropped may come twice.
                Some(last) if args.follow => words(&[&format!("--since={}s", last.elapsed().as_secs() + 1)]),
                Some(_) => {
                    let lost =
                        format!("the connection to `{}` was lost while its logs were shown", robot.name);
                    return Err(Failure::unreachable(lost).into());
                }
            };
            services::lines(&session, project, &words, |line| {
                last = Some(Instant::now());
                // Without a prefix for a single robot, so that other programs can read the lines.
                let name =
                    if robots.len() == 1 { String::new() } else { format!("{:<width$}  ", robot.name) };
                Ok(ui::result(&format!("{name}{line}"))?)
            })
        })
    };
    let shown = fleet::each(&robots, show).1;
    if args.follow { until_interrupted(shown) } else { shown }
}
