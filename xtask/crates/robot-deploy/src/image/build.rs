//! Builds all images: their inputs, the calls that are needed, and the results.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::Context as _;
use camino::Utf8Path;
use serde_json::{Map, Value, json};

use super::bake::{self, Outcome};
use super::dependencies::{self, Dependencies, Dependency};
use super::facts::{self, Facts};
use super::own::OwnRepository;
use super::provenance::Provenance;
use super::unchanged::{self, Known};
use super::{BakeTarget, Builder, Built, ImageId, ImageSpec, Origin, base, dockerfile, others, siblings};
use crate::config::{Base, Image, Platform, Store, Workspace};
use crate::error::{FollowedBy as _, Result};
use crate::parallel;
use crate::timeline::{self, Lane, Phase};

#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Build every stage again, without BuildKit's cache.
    pub no_cache: bool,
    /// Receives each image as soon as the engine's store has it. That may be seconds before the build ends,
    /// because BuildKit also unpacks the image there.
    pub stored: Option<&'a Sender<Built>>,
}

impl Options<'_> {
    /// Returns a function that sends an image of a build to [`Options::stored`], given its name in the store and
    /// the digest of its manifest.
    fn notifier(
        self,
        builder: Builder,
        inputs: &BTreeMap<&ImageSpec, Inputs>,
    ) -> impl Fn(&str, &str) + Clone + Send + Sync + use<> {
        let own_name = |(spec, inputs): (&&ImageSpec, &Inputs)| {
            (inputs.own.of(&inputs.reference), ((*spec).clone(), inputs.clone()))
        };
        let expected: BTreeMap<String, (ImageSpec, Inputs)> = inputs.iter().map(own_name).collect();
        let has_manifests = matches!(builder, Builder::Engine { store: Store::Containerd });
        let listener = self.stored.filter(|_| has_manifests).cloned();
        move |reference, digest| {
            if let Some((listener, (spec, inputs))) = listener.as_ref().zip(expected.get(reference)) {
                // The receiver may be gone already.
                drop(listener.send(inputs.built(spec, ImageId::Manifest(digest.to_owned()))));
            }
        }
    }
}

/// Builds images, after their bases where those are missing.
pub fn build(
    workspace: &Workspace,
    builder: Builder,
    specs: &BTreeSet<ImageSpec>,
    options: Options<'_>,
) -> Result<Vec<Built>> {
    let _span = timeline::span(Lane::Build, Phase::Whole, format!("build of {}", title(specs)));
    let dir = workspace.state_dir().join("build");
    let known = specs.iter().flat_map(|spec| super::all_for(workspace, &spec.platform));
    let specs = &siblings::with_those_below(workspace, specs, &known.chain(specs.iter().cloned()).collect());
    let contexts = base_contexts(workspace, builder, specs)?;
    let (prepared, dependencies) = prepared(workspace, builder, &contexts, false)?;
    let workspace = &*prepared;
    let inputs = Inputs::all(workspace, specs, &contexts, &dependencies, builder, &dir)?;
    let mut known = Known::load(&dir);
    let unchanged = unchanged(builder, &known, &inputs, options);
    let is_unchanged = |spec: &ImageSpec| unchanged.iter().any(|built| built.spec == *spec);
    let changed = inputs.iter().filter(|(spec, _)| !is_unchanged(spec));
    let targets: Map<String, Value> =
        changed.map(|(spec, inputs)| (spec.target(), inputs.bake_target.definition.clone())).collect();
    if targets.is_empty() {
        return Ok(unchanged);
    }
    if let Some(listener) = options.stored {
        unchanged.iter().for_each(|built| drop(listener.send(built.clone())));
    }
    let notify = options.notifier(builder, &inputs);
    let outcome = bake::bake(workspace, builder, targets, options.no_cache, notify)?;
    let images = specs
        .iter()
        .map(|spec| match unchanged.iter().find(|built| built.spec == *spec) {
            Some(built) => Ok(built.clone()),
            None => built(builder, spec, &outcome, &inputs[spec]),
        })
        .collect::<Result<Vec<Built>>>()?;
    for built in &images {
        let hash = inputs[&built.spec].hash.clone().unwrap_or_default();
        known.insert(&built.own_name(), hash, built.id.digest());
    }
    known.save()?;
    Ok(images)
}

/// Title of a build, for people.
fn title(specs: &BTreeSet<ImageSpec>) -> String {
    match specs.first() {
        Some(only) if specs.len() == 1 => only.image.clone(),
        _ => format!("{} images", specs.len()),
    }
}

/// Inputs of an image's build.
#[derive(Clone)]
pub(super) struct Inputs {
    /// The image's name for people.
    reference: String,
    own: Arc<OwnRepository>,
    pub(super) bake_target: BakeTarget,
    /// Hash of everything that the image depends on, if that is known.
    pub(super) hash: Option<String>,
}

impl Inputs {
    /// Inputs of all images.
    fn all<'a>(
        workspace: &Workspace,
        specs: &'a BTreeSet<ImageSpec>,
        contexts: &Contexts<'_>,
        dependencies: &ByTarget<'_, Dependencies>,
        builder: Builder,
        dir: &Utf8Path,
    ) -> Result<BTreeMap<&'a ImageSpec, Self>> {
        let own = OwnRepository::take(&workspace.project.name)?;
        let inputs = parallel::map(specs, |spec| {
            let (definition, hash) = if spec.origin == Origin::Packages {
                let image = workspace.image(&spec.image)?;
                let key = (image.base.as_str(), &spec.platform);
                let above = dependencies.get(&key).cloned().unwrap_or_default();
                let definition =
                    image_target(workspace, builder, spec, image, &contexts[&key], &above, &own)?;
                let hash = unchanged::inputs(workspace, image, &definition);
                (definition, hash)
            } else {
                others::target(workspace, builder, spec, &own)?
            };
            let bake_target = BakeTarget { dir: dir.to_owned(), definition };
            let (reference, own) = (spec.reference(workspace), Arc::clone(&own));
            Ok((spec, Self { reference, own, bake_target, hash }))
        });
        let mut all = inputs.into_iter().collect::<Result<_>>()?;
        siblings::link(workspace, &mut all)?;
        Ok(all)
    }

    fn built(&self, spec: &ImageSpec, id: ImageId) -> Built {
        let Self { reference, own, bake_target, .. } = self.clone();
        Built { spec: spec.clone(), reference, own, id, bake_target }
    }
}

/// Images that need no build. The `docker-container` builder pushes as part of a build, so it always builds.
fn unchanged(
    builder: Builder,
    known: &Known,
    inputs: &BTreeMap<&ImageSpec, Inputs>,
    options: Options<'_>,
) -> Vec<Built> {
    let Builder::Engine { store } = builder else { return Vec::new() };
    if options.no_cache {
        return Vec::new();
    }
    let known_image = |(spec, inputs): (&&ImageSpec, &Inputs)| {
        let name = inputs.own.of(&inputs.reference);
        let digest = known.digest(&name, inputs.hash.as_deref()?)?.to_owned();
        let id = match store {
            Store::Containerd => ImageId::Manifest(digest),
            Store::Classic => ImageId::Config(digest),
        };
        Some(inputs.built(spec, id))
    };
    let images: Vec<Built> = inputs.iter().filter_map(known_image).collect();
    // The name for people may have been moved by another clone.
    let names: Vec<(String, &str)> = images
        .iter()
        .flat_map(|built| [built.own_name(), built.reference.clone()].map(|name| (name, built.id.digest())))
        .collect();
    let all_exist = unchanged::all_exist(names.iter().map(|(name, digest)| (name.as_str(), *digest)));
    if all_exist { images } else { Vec::new() }
}

/// Runs the tests of the ROS packages, each in its build environment; tests with unchanged inputs are cached.
/// Returns the names of the packages.
pub fn test(workspace: &Workspace, builder: Builder) -> Result<Vec<String>> {
    let platform = Platform::of_this_machine();
    let specs = super::all_for(workspace, &platform);
    let contexts = base_contexts(workspace, builder, &specs)?;
    let (prepared, dependencies) = prepared(workspace, builder, &contexts, false)?;
    let workspace = &*prepared;
    let mut targets = Map::new();
    let mut names = Vec::new();
    for (key, context) in &contexts {
        let base = &workspace.bases[key.0];
        let above = dependencies.get(key).cloned().unwrap_or_default();
        for package in dockerfile::tested_packages(workspace, base) {
            let mut target = bake::common(workspace, base, &platform, context)?;
            target["args"] = above.arguments(base)?;
            target["args"]["TEST_DEPENDENCIES"] = json!(above.for_tests(package));
            target["target"] = json!(dockerfile::stage("test", package));
            target["output"] = json!(["type=cacheonly"]);
            targets.insert(format!("test-{}-{package}", base.name), target);
            names.push(package.to_owned());
        }
    }
    if !targets.is_empty() {
        bake::bake(workspace, builder, targets, false, |_, _| {})?;
    }
    Ok(names)
}

/// Builds the image with a base's build tools and a user, for interactive work. Returns its name.
pub fn tools(workspace: &Workspace, builder: Builder, base: &Base) -> Result<String> {
    let platform = Platform::of_this_machine();
    dockerfile::require_dev_shell(workspace, base)?;
    let context = base::ensure(workspace, builder, base, &platform)?;
    let contexts = Contexts::from([((base.name.as_str(), &platform), context.clone())]);
    let (prepared, dependencies) = prepared(workspace, builder, &contexts, false)?;
    let workspace = &*prepared;
    let reference = tools_reference(workspace, base);
    let mut target = bake::common(workspace, base, &platform, &context)?;
    let above = dependencies.into_values().next().unwrap_or_default();
    target["args"] = above.with_tests().arguments(base)?;
    target["target"] = json!("dev-shell");
    target["tags"] = json!([reference]);
    target["output"] = json!([builder.output(&reference)]);
    bake::bake(workspace, builder, Map::from_iter([("tools".to_owned(), target)]), false, |_, _| {})?;
    Ok(reference)
}

/// Dependencies of the packages outside of the workspace, on the bases and for the platforms of some images. Writes the
/// lock file; with `update`, of all that the bases lack.
///
/// # Errors
/// Fails with exit code 2 if packages need something that neither a base nor rosdep has.
pub fn dependencies(
    workspace: &Workspace,
    builder: Builder,
    specs: &BTreeSet<ImageSpec>,
    update: bool,
) -> Result<Vec<Dependency>> {
    let contexts = base_contexts(workspace, builder, specs)?;
    let (_, dependencies) = prepared(workspace, builder, &contexts, update)?;
    Ok(dependencies.into_values().flat_map(|dependencies| dependencies.all).collect())
}

/// Name of the image of [`tools`]; `.devcontainer/devcontainer.json` has the same.
pub fn tools_reference(workspace: &Workspace, base: &Base) -> String {
    format!("{}:{}-tools", workspace.project.name, base.name)
}

/// Evaluates the conditions of all packages on the bases of `contexts`, and finds out what to install above these.
///
/// # Errors
/// Fails with exit code 2 if packages need something that neither a base nor rosdep has.
fn prepared<'a, 'b>(
    workspace: &'a Workspace,
    builder: Builder,
    contexts: &Contexts<'b>,
    update: bool,
) -> Result<(Cow<'a, Workspace>, ByTarget<'b, Dependencies>)> {
    let (is_conditional, has_outside) =
        (workspace.packages.is_conditional(), dependencies::any(&workspace.packages));
    let (mut prepared, mut found) = (Cow::Borrowed(workspace), ByTarget::new());
    if !is_conditional && !has_outside {
        return Ok((prepared, found));
    }
    // The platforms of a base do not differ in these facts.
    let mut facts_of: BTreeMap<&str, Option<Facts>> = BTreeMap::new();
    for (key, context) in contexts {
        let (base, platform) = (&workspace.bases[key.0], key.1);
        if !facts_of.contains_key(key.0) {
            let facts = facts::of(workspace, builder, base, platform, context);
            let facts = match is_conditional {
                true => Some(facts.followed_by(
                    "building the images, with the packages whose conditions hold on the base",
                )?),
                // A dry run goes on without them.
                false => facts.unless_planned()?,
            };
            if let Some(facts) = facts.as_ref().filter(|_| is_conditional) {
                prepared.to_mut().set_variables(key.0, &facts.variables)?;
            }
            facts_of.insert(key.0, facts);
        }
        let Some(facts) = &facts_of[key.0] else { continue };
        let target = dependencies::Target { workspace: &prepared, base, platform, context };
        if let Some(dependencies) = dependencies::resolve(target, builder, facts, update).unless_planned()? {
            found.insert(*key, dependencies);
        }
    }
    Ok((prepared, found))
}

/// Something for each base and platform.
type ByTarget<'a, T> = BTreeMap<(&'a str, &'a Platform), T>;

/// The named contexts of bases.
type Contexts<'a> = ByTarget<'a, String>;

/// The named context `base` for each base and platform in use.
fn base_contexts<'a>(
    workspace: &'a Workspace,
    builder: Builder,
    specs: &'a BTreeSet<ImageSpec>,
) -> Result<Contexts<'a>> {
    let mut contexts = Contexts::new();
    for ImageSpec { image, platform, .. } in specs.iter().filter(|spec| spec.origin == Origin::Packages) {
        let base = &workspace.bases[&workspace.image(image)?.base];
        if let Entry::Vacant(vacant) = contexts.entry((base.name.as_str(), platform)) {
            vacant.insert(base::ensure(workspace, builder, base, platform)?);
        }
    }
    Ok(contexts)
}

fn image_target(
    workspace: &Workspace,
    builder: Builder,
    spec: &ImageSpec,
    image: &Image,
    context: &str,
    above: &Dependencies,
    own: &OwnRepository,
) -> Result<Value> {
    let base = &workspace.bases[&image.base];
    let provenance = Provenance::of_image(workspace, image)?;
    let reference = spec.reference(workspace);
    let mut target = bake::common(workspace, base, &spec.platform, context)?;
    target["target"] = json!(format!("image-{}", image.name));
    target["tags"] = json!([reference, own.of(&reference)]);
    target["labels"] = json!(provenance.labels(workspace, &image.name));
    // BuildKit writes this as creation time into the image's configuration: the digest then depends on inputs
    // only.
    target["args"] = above.arguments(base)?;
    target["args"]["SOURCE_DATE_EPOCH"] = json!(provenance.time.to_string());
    target["output"] = json!([builder.output(&reference)]);
    Ok(target)
}

fn built(builder: Builder, spec: &ImageSpec, outcome: &Outcome, inputs: &Inputs) -> Result<Built> {
    let reference = &inputs.reference;
    let metadata = outcome
        .get(&spec.target())
        .with_context(|| format!("BuildKit reported no result for `{reference}`"))?;
    let has_manifest = builder == Builder::Engine { store: Store::Containerd };
    let id = match (has_manifest, &metadata.digest, &metadata.config) {
        (true, Some(digest), _) => ImageId::Manifest(digest.clone()),
        (false, _, Some(config)) => ImageId::Config(config.clone()),
        _ => anyhow::bail!("BuildKit reported no digest for `{reference}`"),
    };
    Ok(inputs.built(spec, id))
}
