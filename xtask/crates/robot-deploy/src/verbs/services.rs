//! `cargo xtask start`, `stop`, `restart`: the services of the current release.

use super::{RobotsArg, workspace};
use crate::complete;
use crate::config::Robot;
use crate::deploy::show_running;
use crate::error::Result;
use crate::reach::reach;
use crate::release::lock::{Lock, OnLocked};
use crate::release::{history, services};
use crate::robot::{Session, Survey, registry};
use crate::ui::Progress;
use crate::{fleet, process};

/// Robots and services to start, stop or restart.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Only these services; by default all
    #[arg(value_name = "SERVICE", add = complete::services())]
    services: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    /// Start services that do not run.
    Start,
    /// Stop services with their configured stop signal and timeout.
    Stop,
    Restart,
}

impl Verb {
    fn compose_args(self) -> &'static [&'static str] {
        match self {
            // Creates containers that were removed, but does not replace containers that differ from the
            // release.
            Self::Start => &["up", "--detach", "--no-recreate", "--no-deps"],
            Self::Stop => &["stop"],
            Self::Restart => &["restart", "--no-deps"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    fn doing(self) -> &'static str {
        match self {
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Restart => "restarting",
        }
    }
}

/// Runs the verb and prints what runs then.
pub(crate) fn run(verb: Verb, args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let project = workspace.project.name.as_str();
    let robots = args.robots.resolve(&workspace)?;
    let words: Vec<&str> = verb
        .compose_args()
        .iter()
        .copied()
        .chain(["--"])
        .chain(args.services.iter().map(String::as_str))
        .collect();
    let serve = |robot: &Robot| {
        let progress = Progress::new(&robot.name);
        progress.waiting("connecting");
        let session = Session::open(reach(&workspace, robot)?)?;
        services::check(&session, project, &args.services)?;
        let (_lock, _) = Lock::take(&session, project, OnLocked::Refuse, None, &progress)?;
        progress.doing(verb.doing(), None);
        // Before the change: a robot that still watches its new release would take the stop for a crash.
        history::record(&session, project, verb.name(), &args.services.join(" "))?;
        services::compose(&session, project, &words).run()?;
        process::outcome_needed()?;
        Survey::of(&session, project, &registry::repository(robot.registry_port, project))
    };
    let (surveys, served) = fleet::each(&robots, serve);
    show_running(&surveys)?;
    served
}
