//! `cargo xtask doctor`: checks all prerequisites, and says how to fix each problem.

use std::collections::BTreeSet;

use super::{named_or_all, workspace};
use crate::complete;
use crate::config::{Platform, Robot, Workspace};
use crate::doctor::{self, Check, Outcome, Source};
use crate::error::{Failure, Result};
use crate::reach::endpoint;
use crate::robot::checks;
use crate::{host, image, ui};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Check only these robots, separated by commas; by default all
    #[arg(long, short, value_delimiter = ',', add = complete::robots())]
    robot: Vec<String>,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Prints all findings, then fails if one of them is bad.
pub(crate) fn run(args: &Args) -> Result<()> {
    // A mistake in robots.toml is a finding too; it does not prevent the other checks.
    let workspace = workspace();
    let robots = match &workspace {
        Ok(workspace) => named_or_all(workspace, &args.robot)?,
        Err(_) => Vec::new(),
    };
    let configuration = match &workspace {
        Ok(_) => Outcome::good("robots.toml and the ROS packages are valid"),
        Err(error) => Outcome::error(error),
    };
    let mut checks = vec![Check::new("workspace", "configuration", configuration)];
    let mut sources: Vec<Source<'_>> = host::checks::sources(workspace.as_ref().ok())?;
    if let Ok(workspace) = &workspace {
        let examine = |robot: &'_ Robot| match endpoint(workspace, robot) {
            Ok(endpoint) => checks::examine(robot, endpoint),
            Err(error) => vec![Check::new(&robot.name, "reachable", Outcome::note_error(&error))],
        };
        sources.push(Box::new(|| bases(workspace)));
        sources.extend(robots.into_iter().map(|robot| Box::new(move || examine(robot)) as Source<'_>));
    }
    checks.extend(doctor::gather(sources));

    let text = if args.json { serde_json::to_string_pretty(&checks)? } else { doctor::table(&checks) };
    ui::result(&text)?;
    let bad = checks.iter().filter(|check| check.is_bad()).count();
    match bad {
        0 => Ok(()),
        1 => Err(Failure::failed("one finding is bad").into()),
        _ => Err(Failure::failed(format!("{bad} findings are bad")).into()),
    }
}

/// Checks the bases of all images, for the platforms of all robots.
fn bases(workspace: &Workspace) -> Vec<Check> {
    let platforms: BTreeSet<&Platform> = workspace.robots.values().map(|robot| &robot.platform).collect();
    let is_one = platforms.len() == 1 && workspace.bases.len() == 1;
    let check = |base| platforms.iter().map(move |platform| image::base::check(base, platform, is_one));
    workspace.bases.values().flat_map(check).collect()
}
