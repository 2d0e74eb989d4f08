//! Images that xtask itself needs: the robots' registry and the simulated robot.
//!
//! Their build contexts are part of this program. Like bases, they are built once, tagged with a hash of their
//! inputs and kept.

use anyhow::Context as _;

use super::{Builder, base, content_tag, ensure_cached, exists, progress};
use crate::cmd;
use crate::config::Platform;
use crate::error::Result;
use crate::host;
use crate::process::Cmd;
use crate::ui;

/// Debian release of both images.
const SUITE: &str = "trixie";

/// Packages of the registry image, besides their dependencies: the registry, and Python modules for zstd and
/// for the registry's password hashes.
const REGISTRY_PACKAGES: [&str; 3] = ["docker-registry", "python3-bcrypt", "python3-zstandard"];

/// Increased when a change of the build commands changes the content of the images.
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

/// Builds the registry image for a platform if it is missing, and returns its name.
///
/// The build does not run programs of the image, so another platform needs no emulation. The Python of a
/// plain Debian for this machine's platform compiles the Python modules.
pub fn registry(builder: Builder, platform: &Platform) -> Result<String> {
    let arch = base::debian::architecture(platform)?;
    let tag = format!("xtask-registry:{arch}-{}", hash(REGISTRY));
    if exists(&tag)? {
        return Ok(tag);
    }
    let base = base::debian::ensure(SUITE, &Platform::of_this_machine())?;
    ensure_cached(&tag, || {
        ui::step("registry", &format!("building the robots' registry image for {platform} (once)"));
        let packages = format!("xtask-registry-packages:{arch}");
        let extract = Cmd::new("mmdebstrap")
            .args(["--quiet", "--variant=extract", &format!("--architectures={arch}")])
            .arg(format!("--include={}", REGISTRY_PACKAGES.join(",")))
            .args([SUITE, "-"])
            .args(host::debian_mirror()?);
        let platform_name = platform.to_string();
        cmd!("docker import --platform {platform_name} - {packages}")?.feed(&extract)?;
        let contexts = [("packages", &packages), ("base", &base)];
        let result = build(platform, &contexts, &builder.compressed_output(&tag), REGISTRY)?.run();
        cmd!("docker image rm {packages}")?.clean_up();
        result
    })?;
    Ok(tag)
}

/// Name of the image of simulated robots.
pub fn simulated_robot_name() -> String {
    format!("xtask-sim:{}", hash(SIMULATED_ROBOT))
}

/// Builds the image of simulated robots if it is missing, and returns its name.
pub fn simulated_robot(builder: Builder) -> Result<String> {
    let tag = simulated_robot_name();
    if exists(&tag)? {
        return Ok(tag);
    }
    let platform = Platform::of_this_machine();
    let base = base::debian::ensure(SUITE, &platform)?;
    ensure_cached(&tag, || {
        ui::step("sim", "building the image of simulated robots (once)");
        // The image stays on this machine, so its size does not matter.
        build(&platform, &[("base", &base)], &builder.output(&tag), SIMULATED_ROBOT)?
            .show_through("sim", || progress::condense(progress::Watch::default(), |_, _| {}))
            .run()
    })?;
    Ok(tag)
}

/// `docker buildx build` by the engine's own BuildKit, which can use the engine's images as named `contexts`;
/// no tunnel is involved.
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
