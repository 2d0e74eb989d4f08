//! Changes that arrive on a robot, and things that stay unchanged.

use std::net::TcpListener;

use super::harness::{Engine, Lab, MAIN, ODOMETRY, PROJECT};

pub fn without_start_images_arrive_and_containers_stay(lab: &Lab) {
    let workspace = lab.deployed();
    let services = MAIN.services();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # later");
    workspace.xtask(&["deploy", "--robot", "main", "--no-start", "--yes"]).expect_exit(0);
    MAIN.assert_has_built("localization");
    assert_eq!(MAIN.services(), services);
    lab.deploy(MAIN).says("all 4 images were already there");
    assert_ne!(MAIN.services()["localization"], services["localization"]);
}

pub fn a_taken_port_is_stepped_over(lab: &Lab) {
    let workspace = lab.deployed();
    // The test also works if another program already has the port.
    let _taken = TcpListener::bind("127.0.0.1:5000").ok();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # next port");
    lab.deploy(MAIN);
    MAIN.assert_has_built("localization");
    assert_eq!(Engine::temporary_tags(&PROJECT), [""; 0]);
}
