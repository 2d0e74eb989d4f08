//! `cargo xtask start`, `stop`, `restart`: containers that are there, by the names of their services.

use super::deploy::show_running;
use super::{RobotsArg, fleet, reach, workspace};
use crate::config::Robot;
use crate::error::Result;
use crate::release::lock::{Lock, OnLocked};
use crate::release::{history, services};
use crate::robot::{Session, Survey, registry};
use crate::ui::Progress;

/// Which services of which robots.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Only these services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// What is done to them.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    /// Bring up what does not run.
    Start,
    /// Stop, as each service is configured to be stopped.
    Stop,
    /// Both.
    Restart,
}

impl Verb {
    fn words(self) -> &'static [&'static str] {
        match self {
            // A container that somebody has removed is made again; one that is another than the release says stays.
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

/// Does it, and prints what runs then.
///
/// # Errors
/// Fails when a robot cannot be reached, has no such service, or Compose fails there; the others are served all the
/// same.
pub fn run(verb: Verb, args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let project = workspace.project.name.as_str();
    let robots = args.robots.resolve(&workspace)?;
    let words: Vec<&str> =
        verb.words().iter().copied().chain(["--"]).chain(args.services.iter().map(String::as_str)).collect();
    let serve = |robot: &Robot| {
        let progress = Progress::new(&robot.name);
        progress.waiting("connecting");
        let session = Session::open(reach(&workspace, robot)?)?;
        services::check(&session, project, &args.services)?;
        let (_lock, _) = Lock::take(&session, project, OnLocked::Refuse, None, &progress)?;
        progress.doing(verb.doing(), None);
        // First: a robot that still watches its release has to know that it was no crash.
        history::record(&session, project, verb.name(), &args.services.join(" "))?;
        services::compose(&session, project, &words).run()?;
        Survey::of(&session, project, &registry::repository(project))
    };
    let (surveys, served) = fleet::each(&robots, serve);
    show_running(&surveys)?;
    served
}
