//! Builds that install copied files again without colcon: docker/ros/reinstall.

use super::harness::{Lab, PROJECT, output};

pub fn what_is_installed_again_equals_a_build_from_nothing(lab: &Lab) {
    lab.workspace.reset();
    lab.workspace.xtask(&["dev-shell", "--yes", "--", "true"]).expect_exit(0);
    let seed = std::process::id().to_string();
    let shapes = include_str!("reinstall/shapes.py");
    let tools = format!("{PROJECT}:ros-tools");
    let run = ["docker", "run", "--rm", "--user=root", "--entrypoint=python3", &tools, "-c", shapes, &seed];
    let built = output(&run);
    assert!(built.ends_with("without colcon: 6"), "seed {seed}:\n{built}");
}
