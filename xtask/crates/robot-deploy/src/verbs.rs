//! The verbs: thin, they wire the stages together and print.

pub mod build_images;
pub mod completions;
pub mod deploy;
pub mod dev_shell;
pub mod doctor;
pub mod env;
pub mod exec;
pub mod fleet;
pub mod load_bundle;
pub mod logs;
mod plan;
pub mod prune;
pub mod publish;
pub mod pull_data;
pub mod releases;
pub mod rollback;
pub mod services;
pub mod setup;
pub mod setup_robot;
pub mod sim;
pub mod ssh;
pub mod status;
mod timings;
pub mod tunnel;
pub mod watch;

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
            reconnect: robot.reconnect,
        }),
    }
}

/// The robots named, or all of them.
fn named_or_all<'a>(workspace: &'a Workspace, names: &[String]) -> Result<Vec<&'a Robot>> {
    if names.is_empty() { Ok(workspace.robots.values().collect()) } else { workspace.robots_named(names) }
}

/// The one robot that a verb is for.
#[derive(clap::Args, Debug, Clone)]
pub struct RobotArg {
    /// The robot; may be left out where there is only one
    #[arg(long, short, value_name = "ROBOT")]
    robot: Option<String>,
}

impl RobotArg {
    /// The robot meant.
    fn resolve<'a>(&self, workspace: &'a Workspace) -> Result<&'a Robot> {
        let names: Vec<&str> = workspace.robots.keys().map(String::as_str).collect();
        match (&self.robot, &names[..]) {
            (Some(name), _) => workspace.robot(name),
            (None, [only]) => workspace.robot(only),
            (None, _) => Err(unspecified(&names, "one of ", "")),
        }
    }
}

/// The question that only the caller can answer.
fn unspecified(names: &[&str], how_many: &str, or_all: &str) -> anyhow::Error {
    let hint = format!("`--robot NAME`, with {how_many}{}{or_all}", names.join(", "));
    Failure::config("which robot?").hint(hint).into()
}

/// Which robots a verb is for.
#[derive(clap::Args, Debug, Clone)]
pub struct RobotsArg {
    /// The robot, or several with commas between; may be left out where there is only one
    #[arg(long, short, value_name = "ROBOT", value_delimiter = ',')]
    robot: Vec<String>,

    /// All robots
    #[arg(long, conflicts_with = "robot")]
    all: bool,
}

impl RobotsArg {
    /// The robots meant, of all in `robots.toml`.
    fn resolve<'a>(&self, workspace: &'a Workspace) -> Result<Vec<&'a Robot>> {
        self.resolve_among(workspace, workspace.robots.keys().map(String::as_str))
    }

    /// The robots meant, where only these come into question.
    fn resolve_among<'a, 'b>(
        &self,
        workspace: &'a Workspace,
        candidates: impl Iterator<Item = &'b str>,
    ) -> Result<Vec<&'a Robot>> {
        let candidates: Vec<&str> = candidates.collect();
        if !self.robot.is_empty() {
            workspace.robots_named(&self.robot)
        } else if self.all || candidates.len() == 1 {
            candidates.into_iter().map(|name| workspace.robot(name)).collect()
        } else {
            Err(unspecified(&candidates, "one or more of ", "; or `--all`"))
        }
    }
}
