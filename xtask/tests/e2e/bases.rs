//! Special bases: for robots of another architecture than this machine's, and a base that fails to build.

use super::harness::{Engine, Lab, PROJECT, emulation, output, small_workspace, succeeds};

pub fn an_arm64_image_is_built_under_emulation(_lab: &Lab) {
    emulation::ended();
    let workspace = small_workspace(&PROJECT);
    workspace.xtask(&["setup", "--emulation", "--yes"]).expect_exit(0);
    let built = workspace.xtask(&["build-images", "--robot", "pi", "--yes"]).expect_exit(0);
    built.says("building for linux/arm64 by emulation").says("linux/arm64");

    let image = format!("{PROJECT}:hello-linux-arm64");
    assert_eq!(output(&["docker", "image", "inspect", "--format", "{{.Architecture}}", &image]), "arm64");
    let container = output(&["docker", "create", "--platform", "linux/arm64", &image, "true"]);
    let to = workspace.path("../shipped");
    let copied = succeeds(&["docker", "cp", &format!("{container}:/opt/hello"), to]);
    output(&["docker", "rm", &container]);
    assert!(copied, "the package's files are in the image");
    assert_eq!(workspace.read("../shipped/machine"), "aarch64\n");
    // elf(5): e_machine is at 18; 183 is EM_AARCH64.
    let machine = output(&[
        "od",
        "--address-radix=n",
        "--format=u2",
        "--skip-bytes=18",
        "--read-bytes=2",
        &format!("{to}/true"),
    ]);
    assert_eq!(machine.trim(), "183");
}

pub fn a_base_that_could_not_be_made_is_not_kept(_lab: &Lab) {
    let workspace = small_workspace(&PROJECT);
    // A Debian release that no other test uses for a base.
    workspace.edit("robots.toml", "\"trixie\"", "\"forky\"");
    let fake = workspace.path("../bin/mmdebstrap");
    workspace.write("../bin/mmdebstrap", "#!/bin/sh\necho 'E: the network is gone' >&2\nexit 1\n");
    output(&["chmod", "755", fake]);
    let path = format!("{}:{}", fake.trim_end_matches("/mmdebstrap"), std::env::var("PATH").unwrap());
    let build = || workspace.start_with(&[("PATH", &path)], &["build-images", "--yes"]).wait();
    for _ in 0..2 {
        build().expect_exit(1).says("the network is gone");
    }
    let bases = Engine::ids("xtask-base");
    assert!(bases.keys().all(|tag| !tag.starts_with("forky")), "{bases:?}");
}
