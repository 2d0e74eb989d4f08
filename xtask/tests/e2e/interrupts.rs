//! Interrupted runs: they leave nothing behind, and the robot runs a complete release.

use std::collections::BTreeMap;

use super::harness::{
    Container, Engine, Lab, MAIN, MAP, MAP_THERE, ODOMETRY, PROJECT, Rival, Running, Workspace,
    incompressible, output,
};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// Interrupts the deploy of an edit with `end`; returns the services that ran on the robot before.
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
    run.wait_for_all().expect_exit(130).says("interrupted");
    nothing_is_left(workspace);
    before
}

/// Fails if a run that has ended left a process, a tag or a file.
fn nothing_is_left(workspace: &Workspace) {
    assert_eq!(Engine::temporary_tags(&PROJECT), [""; 0]);
    assert_eq!(workspace.temporary_files(), Vec::<std::path::PathBuf>::new());
    MAIN.wait_until_no_agent_is_left();
}

/// The next deploy sends what the interrupted deploy did not.
fn the_next_one_succeeds(lab: &Lab) {
    lab.workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    lab.deploy(MAIN);
    assert_eq!(MAIN.services().len(), 4);
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    assert_eq!(MAIN.unfinished(), [""; 0]);
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
        workspace.write("ros_ws/src/navigation/seconds", "60");
        workspace.write("ros_ws/src/navigation/note", never_before());
    };
    let before = interrupted(lab, slow, |run| {
        run.until_it_says("RUN build-package navigation");
        run.interrupt();
    });
    assert_eq!(MAIN.services(), before);
    lab.workspace.reset();
    the_next_one_succeeds(lab);
}

/// Interrupts several deploys of 20 MB over a slow link, each with another signal, once `sending` runs and
/// bytes arrive.
fn ended_by_each_signal(lab: &Lab, sending: &[&str]) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    workspace.xtask(&["sim", "up", "main", "--link", "10mbit"]).expect_exit(0);
    workspace.write(MAP, incompressible(20_000_000));
    for signal in ["INT", "TERM", "KILL"] {
        let mut run = workspace.start(&DEPLOY);
        run.until_it_runs(sending);
        MAIN.wait_until_it_has_received(1_000_000);
        match signal {
            // As in a terminal: the whole process group gets the signal.
            "INT" => run.interrupt(),
            _ => run.signal(signal),
        }
        let ended = run.wait_for_all();
        if signal == "KILL" {
            // No guard could run: connections end because their pipes close.
            Engine::remove_temporary_tags(&PROJECT);
            workspace.forget_temporary_files();
        } else {
            ended.expect_exit(130).says("interrupted");
        }
        nothing_is_left(workspace);
        assert_eq!(MAIN.services(), before, "{signal}");
    }
}

/// The next deploy sends the file of the interrupted one.
fn the_next_one_brings_the_map(lab: &Lab) {
    the_next_one_succeeds(lab);
    let sum = output(&["sha256sum", lab.workspace.path(MAP)]);
    let arrived =
        MAIN.exec(&["docker", "exec", &format!("{PROJECT}-localization-1"), "sha256sum", MAP_THERE]);
    assert_eq!(arrived.split(' ').next(), sum.split(' ').next());
}

pub fn signals_while_deltas_are_sent(lab: &Lab) {
    ended_by_each_signal(lab, &["ssh", "docker exec -i xtask-registry python3"]);
    the_next_one_brings_the_map(lab);
}

pub fn signals_while_pushing(lab: &Lab) {
    lab.deployed();
    let rival = Rival::at(MAIN);
    ended_by_each_signal(lab, &["docker push", &format!("/{PROJECT}:")]);
    drop(rival);
    the_next_one_brings_the_map(lab);
}

pub fn a_start_that_broke_off_is_made_up_for(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    edit(workspace);
    // The robot's Docker must not replace containers.
    let docker = "/usr/local/bin/docker";
    MAIN.sh(&format!(
        "printf '#!/bin/sh\\ncase \" $* \" in *\" up \"*) exit 1 ;; esac\\nexec /usr/bin/docker \"$@\"\\n' >{docker}; \
         chmod 755 {docker}"
    ));
    let broken = workspace.xtask(&DEPLOY);
    MAIN.exec(&["rm", docker]);
    broken.expect_exit(5).says("was rolled back");
    assert_eq!(MAIN.services(), before);

    // Not the same edit again, but a second edit on top.
    workspace.write("ros_ws/src/communication/watchdog.py", format!("# {}\n", never_before()));
    lab.deploy(MAIN);
    let after = MAIN.services();
    let replaced: Vec<&String> = after.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(replaced, ["communication", "localization"]);
}
