//! `cargo xtask deploy`: build, deliver, start.

mod hub;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use super::{Which, builder, endpoint, fleet, plan, reach, timings, workspace};
use crate::config::{Robot, Workspace};
use crate::delivery::plan::{Plan, Services};
use crate::delivery::{self, Cost, Delivery, Depot, Memory, Route, Via, archive};
use crate::error::{Failure, Result};
use crate::host::Need;
use crate::image::{self, Builder, Built, ImageId, Wanted, service};
use crate::process;
use crate::release::compose::{self, Draft, Project};
use crate::release::start;
use crate::robot::{Endpoint, Session, Survey, registry};
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};

/// Build the images, bring them onto robots and start them there
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask deploy --robot main,secondary
  cargo xtask deploy --robot main --plan  build, then say what would travel and restart
  cargo xtask deploy --all --no-start    deliver now, start later with the same command without --no-start
  cargo xtask deploy --robot main -n >deploy.sh")]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// How images travel
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    via: Via,

    /// With `--via hub`: what is published under this branch, tag or revision; without it, the current revision
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,

    /// Deliver only: leave running what runs
    #[arg(long)]
    no_start: bool,

    /// Write a page that shows what time and bytes were spent on; without FILE to
    /// target/xtask/timings.html
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    timings: Option<Option<Utf8PathBuf>>,

    /// Build, then say what would travel, how long it would take and what would be restarted; change nothing
    /// on the robots
    #[arg(long, conflicts_with = "no_start")]
    plan: bool,

    /// The plan as JSON
    #[arg(long, requires = "plan")]
    json: bool,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,
}

/// What all robots of a deploy share.
struct Deploy<'a> {
    workspace: &'a Workspace,
    builder: Builder,
    drafts: BTreeMap<&'a str, Draft>,
    memory: Memory,
    depot: Depot,
    /// Set once the build has ended; none if it failed.
    built: OnceLock<Option<Vec<Built>>>,
    via: Via,
    start: bool,
    began: Instant,
}

/// A robot that waits for the build must hear of its end, whatever it was, a panic included.
struct Announcement<'a>(&'a OnceLock<Option<Vec<Built>>>);

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.0.get_or_init(|| None);
    }
}

/// What came of a deploy to one robot.
struct Outcome {
    delivery: Delivery,
    /// The containers, unless nothing was to be started.
    running: Option<Survey>,
    changed: bool,
    took: Duration,
}

/// Deploys.
///
/// # Errors
/// Fails when the build fails, or any robot; the others are served all the same.
pub fn run(args: &Args) -> Result<()> {
    if args.plan && args.via != Via::Registry {
        return Err(Failure::config("a plan tells what would travel through the registry, by no other way")
            .hint("leave out `--via`, or `--plan`")
            .into());
    }
    if args.tag.is_some() && args.via != Via::Hub {
        return Err(Failure::config(
            "a tag says which published images to take, and published images come from the hub",
        )
        .hint("add `--via hub`, or leave out `--tag`")
        .into());
    }
    timings::begin(args.timings.as_ref());
    let workspace = workspace()?;
    let mut costs = BTreeMap::new();
    let result = deploy(args, &workspace, &mut costs);
    timings::finish(args.timings.as_ref(), "deploy", &workspace, costs, result)
}

/// Deploys, and tells what that took to each robot that got all of it.
fn deploy(args: &Args, workspace: &Workspace, costs: &mut BTreeMap<String, Cost>) -> Result<()> {
    if args.via == Via::Hub {
        return hub::deploy(args, workspace, costs);
    }
    let began = Instant::now();
    let robots = args.which.robots(workspace)?;
    let builder = builder(args.yes, &needs(&robots))?;
    let deploy = Deploy {
        drafts: drafts(workspace, &robots)?,
        memory: Memory::load(&workspace.state_dir()),
        depot: Depot::open(workspace),
        built: OnceLock::new(),
        via: args.via,
        start: !args.no_start,
        began,
        workspace,
        builder,
    };
    let wanted = images_wanted(&deploy.drafts, &robots);
    if args.plan {
        let built = image::build(workspace, builder, &wanted, image::Options::default())?;
        let (plans, outcome) = fleet::each(&robots, |robot| deploy.plan(robot, &built));
        let plans: Vec<Plan> = plans.into_iter().map(|(_, plan)| plan).collect();
        plan::report(&plans, args.json)?;
        return outcome;
    }
    let build = || image::build(workspace, builder, &wanted, image::Options::default());
    if process::mode().dry_run {
        // What is printed is a script: what is done at the same time stands one after another there.
        let built = build()?;
        deploy.built.get_or_init(|| Some(built));
        return fleet::each(&robots, |robot| deploy.serve(robot)).1;
    }
    // Robots are connected while the build runs: both take their time.
    let (build, (outcomes, served)) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let (outcomes, served) = fleet::each(&robots, |robot| deploy.serve(robot));
            if outcomes.is_empty() && deploy.built.get().is_none() {
                // Nobody is left to build for.
                process::stop();
            }
            (outcomes, served)
        });
        let _announcement = Announcement(&deploy.built);
        let build = build();
        deploy.built.get_or_init(|| build.as_ref().ok().cloned());
        (build.map(drop), serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let outcomes: Vec<(String, Outcome)> =
        outcomes.into_iter().filter_map(|(robot, outcome)| Some((robot, outcome?))).collect();
    costs.extend(outcomes.iter().map(|(robot, outcome)| (robot.clone(), outcome.delivery.cost)));
    deploy.depot.tidy();
    report(&outcomes)?;
    // Where both failed, the robots failed first and the build was stopped because of that.
    served.and(build)
}

/// What this machine needs for building for these robots.
fn needs(robots: &[&Robot]) -> Vec<Need> {
    let platforms: BTreeSet<_> = robots.iter().map(|robot| &robot.platform).collect();
    let emulation =
        platforms.into_iter().filter(|platform| !platform.is_native()).cloned().map(Need::Emulation);
    Need::ALWAYS.into_iter().chain(emulation).collect()
}

fn drafts<'a>(workspace: &Workspace, robots: &[&'a Robot]) -> Result<BTreeMap<&'a str, Draft>> {
    std::thread::scope(|scope| {
        let render = |robot: &'a Robot| (robot, scope.spawn(move || Draft::render(workspace, robot)));
        let threads: Vec<_> = robots.iter().copied().map(render).collect();
        threads
            .into_iter()
            .map(|(robot, thread)| {
                let draft = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok((robot.name.as_str(), draft))
            })
            .collect()
    })
}

/// All images that the robots run, each for the platforms of those that do.
fn images_wanted(drafts: &BTreeMap<&str, Draft>, robots: &[&Robot]) -> BTreeSet<Wanted> {
    let of = |robot: &&Robot| {
        let platform = robot.platform.clone();
        let images = drafts[robot.name.as_str()].images();
        images
            .into_iter()
            .map(move |image| Wanted { image: image.to_owned(), platform: platform.clone() })
            .collect::<Vec<_>>()
    };
    robots.iter().flat_map(of).collect()
}

impl Deploy<'_> {
    /// Everything for one robot; none if the build failed, which is told once and not per robot.
    fn serve(&self, robot: &Robot) -> Result<Option<Outcome>> {
        let project = &self.workspace.project.name;
        let progress = Progress::new(&robot.name);
        progress.waiting("connecting");
        let repository = format!("{}/{project}", registry::HOST);
        let (session, survey) = connect(robot, || reach(self.workspace, robot), project, &repository)?;
        progress.waiting("waiting for the build");
        let waiting = timeline::span(Lane::robot(&robot.name), Phase::Wait, "wait for the build");
        let Some(built) = self.built.wait() else { return Ok(None) };
        drop(waiting);

        let built = self.images_of(robot, built);
        let mut delivery = self.deliver(robot, &session, &survey, &progress, &built)?;
        let release = self.drafts[robot.name.as_str()].with_references(&delivery.references())?;
        let target = Target { session: &session, project, repository: &repository, progress: &progress };
        let (running, changed) = target.activate(survey, &release, self.start, &mut delivery)?;
        Ok(Some(Outcome { delivery, running, changed, took: self.began.elapsed() }))
    }

    /// The images that a robot runs, of all that were built.
    fn images_of(&self, robot: &Robot, built: &[Built]) -> Vec<Built> {
        let images = self.drafts[robot.name.as_str()].images();
        let is_of = |built: &&Built| {
            built.wanted.platform == robot.platform && images.contains(built.wanted.image.as_str())
        };
        built.iter().filter(is_of).cloned().collect()
    }

    /// What [`Deploy::serve`] would do. A simulated robot that is off stays off.
    fn plan(&self, robot: &Robot, built: &[Built]) -> Result<Plan> {
        let Self { workspace, builder, memory, depot, .. } = self;
        let (workspace, builder, project) = (*workspace, *builder, &self.workspace.project.name);
        let progress = &Progress::new(&robot.name);
        progress.waiting("planning");
        let repository = format!("{}/{project}", registry::HOST);
        let (session, survey) = &connect(robot, || endpoint(workspace, robot), project, &repository)?;
        let built = self.images_of(robot, built);
        let digest = |built: &Built| match &built.id {
            ImageId::Manifest(digest) => digest.clone(),
            ImageId::Config(config) => memory.manifest_of(config).unwrap_or_else(|| config.clone()),
        };
        let reference = |built: &Built| compose::reference(project, &digest(built));
        let references = built.iter().map(|built| (built.wanted.image.clone(), reference(built))).collect();
        let release = self.drafts[robot.name.as_str()].with_references(&references)?;
        let registry_image = &service::registry(workspace, builder, &robot.platform)?;
        let route = Route { workspace, builder, session, survey, registry_image, memory, depot, progress };
        let is_current = start::is_current(&release, survey);
        let archive = if is_current { 0 } else { release.archive.len() as u64 };
        delivery::plan::plan(&route, &built, &Services { hashes: release.hashes, archive })
    }

    fn deliver(
        &self,
        robot: &Robot,
        session: &Session,
        survey: &Survey,
        progress: &Progress,
        built: &[Built],
    ) -> Result<Delivery> {
        if self.via == Via::Archive {
            let (project, memory) = (&self.workspace.project.name, &self.memory);
            return archive::deliver(&archive::Route { project, session, survey, memory, progress }, built);
        }
        if let Some(images) = delivery::already_there(self.workspace, survey, &self.memory, built) {
            delivery::name(session, &self.workspace.project.name, survey, &images)?;
            return Ok(Delivery { images_there: images.len(), images, cost: Cost::default() });
        }
        let registry_image = &service::registry(self.workspace, self.builder, &robot.platform)?;
        let Self { workspace, builder, memory, depot, .. } = self;
        let (workspace, builder) = (*workspace, *builder);
        let route = Route { workspace, builder, session, survey, registry_image, memory, depot, progress };
        delivery::deliver(&route, built)
    }
}

/// Connects to a robot and looks at what is there. `repository` is the one that its images are pulled from.
fn connect(
    robot: &Robot,
    way: impl FnOnce() -> Result<Endpoint>,
    project: &str,
    repository: &str,
) -> Result<(Session, Survey)> {
    let _span = timeline::span(Lane::robot(&robot.name), Phase::Connect, "connect");
    let session = Session::open(way()?)?;
    let survey = Survey::of(&session, project, repository)?;
    survey.check_platform(&robot.name, &robot.platform)?;
    Ok((session, survey))
}

/// A robot that has been delivered to.
struct Target<'a> {
    session: &'a Session,
    project: &'a str,
    repository: &'a str,
    progress: &'a Progress,
}

impl Target<'_> {
    /// Starts a release unless it runs, or nothing is to be started: what runs then, and whether that is new.
    fn activate(
        &self,
        survey: Survey,
        release: &Project,
        start: bool,
        delivery: &mut Delivery,
    ) -> Result<(Option<Survey>, bool)> {
        let came = delivery.images_there < delivery.images.len();
        if !start {
            return Ok((None, came));
        }
        if start::is_current(release, &survey) {
            return Ok((Some(survey), came));
        }
        self.progress.doing("starting", None);
        delivery.cost.sent += release.archive.len() as u64;
        let _span = timeline::span(Lane::robot(self.session.robot()), Phase::Start, "start");
        Ok((Some(start::start(self.session, self.project, self.repository, release)?), true))
    }
}

/// What runs, and what it took.
fn report(outcomes: &[(String, Outcome)]) -> Result<()> {
    if process::mode().dry_run {
        return Ok(());
    }
    let mut rows: Vec<[String; 5]> = Vec::new();
    for (robot, outcome) in outcomes {
        for container in outcome.running.iter().flat_map(|survey| &survey.containers) {
            let digest = container.reference.rsplit(['@', '-']).next().unwrap_or_default();
            rows.push([
                robot.clone(),
                container.service.clone(),
                image::short(digest).to_owned(),
                container.state.clone(),
                container.since(),
            ]);
        }
    }
    rows.sort();
    if !rows.is_empty() {
        ui::result(&ui::table(["ROBOT", "SERVICE", "IMAGE", "STATE", "SINCE (UTC)"], &rows))?;
    }
    for (robot, outcome) in outcomes {
        ui::done(robot, &format!("{} ({:.1} s)", outcome.summary(), outcome.took.as_secs_f32()));
    }
    Ok(())
}

impl Outcome {
    fn summary(&self) -> String {
        let cost = self.delivery.cost;
        let Cost { layers_sent, layers_reused, .. } = cost;
        let [sent, reused, total] = [cost.sent, cost.bytes_reused, cost.layer_bytes].map(ui::bytes);
        let images = self.delivery.images.len();
        if layers_sent + layers_reused == 0 && self.delivery.images_there == images {
            let rest = if self.changed { ", containers brought up" } else { ": nothing changed" };
            let bytes = if cost.sent == 0 { "nothing" } else { &sent };
            return format!("all {images} images were there{rest}; {bytes} sent");
        }
        if cost.layer_bytes == 0 {
            // From the hub: what travelled there this machine has not seen.
            let pulled = images - self.delivery.images_there;
            return format!("the robot pulled {pulled} of {images} images itself; {sent} sent from here");
        }
        if layers_sent + layers_reused == 0 {
            // Our own builder does not say which layers it sent.
            return format!("sent {sent}, reused {reused}, {total} in all");
        }
        format!(
            "sent {sent} ({layers_sent} new layers), reused {reused} ({layers_reused} layers), {total} in all"
        )
    }
}
