//! Deploys: images that are being built come to robots, each with a new release.
//!
//! [`Deploy`] is shared by all robots of a deploy; [`Target`] is one of them, from the connection to the activation.

mod build;
mod connecting;
mod options;
mod result;
mod target;
pub(crate) mod unused;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::config::{Robot, Workspace};
use crate::delivery::archive::{self, ArchiveImage};
use crate::delivery::plan::{Plan, Services};
use crate::delivery::{self, Cost, Delivery, DeltaCache, DigestCache, EarlyAgent, Route, Via};
use crate::error::{Exit, Failure, FollowedBy as _, Planned, Result, exit_of};
use crate::image::{self, Builder, Built, ImageSpec, service};
use crate::reach::{endpoint, reach};
use crate::release::activate;
use crate::release::compose::ComposeDraft;
use crate::release::metadata::{Metadata, SourceRevision};
use crate::release::{prune, state};
use crate::robot::{Endpoint, Session, Survey, registry, tunnel};
use crate::timeline::{self, Lane, Phase};
use crate::ui;
use crate::{fleet, number, parallel, process};

use build::Build;
pub(crate) use connecting::Connecting;
pub(crate) use options::{Activate, OnBusy};
pub(crate) use result::{DeployResult, report, show_running};
pub(crate) use target::Target;

/// State that the robots of a deploy share.
pub(crate) struct Deploy<'a> {
    workspace: &'a Workspace,
    builder: Builder,
    robots: Vec<&'a Robot>,
    drafts: BTreeMap<&'a str, ComposeDraft>,
    specs: BTreeSet<ImageSpec>,
    digest_cache: DigestCache,
    cache: DeltaCache,
    build: Build,
    via: Via,
    source: SourceRevision,
    activate: Activate,
    began: Instant,
}

/// Renders the Compose files of the robots.
pub(crate) fn drafts<'a>(
    workspace: &Workspace,
    robots: &[&'a Robot],
) -> Result<BTreeMap<&'a str, ComposeDraft>> {
    let render = |robot: &'a Robot| Ok((robot.name.as_str(), ComposeDraft::render(workspace, robot)?));
    parallel::map(robots.iter().copied(), render).into_iter().collect()
}

/// All images that the robots run, each with the platforms of the robots that run it.
///
/// # Errors
/// Fails with exit code 2 if two robots build an image of the same name from different definitions.
pub(crate) fn image_specs(
    drafts: &BTreeMap<&str, ComposeDraft>,
    robots: &[&Robot],
) -> Result<BTreeSet<ImageSpec>> {
    let specs: BTreeSet<ImageSpec> =
        robots.iter().flat_map(|robot| drafts[robot.name.as_str()].specs(&robot.platform)).collect();
    let mut seen = BTreeSet::new();
    match specs.iter().find(|spec| !seen.insert((&spec.image, &spec.platform))) {
        Some(twice) => {
            let message = format!("robots build `{}` from different definitions", twice.image);
            Err(Failure::config(message)
                .hint("put what differs between them into `args` of its `build`, or deploy to them one after another")
                .into())
        }
        None => Ok(specs),
    }
}

/// The built images that a robot runs.
pub(crate) fn images_of(drafts: &BTreeMap<&str, ComposeDraft>, robot: &Robot, built: &[Built]) -> Vec<Built> {
    let images = drafts[robot.name.as_str()].images();
    built
        .iter()
        .filter(|built| built.spec.platform == robot.platform && images.contains(built.spec.image.as_str()))
        .cloned()
        .collect()
}

impl<'a> Deploy<'a> {
    /// Reads what the robots are to run. `builder` prepares this machine for building.
    pub(crate) fn new(
        workspace: &'a Workspace,
        builder: impl FnOnce() -> Result<Builder>,
        robots: Vec<&'a Robot>,
        via: Via,
        activate: Activate,
        began: Instant,
    ) -> Result<Self> {
        // Each of them waits for other programs.
        let others = || parallel::both(|| SourceRevision::of(workspace), || self::drafts(workspace, &robots));
        let ((source, drafts), builder) = parallel::both(others, builder);
        let builder = builder?;
        // If Compose was missing, `builder` has installed it by now.
        let drafts = drafts.or_else(|_| self::drafts(workspace, &robots))?;
        unused::tell_packages(workspace);
        unused::tell_images(workspace, &drafts);
        Ok(Self {
            specs: image_specs(&drafts, &robots)?,
            drafts,
            digest_cache: DigestCache::load(&workspace.state_dir()),
            cache: DeltaCache::open(workspace),
            build: Build::default(),
            via,
            source,
            activate,
            began,
            workspace,
            builder,
            robots,
        })
    }

    /// Builds the images, and plans for each robot what a deploy would do. Returns the plans of the robots that
    /// answer, and an error if any does not. Does not start a simulated robot that is not running.
    pub(crate) fn plan_all(&self) -> Result<(Vec<Plan>, Result<()>)> {
        let built = self.build_images(image::Options::default())?;
        Ok(self.plan_each(|robot| self.plan(robot, endpoint, Some(&built))))
    }

    /// Prints the changes that a deploy would make on this machine, and plans it for the robots if the images
    /// are built already; otherwise names the steps.
    pub(crate) fn dry_run(&self) -> Result<(Vec<Plan>, Result<()>)> {
        let built = self.build_images(image::Options::default()).unless_planned()?;
        Ok(self.plan_each(|robot| {
            self.plan(robot, reach, built.as_deref()).followed_by(self.delivery_in_words(robot))
        }))
    }

    fn plan_each(&self, plan: impl Fn(&Robot) -> Result<Plan> + Sync) -> (Vec<Plan>, Result<()>) {
        let (plans, planned) = fleet::each(&self.robots, plan);
        (plans.into_iter().map(|(_, plan)| plan).collect(), planned)
    }

    fn delivery_in_words(&self, robot: &Robot) -> String {
        let robot = &robot.name;
        let sent = match self.via {
            Via::Archive => format!("sending the images that `{robot}` lacks, as an archive"),
            _ => format!("sending the layers that the registry of `{robot}` lacks, and pulling them there"),
        };
        if self.activate.no_start {
            sent
        } else {
            format!("{sent}; then starting the release, or going back to the old one if it is unhealthy")
        }
    }

    /// Builds the images and deploys them to all robots. Returns the results of the robots that were served, and
    /// the first error.
    pub(crate) fn serve_all(
        &self,
        connecting: &Connecting<'_, 'a>,
    ) -> (Vec<(String, DeployResult)>, Result<()>) {
        let build = |options: image::Options<'_>| self.build_images(options);
        // Building and connecting to the robots run in parallel, because both are slow.
        let ((results, served), built) =
            parallel::both(|| self.serve_while_building(connecting), || self.build.run(&self.specs, build));
        let results = results.into_iter().filter_map(|(robot, result)| Some((robot, result?))).collect();
        self.cache.evict();
        // If both failed, the robots failed first, and the build was stopped for that reason.
        (results, served.and(built))
    }

    fn serve_while_building(
        &self,
        connecting: &Connecting<'_, 'a>,
    ) -> (Vec<(String, Option<DeployResult>)>, Result<()>) {
        let (results, served) = fleet::each(&self.robots, |robot| self.serve(robot, connecting));
        if results.is_empty() && self.build.has_none_yet() {
            // All robots have failed, so the build is useless.
            process::stop();
        }
        (results, served)
    }

    fn build_images(&self, options: image::Options<'_>) -> Result<Vec<Built>> {
        image::build(self.workspace, self.builder, &self.specs, options)
    }

    /// Deploys to one robot. Returns `None` if the build failed; that error is reported once, not for each
    /// robot.
    fn serve(&self, robot: &Robot, connecting: &Connecting<'_, 'a>) -> Result<Option<DeployResult>> {
        let Self { workspace, digest_cache, .. } = self;
        let mut target = connecting.wait_for(robot)?;
        target.progress.waiting("waiting for the build");
        let waiting = timeline::span(Lane::robot(&robot.name), Phase::Wait, "wait for the build");
        // What needs no lock is done while the images are being built, if they are.
        let (mut early, mut registry_image) = (EarlyAgent::default(), None);
        if self.via == Via::Registry && self.build.has_none_yet() {
            early = EarlyAgent::start(&target.session, &workspace.project.name);
            registry_image = Some(service::registry(self.builder, &robot.platform)?);
        }
        let Some(built) = self.build.images() else { return Ok(None) };
        drop(waiting);
        // The build may have taken minutes.
        target.session.revive()?;

        let draft = &self.drafts[robot.name.as_str()];
        let built = images_of(&self.drafts, robot, built);
        // A deploy that changes nothing needs no lock, except to mark an outcome as reported.
        let is_done = match delivery::already_there(workspace, &target.survey, digest_cache, &built) {
            Some(images) => target.runs(&draft.with_references(&delivery::references(&images))?),
            None => false,
        };
        if !is_done || target.survey.pending.is_some() {
            target.lock()?;
        }
        let delivery = self.deliver(robot, &target, &built, &early, registry_image);
        let mut delivery = delivery.map_err(|error| self.explained(error, &target.session))?;
        let release = draft.with_references(&delivery.references())?;
        if !self.build.has_succeeded() {
            return Ok(None);
        }
        let (running, changed) = target.activate(&release, &self.source, self.via.name(), &mut delivery)?;
        Ok(Some(DeployResult { delivery, running, changed, took: self.began.elapsed() }))
    }

    /// Plans what [`Deploy::serve`] would do with images that are built.
    ///
    /// # Errors
    /// Fails with [`Planned`] if they are not.
    fn plan(
        &self,
        robot: &Robot,
        way: fn(&Workspace, &Robot) -> Result<Endpoint>,
        built: Option<&[Built]>,
    ) -> Result<Plan> {
        let repository = registry::repository(robot.registry_port, &self.workspace.project.name);
        let target = Target::connect(self.workspace, robot, way, &repository, self.activate)?;
        let Some(built) = built.filter(|_| self.via == Via::Registry) else {
            return Err(Planned::default().into());
        };
        target.progress.waiting("planning");
        let built = images_of(&self.drafts, robot, built);
        let references = built
            .iter()
            .map(|built| (built.spec.image.clone(), self.reference(built, &target.survey)))
            .collect();
        let release = self.drafts[robot.name.as_str()].with_references(&references)?;
        let metadata = Metadata::now(&self.source, self.via.name(), references);
        let archive = match state::is_current(&release, &target.survey) {
            true => 0,
            false => {
                let large = number::sum(activate::missing(&release, &target.survey).map(|file| file.bytes));
                activate::archive(&release, &metadata)?.len() as u64 + large
            }
        };
        let services = Services { hashes: release.hashes, jobs: release.jobs, archive };
        let registry_image = &service::registry(self.builder, &robot.platform)?;
        delivery::plan::plan(&self.route(&target, &EarlyAgent::default(), registry_image), &built, &services)
    }

    /// Name of an image on a robot, as far as it is known before the delivery.
    fn reference(&self, built: &Built, survey: &Survey) -> String {
        if let Some(there) = delivery::on_robot(self.workspace, survey, &self.digest_cache, built) {
            return there.reference;
        }
        let digest = self.digest_cache.manifest_of(&built.id);
        let digest = digest.unwrap_or_else(|| built.id.digest().to_owned());
        registry::reference(survey.registry_port, &self.workspace.project.name, &digest)
    }

    fn route<'r>(
        &'r self,
        target: &'r Target<'_>,
        early: &'r EarlyAgent,
        registry_image: &'r str,
    ) -> Route<'r> {
        let Self { workspace, builder, digest_cache, cache, .. } = self;
        let Target { session, survey, progress, .. } = target;
        let (workspace, builder) = (*workspace, *builder);
        Route { workspace, builder, session, survey, registry_image, digest_cache, cache, early, progress }
    }

    /// Adds to the error of a delivery what is kept, or what `prune` would free.
    fn explained(&self, error: anyhow::Error, session: &Session) -> anyhow::Error {
        let robot = session.robot();
        if exit_of(&error) == Exit::Unreachable {
            let broke_off = format!("the delivery to `{robot}` broke off");
            return Failure::unreachable(broke_off).hint(tunnel::KEPT_HINT).caused_by(error);
        }
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
        built: &[Built],
        early: &EarlyAgent,
        registry_image: Option<String>,
    ) -> Result<Delivery> {
        let Target { session, survey, progress, .. } = target;
        let there = delivery::already_there(self.workspace, survey, &self.digest_cache, built);
        if self.via == Via::Archive && there.is_none() {
            let (project, digest_cache) = (&self.workspace.project.name, &self.digest_cache);
            let items: Vec<ArchiveImage> =
                built.iter().map(|built| ArchiveImage::of(built, digest_cache)).collect();
            let route = archive::ArchiveRoute { project, session, survey, digest_cache, progress };
            return archive::deliver(&route, &archive::Engine, &items);
        }
        if let Some(images) = there {
            delivery::pull_lacking(session, &self.workspace.project.name, survey, &images)?;
            return Ok(Delivery { images_there: images.len(), images, cost: Cost::default() });
        }
        let registry_image = match registry_image {
            Some(image) => image,
            None => service::registry(self.builder, &robot.platform)?,
        };
        delivery::deliver(&self.route(target, early, &registry_image), built)
    }
}
