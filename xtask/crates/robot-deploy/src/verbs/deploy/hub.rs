//! `cargo xtask deploy --via hub`: deploys published images, which the robots pull themselves. Builds
//! nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Args;
use crate::config::{Robot, Workspace};
use crate::delivery::{Cost, Delivered, hub};
use crate::deploy::{DeployResult, Target, drafts, image_specs, report};
use crate::error::{Failure, FollowedBy as _, Result};
use crate::fleet;
use crate::host::Need;
use crate::hub::login::Login;
use crate::hub::{resolve, tags};
use crate::image::{ImageSpec, Origin};
use crate::reach::reach;
use crate::release::metadata::SourceRevision;
use crate::timeline::{self, Lane, Phase};
use crate::ui;
use crate::verbs::builder;

/// Deploys what is published under the tag, or without a tag as the current revision.
pub(super) fn deploy(args: &Args, workspace: &Workspace, costs: &mut BTreeMap<String, Cost>) -> Result<()> {
    let began = Instant::now();
    let hub = crate::hub::of(workspace)?;
    let robots = args.robots.resolve(workspace)?;
    let _builder = builder(args.yes, &Need::ALWAYS)?;
    let name = args.tag.clone().map_or_else(|| tags::revision(&workspace.root), Ok)?;
    let drafts = drafts(workspace, &robots)?;
    ui::step("hub", &format!("looking up `{name}` in {}", hub.repository));
    let specs = image_specs(&drafts, &robots)?;
    if let Some(other) = specs.iter().find(|spec| spec.origin != Origin::Packages) {
        return Err(Failure::config(format!("`publish` has not published the image `{}`", other.image))
            .hint(
                "only images of [images] in robots.toml are published; deploy without `--via hub` brings all",
            )
            .into());
    }
    let published = resolve(hub, &name, &specs)?;
    let login = Login::of(hub)?;
    let source = SourceRevision { revision: Some(name.clone()), dirty: false };
    let serve = |robot: &Robot| {
        let project = &workspace.project.name;
        let mut target = Target::connect(workspace, robot, reach, &hub.repository, args.activate)?;
        target.lock()?;
        let draft = &drafts[robot.name.as_str()];
        let image = |spec: ImageSpec| Delivered { reference: published[&spec].clone(), image: spec.image };
        let images: Vec<Delivered> = draft.specs(&robot.platform).into_iter().map(image).collect();
        target.progress.doing(&format!("pulling from {}", hub.registry()), None);
        let pulling = timeline::span(Lane::robot(&robot.name), Phase::Pull, "pull");
        let (session, survey) = (&target.session, &target.survey);
        let route = hub::Route { project, hub, login: login.as_ref(), session, survey };
        let mut delivery = hub::deliver(&route, images).followed_by("starting the release")?;
        drop(pulling);
        let release = draft.with_references(&delivery.references())?;
        let (running, changed) = target.activate(&release, &source, "hub", &mut delivery)?;
        Ok(DeployResult { delivery, running, changed, took: began.elapsed() })
    };
    let (results, served) = fleet::each(&robots, serve);
    costs.extend(results.iter().map(|(robot, result)| (robot.clone(), result.delivery.cost)));
    report(&results)?;
    served
}
