//! The verbs: thin, they wire the stages together and print.

pub mod bench;
pub mod build_images;
pub mod completions;
pub mod deploy;
pub mod doctor;
pub mod fleet;
mod plan;
pub mod publish;
pub mod setup;
pub mod setup_robot;
pub mod sim;
pub mod ssh;
pub mod test;
mod timings;
pub mod tunnel;

use crate::config::{Host, Robot, Workspace, current_dir};
use crate::error::{Failure, Result};
use crate::host::{self, Need};
use crate::image::Builder;
use crate::robot::Endpoint;
use crate::sim::Simulation;

/// The workspace that the current directory belongs to.
fn workspace() -> Result<Workspace> {
    Workspace::load(&current_dir())
}

/// The builder of this machine; what it lacks is installed, after asking unless `yes`.
fn builder(yes: bool, needs: &[Need]) -> Result<Builder> {
    host::ready(yes, needs).map(Builder::for_engine)
}

/// The way to a robot; a simulated one is switched on, and made if need be.
fn reach(workspace: &Workspace, robot: &Robot) -> Result<Endpoint> {
    match &robot.host {
        Host::Simulated { .. } => Simulation::new(workspace).up(robot, Builder::for_engine(host::engine()?)),
        Host::Ssh { .. } => endpoint(workspace, robot),
    }
}

/// The way to a robot as it is, on or off.
fn endpoint(workspace: &Workspace, robot: &Robot) -> Result<Endpoint> {
    match &robot.host {
        Host::Simulated { .. } => Simulation::new(workspace).endpoint(robot),
        Host::Ssh { destination, port } => Ok(Endpoint {
            robot: robot.name.clone(),
            destination: destination.clone(),
            port: *port,
            known_hosts: workspace.known_hosts(),
            identity: None,
            compressed: false,
        }),
    }
}

/// The one robot that a verb is for.
#[derive(clap::Args, Debug, Clone)]
pub struct One {
    /// The robot; may be left out where there is only one
    #[arg(long, short, value_name = "ROBOT")]
    robot: Option<String>,
}

impl One {
    /// The robot meant.
    fn robot<'a>(&self, workspace: &'a Workspace) -> Result<&'a Robot> {
        match (&self.robot, workspace.robots.len()) {
            (Some(name), _) => workspace.robot(name),
            (None, 1) => workspace.robots.values().next().ok_or_else(|| which(workspace, "one")),
            (None, _) => Err(which(workspace, "one")),
        }
    }
}

/// The question that only the caller can answer.
fn which(workspace: &Workspace, how_many: &str) -> anyhow::Error {
    let names: Vec<&str> = workspace.robots.keys().map(String::as_str).collect();
    let all = if how_many == "one" { "" } else { "; or `--all`" };
    let hint = format!("`--robot NAME`, with {how_many} of {}{all}", names.join(", "));
    Failure::config("which robot?").hint(hint).into()
}

/// Which robots a verb is for.
#[derive(clap::Args, Debug, Clone)]
pub struct Which {
    /// The robot, or several with commas between; may be left out where there is only one
    #[arg(long, short, value_name = "ROBOT", value_delimiter = ',')]
    robot: Vec<String>,

    /// All robots of robots.toml
    #[arg(long, conflicts_with = "robot")]
    all: bool,
}

impl Which {
    /// The robots meant.
    fn robots<'a>(&self, workspace: &'a Workspace) -> Result<Vec<&'a Robot>> {
        let all: Vec<&Robot> = workspace.robots.values().collect();
        if self.all || (self.robot.is_empty() && all.len() == 1) {
            return Ok(all);
        }
        if self.robot.is_empty() {
            return Err(which(workspace, "one or more"));
        }
        workspace.robots_named(&self.robot)
    }
}
