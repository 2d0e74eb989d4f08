//! A base that is laid out like the official ROS images, see `official/Dockerfile`.

use robot_deploy::config::Platform;
use robot_deploy::image::{base, secrets};

use super::Engine;
use super::shell::output;
use super::workspace::REPOSITORY;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/official");

/// The image's name in this machine's store.
const NAME: &str = "xtask-e2e-official-ros:jazzy";

/// Builds the base, of which BuildKit's cache has most after the first time, and returns its name.
pub fn official_base() -> &'static str {
    let debian = base::debian::ensure("trixie", &Platform::of_this_machine()).unwrap();
    let debian = format!("--build-context=base=docker-image://{debian}");
    let ros = format!("--build-context=ros={REPOSITORY}/docker/ros");
    let secrets = secrets::of_this_machine();
    let secrets = secrets.iter().flat_map(|secret| ["--secret", secret.as_str()]);
    let build = ["docker", "buildx", "build", "--builder=default", "--quiet", "--provenance=false"];
    let build = build.into_iter().chain(secrets).chain([&*debian, &*ros, "--tag", NAME, FILES]);
    output(&build.collect::<Vec<_>>());
    NAME
}

/// Removes the tags under which `xtask` has kept the base.
pub fn forget_official_base() {
    let id = Engine::id(NAME);
    for (tag, _) in Engine::ids("xtask-base").iter().filter(|(_, known)| **known == id) {
        output(&["docker", "image", "rm", &format!("xtask-base:{tag}")]);
    }
}
