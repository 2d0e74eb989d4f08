//! `cargo xtask deploy`: builds images, delivers them to robots and activates a new release there.

mod bundle;
mod hub;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;
use camino::Utf8PathBuf;
use clap::ValueHint;

use super::{RobotsArg, builder, plan, timings, workspace};
use crate::config::Workspace;
use crate::delivery::{Cost, Via};
use crate::deploy::{Activate, Connecting, Deploy, report};
use crate::error::{Failure, Result};
use crate::{host, process};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask deploy --robot main,secondary
  cargo xtask deploy --robot main --plan  build, then show what would be sent and restarted
  cargo xtask deploy --all --no-start    deliver now; run it again without --no-start to start
  cargo xtask deploy --all --via archive --to /media/stick  write a file for `load-bundle`
  cargo xtask deploy --robot main -n     what would be built, sent and restarted, as far as it is known")]
pub struct Args {
    #[command(flatten)]
    robots: RobotsArg,

    /// Transport of the images
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    via: Via,

    /// With `--via hub`: deploy what is published as this branch, tag or revision; by default the current
    /// revision
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,

    /// With `--via archive`: write a bundle with everything that the robots need, to a file or directory, and
    /// touch no robot
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath, conflicts_with_all = ["plan", "no_start"])]
    to: Option<Utf8PathBuf>,

    /// Write an incremental bundle: omit layers that BUNDLE already contains
    #[arg(long, value_name = "BUNDLE", value_hint = ValueHint::FilePath, requires = "to")]
    against: Option<Utf8PathBuf>,

    #[command(flatten)]
    activate: Activate,

    /// Write an HTML report of the time and bytes spent; without FILE to target/xtask/timings.html
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1)]
    timings: Option<Option<Utf8PathBuf>>,

    /// Build, then show what would be sent, how long that would take and what would restart; change nothing
    /// on robots
    #[arg(long, conflicts_with = "no_start")]
    plan: bool,

    /// Print the plan as JSON
    #[arg(long, requires = "plan")]
    json: bool,

    /// Install missing tools on this machine without asking
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    args.check()?;
    timings::begin(args.timings.as_ref());
    let workspace = workspace()?;
    let mut costs = BTreeMap::new();
    let result = deploy(args, &workspace, &mut costs);
    timings::finish(args.timings.as_ref(), "deploy", &workspace, costs, result)
}

impl Args {
    /// Checks that the options do not contradict each other.
    fn check(&self) -> Result<()> {
        let (message, hint) = if self.plan && self.via != Via::Registry {
            ("`--plan` supports only deploys through the registry", "leave out `--via`, or `--plan`")
        } else if self.tag.is_some() && self.via != Via::Hub {
            (
                "`--tag` selects published images, which are deployed only with `--via hub`",
                "add `--via hub`, or leave out `--tag`",
            )
        } else if self.to.is_some() && self.via != Via::Archive {
            (
                "`--to` writes a bundle, which is an archive of images",
                "add `--via archive`, or leave out `--to`",
            )
        } else {
            return Ok(());
        };
        Err(Failure::config(message).hint(hint).into())
    }
}

/// Deploys. Fills `costs` with the cost of each robot that was served completely.
fn deploy(args: &Args, workspace: &Workspace, costs: &mut BTreeMap<String, Cost>) -> Result<()> {
    if args.via == Via::Hub {
        return hub::deploy(args, workspace, costs);
    }
    if let Some(to) = &args.to {
        return bundle::write(args, workspace, to);
    }
    let began = Instant::now();
    let robots = args.robots.resolve(workspace)?;
    let needs = host::needs(robots.iter().map(|robot| &robot.platform));
    let builder = || builder(args.yes, &needs);
    if args.plan || crate::mode::dry_run() {
        let deploy = Deploy::new(workspace, builder, robots, args.via, args.activate, began)?;
        let (plans, planned) = if args.plan { deploy.plan_all()? } else { deploy.dry_run()? };
        plan::report(&plans, args.json)?;
        return planned;
    }
    let (results, served) = std::thread::scope(|scope| {
        let connecting = OnceCell::new();
        let prepare = || {
            // It may ask questions, and start the engine that simulated robots need.
            let builder = builder()?;
            connecting.get_or_init(|| Connecting::begin(scope, workspace, &robots, args.activate));
            Ok(builder)
        };
        let deploy = Deploy::new(workspace, prepare, robots.clone(), args.via, args.activate, began);
        // Without something to deploy, nobody waits for a robot that does not answer.
        let deploy = deploy.inspect_err(|_| process::stop())?;
        let connecting = connecting.get().context("internal error: nothing connects to the robots")?;
        anyhow::Ok(deploy.serve_all(connecting))
    })?;
    costs.extend(results.iter().map(|(robot, result)| (robot.clone(), result.delivery.cost)));
    report(&results)?;
    served
}
