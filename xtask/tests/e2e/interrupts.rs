//! Runs that are ended early: nothing of them is left, and the robot runs something whole.

use std::collections::BTreeMap;

use super::harness::{
    Container, Engine, Finished, Lab, MAIN, ODOMETRY, PROJECT, Running, Workspace, incompressible,
};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// The deploy of an edit, ended by `end` at its moment; gives what ran on the robot before.
fn interrupted(
    lab: &Lab,
    edit: impl FnOnce(&Workspace),
    end: impl FnOnce(&mut Running),
) -> BTreeMap<String, Container> {
    let workspace = lab.deployed();
    let before = MAIN.services();
    edit(workspace);
    let mut run = workspace.start(&DEPLOY);
    end(&mut run);
    nothing_is_left(workspace, run.wait_for_all().expect_exit(130).says("interrupted"));
    before
}

/// Fails if a run that has ended, with all its processes, left anything else on this machine.
fn nothing_is_left(workspace: &Workspace, _ended: Finished) {
    assert_eq!(Engine::temporary_tags(PROJECT), [""; 0]);
    assert_eq!(workspace.temporary_files(), Vec::<std::path::PathBuf>::new());
}

/// The next deploy brings what the interrupted one did not.
fn the_next_one_succeeds(lab: &Lab) {
    lab.workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    lab.deploy(MAIN);
    assert_eq!(MAIN.services().len(), 4);
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    let leftovers = MAIN.sh(&format!("ls /home/robot/.deploy/{PROJECT}"));
    assert!(leftovers.lines().all(|name| !name.contains("next")), "{leftovers}");
}

/// Text that has never been built before.
fn never_before() -> String {
    format!("{:?}", std::time::SystemTime::now())
}

fn edit(workspace: &Workspace) {
    let line = format!("    half = turn / 2  # {}", never_before());
    workspace.edit(ODOMETRY, "    half = turn / 2", &line);
}

pub fn ctrl_c_while_building(lab: &Lab) {
    let slow = |workspace: &Workspace| {
        let line = format!(
            "project(navigation LANGUAGES CXX)\nexecute_process(COMMAND sleep 60) # {}",
            std::process::id()
        );
        workspace.edit("ros_ws/src/navigation/CMakeLists.txt", "project(navigation LANGUAGES CXX)", &line);
    };
    let before = interrupted(lab, slow, |run| {
        run.until_it_says("RUN build-package navigation");
        run.interrupt();
    });
    assert_eq!(MAIN.services(), before);
    lab.workspace.reset();
    the_next_one_succeeds(lab);
}

pub fn ctrl_c_while_sending(lab: &Lab) {
    let large = |workspace: &Workspace| {
        workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
        workspace.write("ros_ws/src/bringup/config/map.yaml", incompressible(20_000_000));
    };
    let before = interrupted(lab, large, |run| {
        run.until_it_runs(&["ssh", "xtask-registry python3"]);
        MAIN.wait_until_it_has_received(2_000_000);
        run.interrupt();
    });
    assert_eq!(MAIN.services(), before);
    lab.workspace.reset();
    the_next_one_succeeds(lab);
}

pub fn ctrl_c_while_pulling(lab: &Lab) {
    let before = interrupted(lab, edit, |run| {
        run.until_it_says("pulling from its registry");
        run.interrupt();
    });
    assert_eq!(MAIN.services(), before);
    the_next_one_succeeds(lab);
    assert_ne!(MAIN.services()["localization"], before["localization"]);
}

pub fn ctrl_c_while_starting(lab: &Lab) {
    interrupted(lab, edit, |run| {
        run.until_it_says("starting");
        run.interrupt();
    });
    // Old or new, but whole: whatever runs is an image that is there under its digest.
    MAIN.wait_for_services(4);
    for container in MAIN.services().values() {
        let id = MAIN.exec(&["docker", "image", "inspect", "--format", "{{.Id}}", &container.reference]);
        assert_eq!(id, container.image);
    }
    the_next_one_succeeds(lab);
}

pub fn a_start_that_broke_off_is_made_up_for(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    edit(workspace);
    // Nothing gets as far as replacing containers.
    let docker = "/usr/local/bin/docker";
    MAIN.sh(&format!(
        "printf '#!/bin/sh\\ncase \" $* \" in *\" up \"*) exit 1 ;; esac\\nexec /usr/bin/docker \"$@\"\\n' >{docker}; \
         chmod 755 {docker}"
    ));
    let broken = workspace.xtask(&DEPLOY);
    MAIN.exec(&["rm", docker]);
    broken.expect_exit(1).says("start the containers on `main`");
    assert_eq!(MAIN.services(), before);

    // Not a repetition, but the next edit on top.
    let communication = "ros_ws/src/communication/communication/watchdog.py";
    workspace.write(communication, format!("{}\n# {}\n", workspace.read(communication), never_before()));
    lab.deploy(MAIN);
    let after = MAIN.services();
    let replaced: Vec<&String> = after.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(replaced, ["communication", "localization"]);
}

pub fn sigterm_is_like_ctrl_c(lab: &Lab) {
    let before = interrupted(lab, edit, |run| {
        run.until_it_runs(&["docker push", "/e2e:"]);
        run.signal("TERM");
    });
    assert_eq!(MAIN.services(), before);
    the_next_one_succeeds(lab);
}

pub fn a_killed_run_leaves_no_connection(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    workspace.write("ros_ws/src/bringup/config/map.yaml", incompressible(20_000_000));
    let before = MAIN.services();
    let mut run = workspace.start(&DEPLOY);
    run.until_it_runs(&["ssh", "xtask-registry python3"]);
    MAIN.wait_until_it_has_received(2_000_000);
    run.signal("KILL");
    // No guard could do anything: the connection ends because its pipe does.
    drop(run.wait_for_all());
    assert_eq!(MAIN.services(), before);
    workspace.forget_temporary_files();
    the_next_one_succeeds(lab);
}
