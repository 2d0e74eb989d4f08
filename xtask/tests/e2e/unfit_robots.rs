//! Robots that can be reached but not deployed to.

use super::harness::{Lab, MAIN};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

pub fn a_stopped_engine_is_named(lab: &Lab) {
    let workspace = lab.deployed();
    MAIN.exec(&["robotctl", "docker", "stop"]);
    workspace
        .xtask(&DEPLOY)
        .expect_exit(1)
        .says("Docker on `main` does not run")
        .says("systemctl start docker");
    MAIN.exec(&["robotctl", "docker", "start"]);
    MAIN.wait_for_services(4);
    lab.deploy(MAIN);
}

pub fn a_user_without_the_right_to_docker_is_told(lab: &Lab) {
    let workspace = lab.deployed();
    let services = MAIN.services();
    MAIN.exec(&["gpasswd", "--delete", "robot", "docker"]);
    let refused = workspace.xtask(&DEPLOY);
    MAIN.exec(&["gpasswd", "--add", "robot", "docker"]);
    refused.expect_exit(1).says("may not use Docker on `main`").says("usermod -aG docker");
    assert_eq!(MAIN.services(), services);
}
