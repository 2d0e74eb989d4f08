//! `cargo xtask releases` and `history`: the releases stored on robots, and the robots' histories.

use serde_json::json;

use super::{RobotsArg, workspace};
use crate::config::{Robot, Workspace};
use crate::error::Result;
use crate::fleet;
use crate::reach::reach;
use crate::release::metadata::Metadata;
use crate::release::stored::{self, StoredRelease};
use crate::release::{history, seen};
use crate::robot::Session;
use crate::ui;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the releases. An unreachable robot does not stop the others.
pub(crate) fn run(args: &Args) -> Result<()> {
    let list = |session: &Session, workspace: &Workspace| {
        let releases = stored::list(session, &workspace.project.name)?;
        seen::record(workspace, session.robot(), &releases);
        Ok(releases)
    };
    show(args, list, |all| {
        let rows: Vec<_> = all
            .iter()
            .flat_map(|(robot, stored)| stored.iter().map(|stored| release(robot, stored)))
            .collect();
        ui::table(["ROBOT", "RELEASE", "", "OUTCOME", "REVISION", "BY", "DEPLOYED (UTC)", "VIA"], &rows)
    })
}

/// Prints the histories. An unreachable robot does not stop the others.
pub(crate) fn history(args: &Args) -> Result<()> {
    let read = |session: &Session, workspace: &Workspace| history::read(session, &workspace.project.name);
    show(args, read, |all| {
        let rows: Vec<_> =
            all.iter().flat_map(|(robot, entries)| entries.iter().map(|entry| line(robot, entry))).collect();
        ui::table(["ROBOT", "TIME (UTC)", "BY", "WHAT", "RELEASE", "OUTCOME"], &rows)
    })
}

/// Queries all robots in parallel and prints the answers as a table or as JSON.
fn show<T: serde::Serialize + Send>(
    args: &Args,
    ask: impl Fn(&Session, &Workspace) -> Result<T> + Sync,
    table: impl FnOnce(&[(String, T)]) -> String,
) -> Result<()> {
    let workspace = workspace()?;
    let robots = args.robots.resolve(&workspace)?;
    let (all, served) =
        fleet::each(&robots, |robot: &Robot| ask(&Session::open(reach(&workspace, robot)?)?, &workspace));
    if args.json {
        let robots: serde_json::Map<String, serde_json::Value> =
            all.iter().map(|(robot, answer)| (robot.clone(), json!(answer))).collect();
        ui::result(&serde_json::to_string_pretty(&robots)?)?;
    } else if !all.is_empty() {
        ui::result(&table(&all))?;
    }
    served
}

fn release(robot: &str, stored: &StoredRelease) -> [String; 8] {
    let rank = match (stored.is_current, stored.is_previous) {
        (true, _) => stored
            .live_edits
            .as_ref()
            .map_or("current".to_owned(), |edits| format!("current + {edits} by {}", edits.by)),
        (_, true) => "previous".to_owned(),
        _ => String::new(),
    };
    let record = stored.record.as_ref();
    let deploy = record.and_then(|record| record.deploy.as_ref());
    let outcome = record.map_or("unknown (record lost)".to_owned(), |record| match record.reason.as_str() {
        "" => record.outcome.clone(),
        reason => format!("{}: {reason}", record.outcome),
    });
    let of = |text: fn(&Metadata) -> String| deploy.map(text).unwrap_or_default();
    [
        robot.to_owned(),
        stored.release.to_string(),
        rank,
        outcome,
        of(|deploy| deploy.source.in_words()),
        of(|deploy| deploy.by.clone()),
        of(|deploy| ui::time(&deploy.at)),
        of(|deploy| deploy.via.clone()),
    ]
}

fn line(robot: &str, entry: &history::Entry) -> [String; 6] {
    let history::Entry { at, by, what, release, outcome } = entry;
    let release = release.map(|number| number.to_string()).unwrap_or_default();
    [robot.to_owned(), ui::time(at), by.clone(), what.clone(), release, outcome.clone()]
}
