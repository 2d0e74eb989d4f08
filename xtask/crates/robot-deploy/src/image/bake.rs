//! Builds all images by one `docker buildx bake` call on a generated file: BuildKit solves one graph once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::failures::{self, Paths};
use super::own::OwnRepository;
use super::provenance::Provenance;
use super::unchanged::{self, Known};
use super::{BakeTarget, Builder, Built, ImageId, ImageSpec, base, dockerfile, progress, secrets};
use crate::config::{Base, Image, Platform, Store, Workspace};
use crate::error::{Exit, Failure, Result, exit_of};
use crate::process::{self, Cmd};
use crate::timeline::{self, Lane, Phase};
use crate::ui;

/// Time for which generated Bake files are kept for inspection.
const BAKE_FILES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Error of a known race in builds that share steps (<https://github.com/moby/buildkit/issues/2303>). The
/// steps done before it stay in the cache, so a retry is cheap.
const RACE: &str = "inconsistent graph state";

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
    let inputs = Inputs::all(workspace, builder, specs, &dir)?;
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
    let outcome = bake(workspace, builder, targets, options.no_cache, notify)?;
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
struct Inputs {
    /// The image's name for people.
    reference: String,
    own: Arc<OwnRepository>,
    bake_target: BakeTarget,
    /// Hash of everything that the image depends on, if that is known.
    hash: Option<String>,
}

impl Inputs {
    /// Inputs of all images. Builds their bases where those are missing.
    fn all<'a>(
        workspace: &Workspace,
        builder: Builder,
        specs: &'a BTreeSet<ImageSpec>,
        dir: &Utf8Path,
    ) -> Result<BTreeMap<&'a ImageSpec, Self>> {
        let contexts = base_contexts(workspace, builder, specs)?;
        let own = OwnRepository::take(&workspace.project.name)?;
        let inputs = specs.iter().map(|spec| {
            let image = workspace.image(&spec.image)?;
            let context = contexts[&(image.base.as_str(), &spec.platform)].as_str();
            let definition = image_target(workspace, builder, spec, image, context, &own)?;
            let hash = unchanged::inputs(workspace, image, &definition);
            let bake_target = BakeTarget { dir: dir.to_owned(), definition };
            let (reference, own) = (spec.reference(workspace), Arc::clone(&own));
            Ok((spec, Self { reference, own, bake_target, hash }))
        });
        inputs.collect()
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
    let mut targets = Map::new();
    let mut names = Vec::new();
    for ((base, _), context) in &contexts {
        let base = &workspace.bases[*base];
        for package in dockerfile::tested_packages(workspace, base) {
            let mut target = common(workspace, base, &platform, context)?;
            target["target"] = json!(format!("test-{package}"));
            target["output"] = json!(["type=cacheonly"]);
            targets.insert(format!("test-{}-{package}", base.name), target);
            names.push(package.to_owned());
        }
    }
    if !targets.is_empty() {
        bake(workspace, builder, targets, false, |_, _| {})?;
    }
    Ok(names)
}

/// Builds the image with a base's build tools and a user, for interactive work. Returns its name.
pub fn tools(workspace: &Workspace, builder: Builder, base: &Base) -> Result<String> {
    let platform = Platform::of_this_machine();
    let context = base::ensure(workspace, builder, base, &platform)?;
    let reference = tools_reference(workspace, base);
    let mut target = common(workspace, base, &platform, &context)?;
    target["target"] = json!("dev-shell");
    target["tags"] = json!([reference]);
    target["output"] = json!([builder.output(&reference)]);
    bake(workspace, builder, Map::from_iter([("tools".to_owned(), target)]), false, |_, _| {})?;
    Ok(reference)
}

/// Name of the image of [`tools`]; `.devcontainer/devcontainer.json` has the same.
pub fn tools_reference(workspace: &Workspace, base: &Base) -> String {
    format!("{}:{}-tools", workspace.project.name, base.name)
}

type Contexts<'a> = BTreeMap<(&'a str, &'a Platform), String>;

/// The named context `base` for each base and platform in use.
fn base_contexts<'a>(
    workspace: &'a Workspace,
    builder: Builder,
    specs: &'a BTreeSet<ImageSpec>,
) -> Result<Contexts<'a>> {
    let mut contexts = Contexts::new();
    for ImageSpec { image, platform } in specs {
        let base = &workspace.bases[&workspace.image(image)?.base];
        if let Entry::Vacant(vacant) = contexts.entry((base.name.as_str(), platform)) {
            vacant.insert(base::ensure(workspace, builder, base, platform)?);
        }
    }
    Ok(contexts)
}

/// Bake target with the settings common to all targets on a base.
fn common(workspace: &Workspace, base: &Base, platform: &Platform, context: &str) -> Result<Value> {
    let dockerfile = dockerfile_path(workspace, base);
    process::provide_file(&dockerfile, &dockerfile::render(workspace, base)?)?;
    // Files that appear when packages run on the desktop are not inputs.
    let ignore = "**/__pycache__\n**/.pytest_cache\n**/*.pyc\n**/.git\n";
    process::provide_file(&Utf8PathBuf::from(format!("{dockerfile}.dockerignore")), ignore)?;
    let docker_dir = base.dockerfile.parent().unwrap_or(&workspace.root);
    Ok(json!({
        "context": workspace.project.ros_workspace.join("src"),
        "contexts": { "base": context, "docker": docker_dir },
        "dockerfile": dockerfile,
        "platforms": [platform.to_string()],
        "secret": secrets::of_this_machine(),
    }))
}

fn image_target(
    workspace: &Workspace,
    builder: Builder,
    spec: &ImageSpec,
    image: &Image,
    context: &str,
    own: &OwnRepository,
) -> Result<Value> {
    let base = &workspace.bases[&image.base];
    let provenance = Provenance::of(workspace, image)?;
    let reference = spec.reference(workspace);
    let mut target = common(workspace, base, &spec.platform, context)?;
    target["target"] = json!(format!("image-{}", image.name));
    target["tags"] = json!([reference, own.of(&reference)]);
    target["labels"] = json!(provenance.labels(workspace, image));
    // BuildKit writes this as creation time into the image's configuration: the digest then depends on inputs
    // only.
    target["args"] = json!({ "SOURCE_DATE_EPOCH": provenance.time.to_string() });
    target["output"] = json!([builder.output(&reference)]);
    Ok(target)
}

/// Path of the generated Dockerfile, also for inspection.
fn dockerfile_path(workspace: &Workspace, base: &Base) -> Utf8PathBuf {
    workspace.state_dir().join("build").join(format!("{}.Dockerfile", base.name))
}

/// BuildKit's metadata of a built target.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(rename = "containerimage.digest")]
    pub(super) digest: Option<String>,
    #[serde(rename = "containerimage.config.digest")]
    config: Option<String>,
}

/// Metadata of all targets of a call.
pub(super) type Outcome = BTreeMap<String, Metadata>;

fn bake(
    workspace: &Workspace,
    builder: Builder,
    targets: Map<String, Value>,
    no_cache: bool,
    stored: impl Fn(&str, &str) + Clone + Send + Sync + 'static,
) -> Result<Outcome> {
    let dir = workspace.state_dir().join("build");
    let file = write_bake_file(&dir, &targets)?;
    let metadata = file.with_extension(format!("{}.metadata", std::process::id()));
    builder.ensure(&workspace.state_dir())?;
    let command = command(builder, &file, no_cache);
    let watch = progress::Watch {
        paths: Paths::of(workspace),
        file: Some(dir.join("log")),
        ..progress::Watch::default()
    };
    let failed = watch.failed.clone();
    let outcome = outcome(&command, &metadata, |command| {
        let show = move || progress::condense(watch.clone(), stored.clone());
        let command = command.clone().show_through("build", show);
        if !command.run_unless_stderr_has(RACE)? {
            ui::warn("build", "BuildKit hit a known race (moby/buildkit#2303); retrying once");
            command.run()?;
        }
        Ok(())
    });
    remove_old_bake_files(&dir);
    let failed = failed.lock();
    outcome.map_err(|error| match exit_of(&error) {
        Exit::Failed if !failed.is_empty() => {
            let message = format!("{} failed", failed.join(" and "));
            let log = format!("the whole log is in `{}`", workspace.relative(&dir.join("log")));
            let src = workspace.project.ros_workspace.join("src");
            let renamed = failures::not_utf8(src.as_std_path(), workspace.root.as_std_path());
            let failure = Failure::failed(message).hint(log);
            renamed.into_iter().fold(failure, Failure::hint).into()
        }
        _ => error,
    })
}

/// Runs a call and returns the metadata that BuildKit writes to the temporary file `file`.
pub(super) fn outcome(call: &Cmd, file: &Utf8Path, run: impl FnOnce(&Cmd) -> Result<()>) -> Result<Outcome> {
    run(&call.clone().unshown(["--metadata-file", file.as_str()]))?;
    process::outcome_needed()?;
    let text = fs_err::read_to_string(file)?;
    fs_err::remove_file(file)?;
    serde_json::from_str(&text).context("read the build metadata of BuildKit")
}

/// Writes the Bake file of a build, named by a hash of its content: two builds at the same time, for two
/// robots in two terminals, must not overwrite each other's file.
pub(super) fn write_bake_file(dir: &Utf8Path, targets: &Map<String, Value>) -> Result<Utf8PathBuf> {
    let names: Vec<&String> = targets.keys().collect();
    let mut definition = json!({ "group": { "default": { "targets": names } }, "target": targets });
    escape_templates(&mut definition);
    let definition = serde_json::to_string_pretty(&definition).context("write the Bake file")? + "\n";
    let file = dir.join(format!("bake-{}.json", super::content_tag([definition.as_str()])));
    process::provide_file(&file, &definition)?;
    Ok(file)
}

/// Escapes template syntax in all strings: Bake expands templates in every string, and a path may contain
/// anything.
fn escape_templates(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("${", "$${").replace("%{", "%%{"),
        Value::Array(list) => list.iter_mut().for_each(escape_templates),
        Value::Object(table) => table.values_mut().for_each(escape_templates),
        _ => {}
    }
}

/// `docker buildx bake` with the arguments common to all calls.
pub(super) fn call(builder: Builder) -> Cmd {
    Cmd::new("docker")
        // buildx 0.20 and later asks before a Bake file may read files outside the current directory, such as
        // the certificates of this machine. This Bake file is our own.
        .env("BUILDX_BAKE_ENTITLEMENTS_FS", "0")
        .args(["buildx", "bake", builder.arg()])
        // An attestation turns every image into an index whose digest changes with every build.
        .args(["--provenance=false", "--sbom=false"])
}

/// Removes Bake files that are older than [`BAKE_FILES_KEPT`].
fn remove_old_bake_files(dir: &Utf8Path) {
    let entries = dir.read_dir_utf8().into_iter().flatten().filter_map(std::io::Result::ok);
    let is_old = |path: &Utf8Path| {
        let age = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        age.is_some_and(|age| age > BAKE_FILES_KEPT)
    };
    for entry in entries.filter(|entry| entry.file_name().starts_with("bake-") && is_old(entry.path())) {
        // Another run may have removed it; a file that stays does no harm.
        drop(fs_err::remove_file(entry.path()));
    }
}

fn command(builder: Builder, file: &Utf8Path, no_cache: bool) -> Cmd {
    call(builder)
        .args(["--file", file.as_str()])
        .arg("--progress=plain")
        .args(no_cache.then_some("--no-cache"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_syntax_is_escaped() {
        let mut definition = json!({ "context": "/a ${b} %{c} $(d)", "tags": ["${e}"] });
        escape_templates(&mut definition);
        assert_eq!(definition, json!({ "context": "/a $${b} %%{c} $(d)", "tags": ["$${e}"] }));
    }

    #[test]
    fn the_call_asks_for_no_attestations() {
        let builder = Builder::Engine { store: Store::Containerd };
        let line = command(builder, "/b.json".into(), true).to_string();
        assert!(line.contains("docker buildx bake --builder=default "), "{line}");
        assert!(line.contains("--file /b.json"), "{line}");
        assert!(
            line.contains("--provenance=false")
                && line.contains("--sbom=false")
                && line.ends_with("--no-cache")
        );
    }
}
