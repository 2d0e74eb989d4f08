//! Settings of Compose files and robots.toml, as they arrive in the containers.

use std::collections::BTreeMap;

use super::harness::{Container, Lab, MAIN, PROJECT};

const COMPOSE: &str = "docker/compose.yaml";

/// Services whose containers differ.
fn replaced(before: &BTreeMap<String, Container>, after: &BTreeMap<String, Container>) -> Vec<String> {
    after.keys().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

fn environment(service: &str) -> String {
    MAIN.exec(&["docker", "exec", &format!("{PROJECT}-{service}-1"), "env"])
}

pub fn a_changed_variable_restarts_who_uses_it(lab: &Lab) {
    let workspace = lab.deployed();
    let line = format!("    image: {PROJECT}:navigation");
    let with = format!("{line}\n    labels: {{ speed: \"${{SPEED:-1}}\" }}");
    workspace.edit(COMPOSE, &line, &with);
    lab.deploy(MAIN);
    let before = MAIN.services();
    workspace.edit("robots.toml", "ROBOT_NAME = \"main\" }", "ROBOT_NAME = \"main\", SPEED = \"2\" }");
    lab.deploy(MAIN);
    assert_eq!(replaced(&before, &MAIN.services()), ["navigation"]);
    let label = MAIN.exec(&[
        "docker",
        "inspect",
        "--format",
        "{{index .Config.Labels \"speed\"}}",
        &format!("{PROJECT}-navigation-1"),
    ]);
    assert_eq!(label, "2");
}

pub fn env_files_reach_containers_and_no_log(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.write("docker/match.env", "MATCH_TOKEN='not for everybody $1'\n");
    workspace.edit("robots.toml", "# env_files =", "env_files =");
    workspace.edit(
        COMPOSE,
        "    HEARTBEAT_FILE: /tmp/heartbeat",
        "    HEARTBEAT_FILE: /tmp/heartbeat\n    MATCH_TOKEN: ${MATCH_TOKEN}",
    );
    let deploy = ["deploy", "--robot", "main", "--yes", "--verbose"];
    workspace.xtask(&deploy).expect_exit(0).never_says("not for everybody");
    let environment = environment("navigation");
    assert!(environment.lines().any(|line| line == "MATCH_TOKEN=not for everybody $1"), "{environment}");
    let modes = MAIN.sh(&format!("stat -c %a /home/robot/.deploy/{PROJECT}/current/compose.json"));
    assert_eq!(modes, "600", "others on the robot must not read it");
}

pub fn mounted_files_travel_along(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.write("docker/tables/2026.txt", "yellow\n");
    let line = format!("    image: {PROJECT}:navigation");
    workspace.edit(COMPOSE, &line, &format!("{line}\n    volumes: [\"./tables:/tables:ro\"]"));
    lab.deploy(MAIN);
    assert_eq!(MAIN.file("navigation", "/tables/2026.txt"), "yellow");

    workspace.write("docker/tables/2026.txt", "blue\n");
    lab.deploy(MAIN);
    assert_eq!(MAIN.file("navigation", "/tables/2026.txt"), "blue");
}
