//! Calls of `docker buildx bake` on generated files: BuildKit solves the graph of all targets once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Once;
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::failures::{self, Paths};
use super::{Builder, dockerfile, progress, secrets, siblings};
use crate::config::{Base, Platform, Workspace};
use crate::error::{Exit, Failure, Result, exit_of};
use crate::process::{self, Cmd};
use crate::ui;

/// Most bytes of a file that a build has written for this program.
const LIMIT: u64 = 16 << 20;

/// Time for which generated Bake files are kept for inspection.
const BAKE_FILES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Errors of BuildKit that have nothing to do with what is built: a race in builds that share steps
/// (<https://github.com/moby/buildkit/issues/2303>), and a time limit inside of it that a busy machine exceeds
/// (<https://github.com/moby/buildkit/issues/4327>). The steps done before stay in the cache, so a retry is cheap.
const TRANSIENT: [&str; 3] = [
    "inconsistent graph state",
    "failed to get state for index",
    "DeadlineExceeded: context deadline exceeded",
];

/// Number of times that a build is repeated after such an error.
const REPEATS: usize = 2;

/// Bake target with the settings common to all targets on a base.
pub(super) fn common(
    workspace: &Workspace,
    base: &Base,
    platform: &Platform,
    context: &str,
) -> Result<Value> {
    let dockerfile = dockerfile_path(workspace, base);
    process::provide_file(&dockerfile, &dockerfile::render(workspace, base)?)?;
    // Files that appear when packages run on the desktop are not inputs.
    let mut ignore = "**/__pycache__\n**/.pytest_cache\n**/*.pyc\n**/.git\n".to_owned();
    let sources = workspace.project.sources();
    if sources == workspace.root {
        ignore.push_str("target\n");
    }
    process::provide_file(&Utf8PathBuf::from(format!("{dockerfile}.dockerignore")), &ignore)?;
    let mut secrets = secrets::of_this_machine();
    if let Some(jobs) = workspace.jobs {
        // A secret, because its value does not change what is built.
        let file = workspace.state_dir().join("build/jobs");
        process::provide_file(&file, &format!("{jobs}\n"))?;
        secrets.push(format!("id=jobs,src={file}"));
    }
    let docker_dir = base.dockerfile.parent().unwrap_or(&workspace.root);
    let mut contexts = json!({ "base": context, "docker": docker_dir });
    if workspace.settings.values().any(|settings| !settings.also.is_empty()) {
        contexts[dockerfile::REPOSITORY] = json!(workspace.root);
    }
    Ok(json!({
        "context": sources,
        "contexts": contexts,
        "dockerfile": dockerfile,
        "platforms": [platform.to_string()],
        "secret": secrets,
    }))
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
    pub(super) config: Option<String>,
}

/// Metadata of all targets of a call.
pub(super) type Outcome = BTreeMap<String, Metadata>;

/// Builds targets.
pub(super) fn bake(
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
    tell_emulation(&targets);
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
        for _ in 0..REPEATS {
            if command.run_unless_stderr_has(&TRANSIENT)? {
                return Ok(());
            }
            ui::warn(
                "build",
                "BuildKit failed with an error that a retry may not have (moby/buildkit#2303, #4327): trying again",
            );
        }
        command.run()
    });
    remove_old_bake_files(&dir);
    let failed = failed.lock();
    outcome.map_err(|error| match exit_of(&error) {
        Exit::Failed if !failed.is_empty() => {
            let message = format!("{} failed", failed.join(" and "));
            let log = format!("the whole log is in `{}`", workspace.relative(&dir.join("log")));
            let src = workspace.project.sources();
            let renamed = failures::not_utf8(src.as_std_path(), workspace.root.as_std_path());
            let failure = Failure::failed(message).hint(log);
            renamed.into_iter().fold(failure, Failure::hint).into()
        }
        _ => error,
    })
}

/// Builds the stage `name`, whose files replace those of a directory of this machine.
pub(super) fn into_dir(
    workspace: &Workspace,
    builder: Builder,
    mut target: Value,
    name: &str,
    dir: &Utf8Path,
) -> Result<()> {
    target["target"] = json!(name);
    target["output"] = json!([format!("type=local,dest={dir}")]);
    bake(workspace, builder, Map::from_iter([(name.to_owned(), target)]), false, |_, _| {}).map(drop)
}

/// The begin of a file of [`into_dir`], at most [`LIMIT`] bytes.
pub(super) fn output(dir: &Utf8Path, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(dir.join(name))?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tells once which targets are built for another architecture than this machine's.
fn tell_emulation(targets: &Map<String, Value>) {
    let platform = |target: &Value| Platform::parse(target["platforms"][0].as_str()?).ok();
    let foreign: BTreeSet<String> = targets
        .values()
        .filter_map(platform)
        .filter(|platform| !platform.is_native())
        .map(|platform| platform.to_string())
        .collect();
    if !foreign.is_empty() {
        let foreign = foreign.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!(
            "building for {foreign} by emulation, which is about ten times slower than building for this machine"
        );
        static TOLD: Once = Once::new();
        TOLD.call_once(|| ui::step("build", &text));
    }
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
    let mut definition =
        json!({ "group": { "default": { "targets": names } }, "target": siblings::hoist(targets) });
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
        // buildx would ask git six times for each image, for a record that nobody reads.
        .env("BUILDX_GIT_INFO", "0")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Store;

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
