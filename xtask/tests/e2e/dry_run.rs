//! `--dry-run`, and other commands that only ask or print.

use super::harness::{Engine, Lab, MAIN, PROJECT, output};

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
        .says("creating simulated robots that accept this key");

    assert_eq!(Engine::simulation(&PROJECT), [""; 0], "robots were made");
    assert!(Engine::ids(&PROJECT).is_empty(), "images were made");
    assert_eq!(workspace.git(&["status", "--porcelain"]), "", "files were written");
    // The whole output is a shell script.
    workspace.write("../pasted.sh", &shown.stdout);
    output(&["sh", "-n", workspace.path("../pasted.sh")]);
}

pub fn robots_are_asked_and_not_changed(lab: &Lab) {
    let workspace = lab.deployed();
    crate::releases::edit(workspace);
    lab.deploy(MAIN);
    let state = || {
        let files = MAIN.sh("cd /home/robot/.deploy && find . -type f -exec sha256sum {} + | sort");
        (files, MAIN.services(), MAIN.sh("docker image ls --no-trunc --quiet | sort -u"))
    };
    // The robot notices the end of a deploy a moment later.
    MAIN.wait_until_unlocked();
    let before = state();
    let dry = |args: &[&str]| workspace.xtask(&[args, &["--robot", "main", "--dry-run"]].concat());
    dry(&["deploy"])
        .expect_exit(0)
        .says("# main: all 4 images are already on the robot")
        .says("# main: no service would be restarted")
        .never_says("buildx bake");
    dry(&["rollback"]).expect_exit(0).says("activating release ").says("what follows depends on the outcome");
    dry(&["rollback", "--to", "9999"]).expect_exit(1).says("has no release 9999");
    dry(&["prune"]).expect_exit(0).says("taking the deploy lock");
    dry(&["stop", "navigation"]).expect_exit(0).says("stop -- navigation");
    dry(&["stop", "nothing"]).expect_exit(2).says("has no service `nothing`");
    dry(&["env"]).expect_exit(0).says("the services already have these values");
    dry(&["setup-robot"]).expect_exit(0).never_says("ready for");
    dry(&["pull-data", "/etc/hostname"]).expect_exit(0).says("copying `/etc/hostname`");
    assert!(!camino::Utf8Path::new(workspace.path("data")).exists());
    crate::releases::edit(workspace);
    dry(&["deploy"])
        .expect_exit(0)
        .says("docker buildx bake")
        .says("sending the layers that the registry of `main` lacks");
    assert_eq!(state(), before);
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
