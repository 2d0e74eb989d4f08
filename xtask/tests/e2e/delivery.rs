//! What arrives on a robot, and what is left alone.

use super::harness::{Lab, MAIN};

pub fn without_start_images_arrive_and_containers_stay(lab: &Lab) {
    let workspace = lab.deployed();
    let services = MAIN.services();
    let file = "ros_ws/src/localization/localization/odometry.py";
    workspace.edit(file, "    half = turn / 2", "    half = turn / 2  # later");
    workspace.xtask(&["deploy", "--robot", "main", "--no-start", "--yes"]).expect_exit(0);
    MAIN.assert_has_built("localization");
    assert_eq!(MAIN.services(), services);
    lab.deploy(MAIN).says("nothing sent");
    assert_ne!(MAIN.services()["localization"], services["localization"]);
}
