//! `cargo xtask sim`: manages simulated robots.

use std::collections::BTreeSet;

use super::{builder, workspace};
use crate::complete;
use crate::config::{Host, Robot, Workspace};
use crate::error::Result;
use crate::host::Need;
use crate::sim::Simulation;
use crate::{fleet, process, ui};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Start simulated robots; creates those that do not exist
    Up {
        /// Robots to start; by default all simulated ones
        #[arg(value_name = "ROBOT", add = complete::robots())]
        robots: Vec<String>,
        /// Limit the bandwidth of their links in both directions, as a rate of tc(8): 50mbit, 2mbit; or off
        #[arg(long, value_name = "RATE")]
        link: Option<String>,
        /// Install missing tools on this machine without asking
        #[arg(long, short)]
        yes: bool,
    },
    /// Remove simulated robots with everything on them
    Down {
        /// Robots to remove; by default all of the project
        #[arg(value_name = "ROBOT", add = complete::robots())]
        robots: Vec<String>,
    },
    /// List the simulated robots and their state
    Status,
}

impl Args {
    /// Returns whether the chosen verb changes nothing.
    pub fn only_asks(&self) -> bool {
        matches!(self.verb, Verb::Status)
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let simulation = Simulation::new(&workspace);
    match &args.verb {
        Verb::Up { robots, link, yes } => {
            let builder = builder(*yes, &Need::ALWAYS)?;
            let (_, result) = fleet::each(&named(&workspace, robots)?, |robot| {
                simulation.up(robot, || Ok(builder))?;
                link.iter().try_for_each(|rate| simulation.shape(robot, rate))
            });
            result?;
            process::outcome_needed()?;
            status(&workspace)
        }
        Verb::Down { robots } => {
            let names: BTreeSet<String> =
                workspace.robots_named(robots)?.into_iter().map(|robot| robot.name.clone()).collect();
            simulation.down((!names.is_empty()).then_some(&names))
        }
        Verb::Status => status(&workspace),
    }
}

/// Returns the named robots, or all simulated ones if no name is given.
fn named<'a>(workspace: &'a Workspace, names: &[String]) -> Result<Vec<&'a Robot>> {
    if names.is_empty() { Ok(simulated(workspace)) } else { workspace.robots_named(names) }
}

fn simulated(workspace: &Workspace) -> Vec<&Robot> {
    workspace.robots.values().filter(|robot| matches!(robot.host, Host::Simulated { .. })).collect()
}

fn status(workspace: &Workspace) -> Result<()> {
    let simulation = Simulation::new(workspace);
    let row = |robot: &&Robot| {
        let [state, address, link] = simulation.status(robot)?;
        Ok([robot.name.clone(), state, address, link])
    };
    let rows = simulated(workspace).iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(ui::result(&ui::table(["ROBOT", "STATE", "SSH", "LINK"], &rows))?)
}
