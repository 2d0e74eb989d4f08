//! Bases that are bootstrapped from the Debian archive.
//!
//! A base is built once, tagged with a hash of its inputs and kept: a second bootstrap gives other bytes, and a
//! changed base would have to be sent to every robot again.

use super::REPOSITORY;
use crate::cmd;
use crate::config::Platform;
use crate::error::{Failure, Result};
use crate::host;
use crate::image::{content_tag, ensure_cached};
use crate::process::Cmd;
use crate::ui;

/// Packages of a base besides Debian's essential ones: the stages on top of it need them.
const PACKAGES: [&str; 2] = ["ca-certificates", "python3"];

/// Increased when a change of the bootstrap command changes the content of a base.
const RECIPE: &str = "1";

/// Bootstraps the base of a Debian suite if it is missing, and returns its name in this machine's image
/// store.
pub fn ensure(suite: &str, platform: &Platform) -> Result<String> {
    let arch = architecture(platform)?;
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

/// Tag of the base of a Debian suite.
pub(super) fn tag(suite: &str, platform: &Platform) -> Result<String> {
    Ok(name(suite, &architecture(platform)?))
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
pub(in crate::image) fn architecture(platform: &Platform) -> Result<String> {
    match (platform.arch.as_str(), platform.variant.as_deref()) {
        ("amd64" | "arm64" | "ppc64el" | "riscv64" | "s390x", _) => Ok(platform.arch.clone()),
        ("arm", Some("v7") | None) => Ok("armhf".to_owned()),
        ("386", _) => Ok("i386".to_owned()),
        _ => Err(Failure::config(format!("Debian does not support the platform {platform}"))
            .hint("use a base with `image = …` in robots.toml")
            .into()),
    }
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
        let arch = |machine| architecture(&Platform::from_machine(machine));
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
