//! Images as archives: the robot has only Docker.

use std::collections::BTreeMap;

use super::harness::{
    Container, Engine, Lab, MAIN, MAP, ODOMETRY, PROJECT, Robot, SECONDARY, incompressible, kill,
};

const BY_ARCHIVE: [&str; 6] = ["deploy", "--robot", "main,secondary", "--via", "archive", "--yes"];

fn fresh(lab: &Lab) {
    lab.workspace.reset();
    lab.workspace.xtask(&["sim", "down"]).expect_exit(0);
    lab.workspace.xtask(&["sim", "up"]).expect_exit(0);
}

/// Fails unless the containers run the images that this machine built, whatever ids the robot's engine uses.
#[track_caller]
fn assert_runs_what_was_built(robot: Robot) -> BTreeMap<String, Container> {
    let services = robot.services();
    assert_eq!(services.len(), 4);
    for (service, container) in &services {
        let built = Engine::layers(&format!("{PROJECT}:{service}"));
        assert_eq!(robot.layers(service), built, "{service}");
        assert_eq!(robot.inspect(service, "{{.Id}}"), container.image);
    }
    services
}

pub fn both_image_stores_load_it_without_a_registry(lab: &Lab) {
    fresh(lab);
    lab.workspace.xtask(&BY_ARCHIVE).expect_exit(0);
    let before = [MAIN, SECONDARY].map(assert_runs_what_was_built);
    for robot in [MAIN, SECONDARY] {
        assert_eq!(robot.listeners(5000), [""; 0]);
        assert!(!robot.can(&["docker", "container", "inspect", "xtask-registry"]));
        for (service, container) in robot.services() {
            let name = format!("{PROJECT}:{service}-");
            assert!(container.reference.starts_with(&name), "{}", container.reference);
        }
    }
    lab.workspace.xtask(&BY_ARCHIVE).expect_exit(0).says("nothing changed; nothing sent");
    assert_eq!([MAIN, SECONDARY].map(Robot::services), before);
}

pub fn the_same_images_restart_nothing_whichever_way_they_come(lab: &Lab) {
    const BY_REGISTRY: [&str; 4] = ["deploy", "--robot", "main,secondary", "--yes"];
    let workspace = &lab.workspace;
    let mut way = [BY_ARCHIVE.as_slice(), &BY_REGISTRY];
    for number in 0..2 {
        workspace.edit(ODOMETRY, "    half = turn / 2", &format!("    half = turn / 2  # {number}"));
        workspace.xtask(way[0]).expect_exit(0);
        let before = [MAIN, SECONDARY].map(assert_runs_what_was_built);
        workspace.xtask(way[1]).expect_exit(0).says("nothing changed; nothing sent");
        assert_eq!([MAIN, SECONDARY].map(Robot::services), before, "first {}", way[0].join(" "));
        let bundle = workspace.path("../same.bundle");
        workspace.xtask(&[&BY_ARCHIVE, &["--to", bundle][..]].concat()).expect_exit(0);
        let load = ["load-bundle", "--robot", "main,secondary", bundle];
        workspace.xtask(&load).expect_exit(0).says("nothing changed; nothing sent");
        assert_eq!([MAIN, SECONDARY].map(Robot::services), before, "by bundle");
        workspace.reset();
        way.reverse();
    }
}

pub fn only_what_differs_is_in_it(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&BY_ARCHIVE).expect_exit(0);
    let before = [MAIN, SECONDARY].map(Robot::services);
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # by archive");
    let received = [MAIN, SECONDARY].map(Robot::received);
    workspace.xtask(&BY_ARCHIVE).expect_exit(0);
    for (index, robot) in [MAIN, SECONDARY].into_iter().enumerate() {
        let services = assert_runs_what_was_built(robot);
        let replaced: Vec<_> =
            services.keys().filter(|name| services[*name] != before[index][*name]).collect();
        assert_eq!(replaced, ["localization"]);
        let bytes = robot.received() - received[index];
        assert!(bytes < 2_000_000, "{} received {bytes} bytes", robot.name);
    }
}

pub fn a_dropped_connection_changes_nothing(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&BY_ARCHIVE).expect_exit(0);
    let before = (MAIN.services(), MAIN.layers("localization"));
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    workspace.write(MAP, incompressible(25_000_000));
    let mut deploy = workspace.start(&["deploy", "--robot", "main", "--via", "archive", "--yes"]);
    deploy.until_it_runs(&["docker load"]);
    MAIN.wait_until_it_has_received(3_000_000);
    kill(deploy.until_it_runs(&["ssh", "ControlMaster=yes"]));
    deploy.wait_for_all().expect_exit(3).says("an archive starts from its beginning");
    assert_eq!((MAIN.services(), MAIN.layers("localization")), before);
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    workspace.xtask(&["deploy", "--robot", "main", "--via", "archive", "--yes"]).expect_exit(0);
    assert_runs_what_was_built(MAIN);
}
