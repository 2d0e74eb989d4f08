//! The verbs. Each module has the arguments and the entry function of a verb, connects the stages of the
//! pipeline, and prints the result.

pub(crate) mod build_images;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod deploy;
pub(crate) mod deps;
pub(crate) mod dev_shell;
pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod exec;
pub(crate) mod init;
pub(crate) mod load_bundle;
pub(crate) mod logs;
mod plan;
pub(crate) mod prune;
pub(crate) mod publish;
pub(crate) mod pull;
pub(crate) mod pull_data;
pub(crate) mod releases;
pub(crate) mod rollback;
pub(crate) mod services;
pub(crate) mod setup;
pub(crate) mod setup_robot;
pub(crate) mod sim;
pub(crate) mod ssh;
pub(crate) mod status;
mod timings;
pub(crate) mod tunnel;
pub(crate) mod watch;

use crate::complete;
use crate::config::{Robot, Workspace, current_dir};
use crate::error::{Failure, Result};
use crate::host::{self, Need};
use crate::image::Builder;

/// Loads the workspace of the current directory.
fn workspace() -> Result<Workspace> {
    Workspace::load(&current_dir())
}

/// Returns the builder of this machine. Installs what is missing, after asking unless `yes` is set.
fn builder(yes: bool, needs: &[Need]) -> Result<Builder> {
    host::ready(yes, needs).map(Builder::for_engine)
}

/// Returns the named robots, or all if `names` is empty.
fn named_or_all<'a>(workspace: &'a Workspace, names: &[String]) -> Result<Vec<&'a Robot>> {
    if names.is_empty() { Ok(workspace.robots.values().collect()) } else { workspace.robots_named(names) }
}

/// Argument for the single robot of a verb.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct RobotArg {
    /// The robot; optional if there is only one
    #[arg(long, short, value_name = "ROBOT", add = complete::robots())]
    robot: Option<String>,
}

impl RobotArg {
    fn resolve<'a>(&self, workspace: &'a Workspace) -> Result<&'a Robot> {
        let names: Vec<&str> = workspace.robots.keys().map(String::as_str).collect();
        match (&self.robot, &names[..]) {
            (Some(name), _) => workspace.robot(name),
            (None, [only]) => workspace.robot(only),
            (None, _) => Err(unspecified(&names, "one of ", "")),
        }
    }
}

/// Error for a verb that needs `--robot`.
fn unspecified(names: &[&str], how_many: &str, all_option: &str) -> anyhow::Error {
    let hint = format!("`--robot NAME`, with {how_many}{}{all_option}", names.join(", "));
    Failure::config("which robot?").hint(hint).into()
}

/// Arguments for the robots of a verb.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct RobotsArg {
    /// The robot, or several separated by commas; optional if there is only one
    #[arg(long, short, value_name = "ROBOT", value_delimiter = ',', add = complete::robots())]
    robot: Vec<String>,

    /// All robots
    #[arg(long, conflicts_with = "robot")]
    all: bool,
}

impl RobotsArg {
    /// Returns the requested robots, among all of `robots.toml`.
    fn resolve<'a>(&self, workspace: &'a Workspace) -> Result<Vec<&'a Robot>> {
        self.resolve_among(workspace, workspace.robots.keys().map(String::as_str))
    }

    /// Returns the requested robots, among `candidates`.
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
