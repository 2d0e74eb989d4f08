//! `--dry-run`, and other commands that only print.

use super::harness::{Engine, Lab, PROJECT, output};

pub fn nothing_is_touched_and_commands_can_be_pasted(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&["sim", "down"]).expect_exit(0);
    Engine::remove_images(&PROJECT);
    let shown = workspace
        .start(&["deploy", "--all", "--dry-run", "--yes"])
        .wait_for_all()
        .expect_exit(0)
        .says("docker buildx bake")
        .says(&format!("docker push 127.0.0.1:5000/{PROJECT}:navigation"));

    assert_eq!(Engine::simulation(&PROJECT), [""; 0], "robots were made");
    assert!(Engine::ids(&PROJECT).is_empty(), "images were made");
    assert_eq!(workspace.git(&["status", "--porcelain"]), "", "files were written");
    // The whole output is a shell script.
    workspace.write("../pasted.sh", &shown.stdout);
    output(&["sh", "-n", workspace.path("../pasted.sh")]);
}

pub fn the_dockerfile_is_printed_and_nothing_is_built(lab: &Lab) {
    lab.workspace.reset();
    let before = Engine::ids(&PROJECT);
    let printed = lab.workspace.xtask(&["build-images", "--print-dockerfile"]).expect_exit(0).stdout;
    for line in
        ["FROM base AS apt", "FROM build-tools AS build-navigation", "FROM runtime AS image-navigation"]
    {
        assert!(printed.lines().any(|printed| printed == line), "{line}");
    }
    assert_eq!(Engine::ids(&PROJECT), before);
}
