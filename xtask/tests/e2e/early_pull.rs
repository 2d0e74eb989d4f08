//! Layers that a robot unpacks while the others are still being sent.

use super::harness::{Lab, MAIN, MAP, PROJECT, Running, eventually, incompressible};

/// Directory of the robot's registry.
const BLOBS: &str = "/var/lib/docker/volumes/xtask-registry/_data";

/// A deploy to an empty robot that has unpacked a part of the image; from there on the link is slow.
fn half_unpacked(lab: &Lab) -> Running {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&["sim", "down", "main"]).expect_exit(0);
    // The lower one of the two layers.
    workspace.write("ros_ws/src/bringup/large", incompressible(16_000_000));
    workspace.write(MAP, incompressible(12_000_000));
    workspace.xtask(&["build-images", "--yes"]).expect_exit(0);
    workspace.xtask(&["setup-robot", "--robot", "main"]).expect_exit(0);
    shape("30mbit");
    let mut run = workspace.start(&["deploy", "--robot", "main", "--yes"]);
    let large = ["find", BLOBS, "-name", "data", "-size", "+10M"];
    run.until("a large layer to arrive", |_| (!MAIN.exec(&large).is_empty()).then_some(()));
    shape("5mbit");
    run.until("layers to be unpacked", |_| (nameless_images() > 0).then_some(()));
    assert!(run.stderr().lines().all(|line| !line.contains("pushed")), "others are on their way");
    assert!(MAIN.services().is_empty());
    run
}

/// Sets the rate of the robot's link.
fn shape(rate: &str) {
    MAIN.exec(&["shape-link", rate]);
}

/// Number of the project's images on the robot without a name. Complete images have a name.
fn nameless_images() -> usize {
    let list = ["docker", "image", "ls", "--digests", "--format", "{{.Repository}} {{.Tag}}"];
    let nameless = format!("127.0.0.1:5000/{PROJECT} <none>");
    MAIN.exec(&list).lines().filter(|image| **image == nameless).count()
}

pub fn layers_are_unpacked_while_others_are_on_their_way(lab: &Lab) {
    let run = half_unpacked(lab);
    shape("off");
    run.wait_for_all().expect_exit(0);
    // A robot that is still pulling one removes it without being waited for.
    eventually("the robot to remove what it has unpacked", || (nameless_images() == 0).then_some(()));
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
}

pub fn a_killed_run_leaves_nothing_of_them(lab: &Lab) {
    let run = half_unpacked(lab);
    run.signal("KILL");
    run.wait_for_all();
    eventually("the robot to remove what it has unpacked", || (nameless_images() == 0).then_some(()));
    lab.workspace.forget_temporary_files();
    shape("off");
}
