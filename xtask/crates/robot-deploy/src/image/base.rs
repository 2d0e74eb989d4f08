//! What images are built on: bootstrapped from the Debian archive, or a pinned image.
//!
//! A bootstrapped base is made once, named by its inputs and kept: packages never install the same way
//! twice, and a base that changed would travel to every robot again.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Builder, content_tag, ensure_kept};
use crate::cmd;
use crate::config::{BaseSource, Platform, Workspace};
use crate::error::{Failure, Result};
use crate::host;
use crate::process::Cmd;
use crate::ui;

/// The repository of bootstrapped bases in this machine's image store.
const REPOSITORY: &str = "xtask-base";

/// What a base has besides Debian's essential packages: what the stages built on it take for granted.
const PACKAGES: [&str; 2] = ["ca-certificates", "python3"];

/// Raised when the way a base is made changes what is in it.
const RECIPE: &str = "1";

/// Sees to it that a base exists, and gives the named context that leads BuildKit to it.
///
/// # Errors
/// Fails when the base cannot be bootstrapped.
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

/// Sees to it that the base of a Debian suite exists, and gives its name in this machine's image store.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_debian(suite: &str, platform: &Platform) -> Result<String> {
    let arch = debian_architecture(platform)?;
    let tag = name(suite, &arch);
    ensure_kept(&tag, || {
        ui::step("base", &format!("bootstrapping Debian {suite} for {platform}, once"));
        let platform = platform.to_string();
        // Half a system imports as well as a whole one: it gets its name when bootstrapping has succeeded.
        let unfinished = format!("{tag}-unfinished");
        let result = cmd!("docker import --platform {platform} - {unfinished}")?
            .feed(&bootstrap(suite, &arch, host::debian_mirror()?))
            .and_then(|_bytes| cmd!("docker tag {unfinished} {tag}")?.run());
        cmd!("docker image rm {unfinished}")?.clean_up();
        result
    })?;
    Ok(tag)
}

/// A tag that says what is inside, with a hash of all that makes the base what it is.
fn name(suite: &str, arch: &str) -> String {
    let inputs = [RECIPE, suite, arch].into_iter().chain(PACKAGES);
    format!("{REPOSITORY}:{suite}-{arch}-{}", content_tag(inputs))
}

/// mmdebstrap(1), writing a tarball to stdout. Without a mirror it uses those of its own choice.
fn bootstrap(suite: &str, arch: &str, mirror: Option<String>) -> Cmd {
    Cmd::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", &format!("--architectures={arch}")])
        .arg(format!("--include={}", PACKAGES.join(",")))
        // That the machine runs programs of another platform has been looked at; mmdebstrap would ask for
        // one more package, `arch-test`, to find out.
        .arg("--skip=check/qemu")
        // Robots have no use for manuals in forty languages.
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        ])
        .args(["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"])
        .args([suite, "-"])
        .args(mirror)
}

/// What Debian calls the architecture of a platform.
///
/// # Errors
/// Fails for platforms that Debian is not built for.
pub fn debian_architecture(platform: &Platform) -> Result<String> {
    match (platform.arch.as_str(), platform.variant.as_deref()) {
        ("amd64" | "arm64" | "ppc64el" | "riscv64" | "s390x", _) => Ok(platform.arch.clone()),
        ("arm", Some("v7") | None) => Ok("armhf".to_owned()),
        ("386", _) => Ok("i386".to_owned()),
        _ => Err(Failure::config(format!("Debian is not built for {platform}"))
            .hint("use a base with `image = \"NAME@sha256:…\"` in robots.toml")
            .into()),
    }
}

/// A builder of our own does not see the engine's images: give it the base as an OCI layout.
fn as_layout(dir: &Utf8Path, tag: &str) -> Result<String> {
    let layout = dir.join(tag.replace(':', "-"));
    if !layout.is_dir() {
        // Under another name until it is whole: an interrupted copy must not pass for a layout.
        let unfinished = Utf8PathBuf::from(format!("{layout}.unfinished"));
        cmd!("mkdir -p {unfinished}")?.run()?;
        let _bytes = cmd!("tar -xf - -C {unfinished}")?.feed(&cmd!("docker save {tag}")?)?;
        cmd!("mv {unfinished} {layout}")?.run()?;
    }
    Ok(format!("oci-layout://{layout}:{}", tag.rsplit(':').next().unwrap_or("latest")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_named_by_what_it_is() {
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
