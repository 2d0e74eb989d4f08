//! Images that the tool itself needs: the robots' registry and the simulated robot.
//!
//! Their build contexts are part of this program. Like bases, they are built once, named by their inputs, and kept.

use anyhow::Context as _;

use super::{Builder, base, content_tag, ensure_kept, exists, progress};
use crate::cmd;
use crate::config::Platform;
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

/// A build context: names and contents of its files.
type Context = [(&'static str, &'static str)];

const REGISTRY: &Context = &[
    ("Dockerfile", include_str!("../../images/registry/Dockerfile")),
    ("config.yml", include_str!("../../images/registry/config.yml")),
    ("start.py", include_str!("../../images/registry/start.py")),
];

const SIMULATED_ROBOT: &Context = &[
    ("Dockerfile", include_str!("../../images/sim/Dockerfile")),
    ("entrypoint", include_str!("../../images/sim/entrypoint")),
    ("robotctl", include_str!("../../images/sim/robotctl")),
    ("shape-link", include_str!("../../images/sim/shape-link")),
    ("sshd_config", include_str!("../../images/sim/sshd_config")),
];

/// Sees to it that the registry's image for a platform exists, and gives its name.
///
/// Nothing in it is executed while it is made, so no emulation is needed for another platform. Python's
/// modules are compiled for it by this machine's own Python, that of a bare Debian.
///
/// # Errors
/// Fails when the Debian archive cannot be reached or BuildKit fails.
pub fn registry(builder: Builder, platform: &Platform) -> Result<String> {
    let arch = base::debian_architecture(platform)?;
    let tag = format!("xtask-registry:{arch}-{}", hash(REGISTRY));
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
        let result = build(platform, &contexts, &builder.kept_output(&tag), REGISTRY)?.run();
        cmd!("docker image rm {packages}")?.clean_up();
        result
    })?;
    Ok(tag)
}

/// Sees to it that the image of simulated robots exists, and gives its name.
///
/// # Errors
/// As [`registry`].
pub fn simulated_robot(builder: Builder) -> Result<String> {
    let tag = format!("xtask-sim:{}", hash(SIMULATED_ROBOT));
    if exists(&tag)? {
        return Ok(tag);
    }
    let platform = Platform::of_this_machine();
    let base = base::ensure_debian(SUITE, &platform)?;
    ensure_kept(&tag, || {
        ui::step("sim", "making the image of simulated robots, once");
        // It stays on this machine: no effort is made for its size.
        build(&platform, &[("base", &base)], &builder.output(&tag), SIMULATED_ROBOT)?
            .show_through("sim", || progress::condense(|_, _| {}))
            .run()
    })?;
    Ok(tag)
}

/// The engine's own BuildKit builds them: no tunnel is involved, and it knows the engine's images, which
/// are the named `contexts`.
fn build(platform: &Platform, contexts: &[(&str, &String)], output: &str, files: &Context) -> Result<Cmd> {
    let context = |(name, image): &(&str, &String)| format!("--build-context={name}=docker-image://{image}");
    let command = Cmd::new("docker")
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
        .args(["--output", output, "-"]);
    Ok(command.stdin_from("context.tar", archive(files)?))
}

/// Returns a build context as the tar archive that `docker buildx build -` reads.
fn archive(files: &Context) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(if text.starts_with("#!") { 0o755 } else { 0o644 });
        archive.append_data(&mut header, name, text.as_bytes()).context("pack a build context")?;
    }
    archive.into_inner().context("pack a build context")
}

/// Returns the part of a tag that follows from a build context.
fn hash(files: &Context) -> String {
    let parts = files.iter().flat_map(|(name, text)| [*name, *text]);
    content_tag([RECIPE, SUITE].into_iter().chain(parts))
}
