//! Bases of images: bootstrapped from the Debian archive, or a pinned image.
//!
//! A bootstrapped base is built once, tagged with a hash of its inputs and kept: a second bootstrap gives
//! other bytes, and a changed base would have to be sent to every robot again.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Builder, content_tag, ensure_cached};
use crate::cmd;
use crate::config::{BaseSource, Platform, Workspace};
use crate::error::{Failure, Result};
use crate::host;
use crate::process::{self, Cmd};
use crate::ui;

/// Repository of bootstrapped bases in this machine's image store.
const REPOSITORY: &str = "xtask-base";

/// Packages of a base besides Debian's essential ones: the stages on top of it need them.
const PACKAGES: [&str; 2] = ["ca-certificates", "python3"];

/// Increased when a change of the bootstrap command changes the content of a base.
const RECIPE: &str = "1";

/// Bootstraps a base if it is missing, and returns its named context for BuildKit.
pub fn ensure(
    workspace: &Workspace,
    builder: Builder,
    source: &BaseSource,
    platform: &Platform,
) -> Result<String> {
    let suite = match source {
        BaseSource::Image { reference } => return Ok(format!("docker-image://{reference}")),
        BaseSource::Debian { suite } => suite,
    };
    let tag = ensure_debian(suite, platform)?;
    match builder {
        Builder::Engine { .. } => Ok(format!("docker-image://{tag}")),
        Builder::Container => as_layout(&workspace.state_dir().join("bases"), &tag),
    }
}

/// Bootstraps the base of a Debian suite if it is missing, and returns its name in this machine's image
/// store.
pub fn ensure_debian(suite: &str, platform: &Platform) -> Result<String> {
    let arch = debian_architecture(platform)?;
    let tag = name(suite, &arch);
    ensure_cached(&tag, || {
        ui::step("base", &format!("bootstrapping Debian {suite} for {platform} (once)"));
        let platform = platform.to_string();
        // An incomplete system imports without an error: it gets its final tag after a successful bootstrap.
        let unfinished = format!("{tag}-unfinished");
        let result = cmd!("docker import --platform {platform} - {unfinished}")?
            .feed(&bootstrap(suite, &arch, host::debian_mirror()?))
            .and_then(|_bytes| cmd!("docker tag {unfinished} {tag}")?.run());
        cmd!("docker image rm {unfinished}")?.clean_up();
        result
    })?;
    Ok(tag)
}

/// Tag with suite, architecture and a hash of all inputs.
fn name(suite: &str, arch: &str) -> String {
    let inputs = [RECIPE, suite, arch].into_iter().chain(PACKAGES);
    format!("{REPOSITORY}:{suite}-{arch}-{}", content_tag(inputs))
}

/// mmdebstrap(1) that writes a tarball to stdout. Without a mirror it uses its default.
fn bootstrap(suite: &str, arch: &str, mirror: Option<String>) -> Cmd {
    Cmd::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", &format!("--architectures={arch}")])
        .arg(format!("--include={}", PACKAGES.join(",")))
        // Emulation of the platform has been checked before; mmdebstrap's own check needs the package
        // `arch-test`.
        .arg("--skip=check/qemu")
        // Robots do not need manuals in forty languages.
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        ])
        .args(["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"])
        .args([suite, "-"])
        .args(mirror)
}

/// Debian's name for the architecture of a platform.
pub fn debian_architecture(platform: &Platform) -> Result<String> {
    match (platform.arch.as_str(), platform.variant.as_deref()) {
        ("amd64" | "arm64" | "ppc64el" | "riscv64" | "s390x", _) => Ok(platform.arch.clone()),
        ("arm", Some("v7") | None) => Ok("armhf".to_owned()),
        ("386", _) => Ok("i386".to_owned()),
        _ => Err(Failure::config(format!("Debian does not support the platform {platform}"))
            .hint("use a base with `image = \"NAME@sha256:…\"` in robots.toml")
            .into()),
    }
}

/// Writes a base as an OCI layout for the `docker-container` builder, which cannot read the engine's images.
fn as_layout(dir: &Utf8Path, tag: &str) -> Result<String> {
    let layout = dir.join(tag.replace(':', "-"));
    if !layout.is_dir() {
        // Renamed when complete: an interrupted copy must not be used as a layout.
        let unfinished = Utf8PathBuf::from(format!("{layout}.unfinished"));
        process::create_dir(&unfinished)?;
        cmd!("tar -xf - -C {unfinished}")?.feed(&cmd!("docker save {tag}")?)?;
        cmd!("mv {unfinished} {layout}")?.run()?;
    }
    Ok(format!("oci-layout://{layout}:{}", tag.rsplit(':').next().unwrap_or("latest")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_named_by_its_inputs() {
        let tag = name("trixie", "amd64");
        assert!(tag.starts_with("xtask-base:trixie-amd64-"), "{tag}");
        assert_ne!(tag, name("trixie", "arm64"));
        assert_ne!(tag, name("bookworm", "amd64"));
        assert_eq!(tag, name("trixie", "amd64"));
    }

    #[test]
    fn debian_has_its_own_names_for_architectures() -> Result<()> {
        let arch = |machine| debian_architecture(&Platform::from_machine(machine));
        assert_eq!([arch("x86_64")?, arch("aarch64")?, arch("armv7l")?], ["amd64", "arm64", "armhf"]);
        arch("vax").unwrap_err();
        Ok(())
    }

    #[test]
    fn bootstrapping_writes_a_tarball_to_stdout() {
        let line = bootstrap("trixie", "amd64", Some("http://mirror.example/debian".into())).to_string();
        assert!(line.contains("--include=ca-certificates,python3"), "{line}");
        assert!(line.ends_with("trixie - http://mirror.example/debian"), "{line}");
    }
}
