//! `cargo xtask status`: an overview of the robots.

use std::time::Duration;

use serde_json::{Value, json};

use super::{named_or_all, workspace};
use crate::complete;
use crate::config::{Robot, Workspace};
use crate::error::{Exit, Result, exit_of, hints_of, panicked, until_interrupted};
use crate::reach::endpoint;
use crate::release::status::{Service, Status};
use crate::robot::Session;
use crate::{image, parallel, process, ui};

const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// Seconds of clock difference beyond which logs and bags of two machines cannot be compared.
const SKEW: i64 = 2;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only these robots, separated by commas; by default all
    #[arg(long, short, value_delimiter = ',', add = complete::robots())]
    robot: Vec<String>,

    /// Refresh until Ctrl-C
    #[arg(long, short)]
    watch: bool,

    /// Print JSON; with `--watch` one line per refresh
    #[arg(long)]
    json: bool,
}

/// A robot, and the connection to it, which `--watch` reuses.
struct Watched<'a> {
    robot: &'a Robot,
    session: Option<Session>,
}

/// Prints the status. An unreachable robot is a row of the table, not an error.
pub(crate) fn run(args: &Args) -> Result<()> {
    let shown = show(args);
    if args.watch { until_interrupted(shown) } else { shown }
}

fn show(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let mut watched: Vec<Watched<'_>> = named_or_all(&workspace, &args.robot)?
        .into_iter()
        .map(|robot| Watched { robot, session: None })
        .collect();
    loop {
        let all = query(&workspace, &mut watched)?;
        let text = render(&all, args)?;
        if args.watch && !args.json {
            ui::redraw(&text)?
        } else {
            ui::result(&text)?
        }
        if !args.watch {
            return Ok(());
        }
        process::pause(REFRESH_INTERVAL)?;
    }
}

/// Queries all robots in parallel. The error of a robot is one of the results.
fn query(workspace: &Workspace, watched: &mut [Watched<'_>]) -> Result<Vec<(String, Result<Status>)>> {
    let names: Vec<String> = watched.iter().map(|watched| watched.robot.name.clone()).collect();
    let all = parallel::try_map(watched, |watched| watched.query(workspace));
    process::check_interrupted()?;
    let all = all.into_iter().map(|joined| joined.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))));
    Ok(names.into_iter().zip(all).collect())
}

impl Watched<'_> {
    fn query(&mut self, workspace: &Workspace) -> Result<Status> {
        let session = match self.session.take() {
            Some(session) => {
                session.ensure_connected()?;
                session
            }
            None => Session::open_if_on(endpoint(workspace, self.robot)?)?,
        };
        let project = &workspace.project.name;
        let status = Status::of(&session, project)?;
        self.session = Some(session);
        Ok(status)
    }
}

fn render(all: &[(String, Result<Status>)], args: &Args) -> Result<String> {
    if args.json {
        let robots: serde_json::Map<String, Value> =
            all.iter().map(|(robot, status)| (robot.clone(), as_json(status))).collect();
        let text =
            if args.watch { serde_json::to_string(&robots) } else { serde_json::to_string_pretty(&robots) };
        return Ok(text?);
    }
    let rows: Vec<_> = all.iter().map(|(robot, status)| row(robot, status)).collect();
    let mut text = ui::table(
        ["ROBOT", "RELEASE", "REVISION", "BY", "DEPLOYED (UTC)", "DISK FREE", "LOAD", "TEMP", "CLOCK"],
        &rows,
    );
    let reachable = || all.iter().filter_map(|(robot, status)| Some((robot, status.as_ref().ok()?)));
    for (robot, note) in reachable().filter_map(|(robot, status)| Some((robot, status.note.as_ref()?))) {
        text.push_str(&format!("\n{robot}: {note}"));
    }
    for (robot, edits) in reachable().filter_map(|(robot, status)| Some((robot, status.live_edits.as_ref()?)))
    {
        let by = &edits.by;
        text.push_str(&format!("\n{robot}: {edits} by {by}, which the next deploy replaces by a release"));
    }
    for (robot, error) in all.iter().filter_map(|(robot, status)| Some((robot, status.as_ref().err()?))) {
        // For an unreachable robot the row of the table is enough.
        let hints = if exit_of(error) == Exit::Unreachable { Vec::new() } else { hints_of(error) };
        hints.iter().for_each(|hint| text.push_str(&format!("\n{robot}: {hint}")));
    }
    let services: Vec<_> = reachable()
        .flat_map(|(robot, status)| status.services.iter().map(|one| service(robot, one)))
        .collect();
    if !services.is_empty() {
        let header = ["ROBOT", "SERVICE", "STATE", "HEALTH", "RESTARTS", "IMAGE", "SINCE (UTC)", "DRIFT"];
        text.push_str(&format!("\n\n{}", ui::table(header, &services)));
    }
    Ok(text)
}

fn as_json(status: &Result<Status>) -> Value {
    match status {
        Ok(status) => json!(status),
        Err(error) => {
            json!({ "error": format!("{error:#}"), "reachable": exit_of(error) != Exit::Unreachable })
        }
    }
}

fn row(robot: &str, status: &Result<Status>) -> [String; 9] {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            let mut row: [String; 9] = Default::default();
            (row[0], row[1]) = (robot.to_owned(), "–".to_owned());
            row[2] = error.to_string();
            return row;
        }
    };
    let record = status.release.as_ref().and_then(|stored| stored.record.as_ref());
    let deploy = record.and_then(|record| record.deploy.as_ref());
    let release = status.release.as_ref().map_or("none".to_owned(), |stored| {
        let edits = status.live_edits.as_ref().map_or(String::new(), |edits| format!(" + {edits}"));
        let unhealthy = record.filter(|record| record.outcome != "healthy");
        format!(
            "{}{edits}{}",
            stored.release,
            unhealthy.map_or(String::new(), |record| format!(" ({})", record.outcome))
        )
    });
    let disk = |free: u64| match status.disk_size {
        Some(size) if size > 0 => format!("{} ({} %)", ui::bytes(free), free.saturating_mul(100) / size),
        _ => ui::bytes(free),
    };
    let load = |load: f64| format!("{load:.2}/{}", status.processors.unwrap_or_default());
    [
        robot.to_owned(),
        release,
        deploy.map(|deploy| deploy.source.in_words()).unwrap_or_default(),
        deploy.map(|deploy| deploy.by.clone()).unwrap_or_default(),
        deploy.map(|deploy| ui::time(&deploy.at)).unwrap_or_default(),
        status.disk_free.map(disk).unwrap_or_default(),
        status.load.map(load).unwrap_or_default(),
        status.temperature.map(|degrees| format!("{degrees:.0} °C")).unwrap_or_default(),
        clock(status.clock_ahead),
    ]
}

/// Formats a clock difference: `in sync`, `3 s ahead`, `1 d behind`.
fn clock(ahead: i64) -> String {
    let off = ahead.saturating_abs();
    if off <= SKEW {
        return "in sync".to_owned();
    }
    let (count, unit) = match off {
        0..120 => (off, "s"),
        120..7_200 => (off / 60, "min"),
        7_200..172_800 => (off / 3_600, "h"),
        _ => (off / 86_400, "d"),
    };
    format!("{count} {unit} {}", if ahead > 0 { "ahead" } else { "behind" })
}

fn service(robot: &str, service: &Service) -> [String; 8] {
    let restarts = if service.restarts == 0 { String::new() } else { service.restarts.to_string() };
    [
        robot.to_owned(),
        service.service.clone(),
        service.state.clone(),
        service.health.clone(),
        restarts,
        image::short(&service.image).to_owned(),
        ui::time(&service.since),
        service.drift.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_told_in_the_largest_unit_that_fits() {
        assert!(clock(i64::MIN).ends_with(" d behind"));
        let reported = [0, 2, 3, -90, 300, -7_200, 86_400, 400_000].map(clock);
        let expected = [
            "in sync",
            "in sync",
            "3 s ahead",
            "90 s behind",
            "5 min ahead",
            "2 h behind",
            "24 h ahead",
            "4 d ahead",
        ];
        assert_eq!(reported, expected);
    }
}
