//! The images that the tool itself needs: the robots' registry and the simulated robot.
//!
//! Like bases they are made once, named by their inputs and kept.

use camino::Utf8Path;

use super::{Builder, base, content_tag, ensure_kept, exists, progress};
use crate::cmd;
use crate::config::{Platform, Workspace};
use crate::error::Result;
use crate::host;
use crate::process::Cmd;
use crate::ui;

/// The Debian release that both are made of.
const SUITE: &str = "trixie";

/// What the robots' registry image is taken from, with what these depend on: the registry, and a Python
/// that reads and writes zstd, and passwords as the registry has them.
const REGISTRY_PACKAGES: [&str; 3] = ["docker-registry", "python3-bcrypt", "python3-zstandard"];

/// Raised when the way they are made changes what is in them.
const RECIPE: &str = "1";

/// Sees to it that the registry's image for a platform exists, and gives its name.
///
/// Nothing in it is executed while it is made, so no emulation is needed for another platform. Python's
/// modules are compiled for it by this machine's own Python, that of a bare Debian.
///
/// # Errors
/// Fails when the Debian archive cannot be reached or BuildKit fails.
pub fn registry(workspace: &Workspace, builder: Builder, platform: &Platform) -> Result<String> {
    let arch = base::debian_architecture(platform)?;
    let dir = workspace.root.join("docker/registry");
    let tag = format!("xtask-registry:{arch}-{}", hash(&dir)?);
    if exists(&tag)? {
        return Ok(tag);
    }
    let base = base::ensure_debian(SUITE, &Platform::of_this_machine())?;
    ensure_kept(&tag, || {
        ui::step("registry", &format!("making the robots' registry for {platform}, once"));
        let packages = format!("xtask-registry-packages:{arch}");
        let extract = Cmd::new("mmdebstrap")
            .args(["--quiet", "--variant=extract", &format!("--architectures={arch}")])
            .arg(format!("--include={}", REGISTRY_PACKAGES.join(",")))
            .args([SUITE, "-"])
            .args(host::debian_mirror()?);
        let platform_name = platform.to_string();
        let _bytes = cmd!("docker import --platform {platform_name} - {packages}")?.feed(&extract)?;
        let contexts = [("packages", &packages), ("base", &base)];
        let result = build(platform, &contexts, &builder.kept_output(&tag), &dir).run();
        cmd!("docker image rm {packages}")?.clean_up();
        result
    })?;
    Ok(tag)
}

/// Sees to it that the image of simulated robots exists, and gives its name.
///
/// # Errors
/// As [`registry`].
pub fn simulated_robot(workspace: &Workspace, builder: Builder) -> Result<String> {
    let dir = workspace.root.join("docker/sim");
    let tag = format!("xtask-sim:{}", hash(&dir)?);
    if exists(&tag)? {
        return Ok(tag);
    }
    let platform = Platform::of_this_machine();
    let base = base::ensure_debian(SUITE, &platform)?;
    ensure_kept(&tag, || {
        ui::step("sim", "making the image of simulated robots, once");
        // It stays on this machine: no effort is made for its size.
        build(&platform, &[("base", &base)], &builder.output(&tag), &dir)
            .show_through("sim", || progress::condense(|_, _| {}))
            .run()
    })?;
    Ok(tag)
}

/// The engine's own BuildKit builds them: no tunnel is involved, and it knows the engine's images, which
/// are the named `contexts`.
fn build(platform: &Platform, contexts: &[(&str, &String)], output: &str, dir: &Utf8Path) -> Cmd {
    let context = |(name, image): &(&str, &String)| format!("--build-context={name}=docker-image://{image}");
    Cmd::new("docker")
        .args([
            "buildx",
            "build",
            "--builder=default",
            "--progress=plain",
            "--provenance=false",
            "--sbom=false",
        ])
        .args(["--platform", &platform.to_string()])
        .args(contexts.iter().map(context))
        .args(["--output", output, dir.as_str()])
}

/// A hash over the files that an image is made of.
fn hash(dir: &Utf8Path) -> Result<String> {
    let mut files: Vec<(String, String)> = Vec::new();
    for entry in dir.read_dir_utf8()? {
        let entry = entry?;
        files.push((entry.file_name().to_owned(), fs_err::read_to_string(entry.path())?));
    }
    files.sort();
    let parts = files.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]);
    Ok(content_tag([RECIPE, SUITE].into_iter().chain(parts)))
}
