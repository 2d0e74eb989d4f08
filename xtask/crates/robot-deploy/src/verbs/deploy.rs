//! `cargo xtask deploy`: builds images, delivers them to robots and activates a new release there.

mod build;
mod bundle;
mod hub;
mod options;
mod result;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use camino::Utf8PathBuf;

use super::{RobotsArg, builder, endpoint, fleet, plan, reach, timings, workspace};
use crate::config::{Robot, Workspace};
use crate::delivery::archive::{self, ArchiveImage};
use crate::delivery::plan::{Plan, Services};
use crate::delivery::{self, Cost, Delivery, DeltaCache, DigestCache, Route, Via};
use crate::error::{Failure, Result};
use crate::image::{self, Builder, Built, ImageId, ImageSpec, service};
use crate::release::activate;
use crate::release::compose::ComposeDraft;
use crate::release::metadata::{Metadata, SourceRevision};
use crate::release::{prune, state};
use crate::robot::{Session, registry};
use crate::timeline::{self, Lane, Phase};
use crate::ui::{self, Progress};
use crate::{host, process};

use build::Build;
pub use options::{Activate, OnBusy};
pub use result::{DeployResult, report, show_running};
pub use target::Target;

/// Build the images, deliver them to robots and start them there
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask deploy --robot main,secondary
  cargo xtask deploy --robot main --plan  build, then show what would be sent and restarted
  cargo xtask deploy --all --no-start    deliver now; run it again without --no-start to start
  cargo xtask deploy --all --via archive --to /media/stick  write a file for `load-bundle`
  cargo xtask deploy --robot main -n >deploy.sh")]
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
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "no_start"])]
    to: Option<Utf8PathBuf>,

    /// Write an incremental bundle: omit layers that BUNDLE already contains
    #[arg(long, value_name = "BUNDLE", requires = "to")]
    against: Option<Utf8PathBuf>,

    #[command(flatten)]
    activate: Activate,

    /// Write an HTML report of the time and bytes spent; without FILE to target/xtask/timings.html
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
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

/// State that the robots of a deploy share.
struct Deploy<'a> {
    workspace: &'a Workspace,
    builder: Builder,
    drafts: BTreeMap<&'a str, ComposeDraft>,
    digest_cache: DigestCache,
    cache: DeltaCache,
    build: Build,
    via: Via,
    source: SourceRevision,
    activate: Activate,
    began: Instant,
}

/// Runs the verb.
///
/// # Errors
/// Fails when the build or any robot fails. A failed robot does not stop the others.
pub fn run(args: &Args) -> Result<()> {
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
    let builder = builder(args.yes, &host::needs(robots.iter().map(|robot| &robot.platform)))?;
    // In parallel with `docker compose`, which takes longer than git.
    let (source, drafts) = std::thread::scope(|scope| {
        let source = scope.spawn(|| SourceRevision::of(workspace));
        let drafts = drafts(workspace, &robots);
        (source.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), drafts)
    });
    let deploy = Deploy {
        drafts: drafts?,
        digest_cache: DigestCache::load(&workspace.state_dir()),
        cache: DeltaCache::open(workspace),
        build: Build::default(),
        via: args.via,
        source,
        activate: args.activate,
        began,
        workspace,
        builder,
    };
    let specs = image_specs(&deploy.drafts, &robots);
    if args.plan {
        let built = image::build(workspace, builder, &specs, image::Options::default())?;
        let (plans, planned) = fleet::each(&robots, |robot| deploy.plan(robot, &built));
        let plans: Vec<Plan> = plans.into_iter().map(|(_, plan)| plan).collect();
        plan::report(&plans, args.json)?;
        return planned;
    }
    let build = |options: image::Options<'_>| image::build(workspace, builder, &specs, options);
    if crate::mode::dry_run() {
        // The output is a script, so the steps of the build and of the robots come one after another.
        deploy.build.run(&specs, build)?;
        return fleet::each(&robots, |robot| deploy.serve(robot)).1;
    }
    // Building and connecting to the robots run in parallel, because both are slow.
    let (build, (results, served)) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let (results, served) = fleet::each(&robots, |robot| deploy.serve(robot));
            if results.is_empty() && deploy.build.has_none_yet() {
                // All robots have failed, so the build is useless.
                process::stop();
            }
            (results, served)
        });
        let build = deploy.build.run(&specs, build);
        (build, serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let results: Vec<(String, DeployResult)> =
        results.into_iter().filter_map(|(robot, result)| Some((robot, result?))).collect();
    costs.extend(results.iter().map(|(robot, result)| (robot.clone(), result.delivery.cost)));
    deploy.cache.evict();
    report(&results)?;
    // If both failed, the robots failed first, and the build was stopped for that reason.
    served.and(build)
}

fn drafts<'a>(workspace: &Workspace, robots: &[&'a Robot]) -> Result<BTreeMap<&'a str, ComposeDraft>> {
    std::thread::scope(|scope| {
        let render = |robot: &'a Robot| (robot, scope.spawn(move || ComposeDraft::render(workspace, robot)));
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

/// All images that the robots run, each with the platforms of the robots that run it.
fn image_specs(drafts: &BTreeMap<&str, ComposeDraft>, robots: &[&Robot]) -> BTreeSet<ImageSpec> {
    let mut wanted = BTreeSet::new();
    for robot in robots {
        let images = drafts[robot.name.as_str()].images();
        wanted.extend(
            images
                .into_iter()
                .map(|image| ImageSpec { image: image.to_owned(), platform: robot.platform.clone() }),
        );
    }
    wanted
}

/// The built images that a robot runs.
fn images_of(drafts: &BTreeMap<&str, ComposeDraft>, robot: &Robot, built: &[Built]) -> Vec<Built> {
    let images = drafts[robot.name.as_str()].images();
    built
        .iter()
        .filter(|built| built.spec.platform == robot.platform && images.contains(built.spec.image.as_str()))
        .cloned()
        .collect()
}

impl Deploy<'_> {
    /// Deploys to one robot. Returns `None` if the build failed; that error is reported once, not for each
    /// robot.
    fn serve(&self, robot: &Robot) -> Result<Option<DeployResult>> {
        let Self { workspace, digest_cache, .. } = self;
        let progress = Progress::new(&robot.name);
        let repository = registry::repository(&workspace.project.name);
        let way = || reach(workspace, robot);
        let mut target = Target::connect(workspace, robot, way, &repository, &progress, self.activate)?;
        progress.waiting("waiting for the build");
        let waiting = timeline::span(Lane::robot(&robot.name), Phase::Wait, "wait for the build");
        let Some(built) = self.build.images() else { return Ok(None) };
        drop(waiting);

        let draft = &self.drafts[robot.name.as_str()];
        let built = images_of(&self.drafts, robot, built);
        // A deploy that changes nothing needs no lock.
        let is_done = match delivery::already_there(workspace, &target.survey, digest_cache, &built) {
            // Images from an archive have other references.
            Some(images) if self.via == Via::Registry => {
                target.runs(&draft.with_references(&delivery::references(&images))?)
            }
            _ => false,
        };
        if !is_done {
            target.lock()?;
        }
        let delivery = self.deliver(robot, &target, &progress, &built);
        let mut delivery = delivery.map_err(|error| self.advise_to_prune(error, &target.session))?;
        let release = draft.with_references(&delivery.references())?;
        if !self.build.has_succeeded() {
            return Ok(None);
        }
        let (running, changed) = target.activate(&release, &self.source, self.via.name(), &mut delivery)?;
        Ok(Some(DeployResult { delivery, running, changed, took: self.began.elapsed() }))
    }

    /// Plans what [`Deploy::serve`] would do. Does not start a simulated robot that is not running.
    fn plan(&self, robot: &Robot, built: &[Built]) -> Result<Plan> {
        let Self { workspace, builder, digest_cache, cache, .. } = self;
        let (workspace, builder, project) = (*workspace, *builder, &self.workspace.project.name);
        let progress = &Progress::new(&robot.name);
        progress.waiting("planning");
        let repository = registry::repository(project);
        let way = || endpoint(workspace, robot);
        let target = Target::connect(workspace, robot, way, &repository, progress, self.activate)?;
        let (session, survey) = (&target.session, &target.survey);
        let built = images_of(&self.drafts, robot, built);
        let digest = |built: &Built| match &built.id {
            ImageId::Manifest(digest) => digest.clone(),
            ImageId::Config(config) => digest_cache.pushed_as(config).unwrap_or_else(|| config.clone()),
        };
        let reference = |built: &Built| registry::reference(project, &digest(built));
        let references = built.iter().map(|built| (built.spec.image.clone(), reference(built))).collect();
        let release = self.drafts[robot.name.as_str()].with_references(&references)?;
        let registry_image = &service::registry(builder, &robot.platform)?;
        let route =
            Route { workspace, builder, session, survey, registry_image, digest_cache, cache, progress };
        let metadata = Metadata::now(&self.source, self.via.name(), references);
        let archive = match state::is_current(&release, survey) {
            true => 0,
            false => activate::archive(&release, &metadata)?.len() as u64,
        };
        delivery::plan::plan(
            &route,
            &built,
            &Services { hashes: release.hashes, jobs: release.jobs, archive },
        )
    }

    /// Adds to an error about a full disk the number of bytes that `prune` would free.
    fn advise_to_prune(&self, error: anyhow::Error, session: &Session) -> anyhow::Error {
        let robot = session.robot();
        let bytes =
            if delivery::is_full(&error) { prune::garbage(session, &self.workspace.project.name) } else { 0 };
        if bytes == 0 {
            return error;
        }
        Failure::failed(format!("`{robot}` keeps {} that no release needs", ui::bytes(bytes)))
            .hint(format!("`cargo xtask prune --robot {robot}` frees them"))
            .because(error)
            .into()
    }

    fn deliver(
        &self,
        robot: &Robot,
        target: &Target<'_>,
        progress: &Progress,
        built: &[Built],
    ) -> Result<Delivery> {
        let (session, survey) = (&target.session, &target.survey);
        if self.via == Via::Archive {
            let (project, digest_cache) = (&self.workspace.project.name, &self.digest_cache);
            let items: Vec<ArchiveImage> =
                built.iter().map(|built| ArchiveImage::of(built, digest_cache)).collect();
            let route = archive::ArchiveRoute { project, session, survey, digest_cache, progress };
            return archive::deliver(&route, &archive::Engine, &items);
        }
        if let Some(images) = delivery::already_there(self.workspace, survey, &self.digest_cache, built) {
            delivery::pull_lacking(session, &self.workspace.project.name, survey, &images)?;
            return Ok(Delivery { images_there: images.len(), images, cost: Cost::default() });
        }
        let registry_image = &service::registry(self.builder, &robot.platform)?;
        let Self { workspace, builder, digest_cache, cache, .. } = self;
        let (workspace, builder) = (*workspace, *builder);
        let route =
            Route { workspace, builder, session, survey, registry_image, digest_cache, cache, progress };
        delivery::deliver(&route, built)
    }
}
