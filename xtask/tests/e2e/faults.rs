//! Processes that die at various moments: the robot runs the complete old or the complete new release, no
//! lock is left, and the next deploy succeeds. [`super::activation`] has the faults during an activation.

use super::activation::{engine_is_killed, the_next_succeeds, until_activation_has_ended};
use super::harness::{ContentDisk, Engine, Lab, MAIN, MAP, PROJECT, Running, Workspace, incompressible};
use super::releases::{assert_runs, current, edit};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// The first phase, before any output.
const CONNECTING: &str = "";

/// A deploy of an edit that has printed these words.
fn deploying(workspace: &Workspace, words: &str) -> Running {
    edit(workspace);
    let takes_long = words.contains("build-localization") || words.contains("RUN ");
    workspace.write("ros_ws/src/localization/seconds", if takes_long { "10" } else { "0" });
    let comes_late = words.starts_with("waiting for ");
    workspace.write("ros_ws/src/localization/late", if comes_late { "3" } else { "0" });
    let mut run = workspace.start(&DEPLOY);
    if words == CONNECTING {
        run.until_it_runs(&["ssh", "ControlMaster=yes"]);
    } else {
        run.until_it_says(words);
    }
    run
}

/// Fails unless the robot runs a complete release and no lock is left.
fn assert_is_whole(before: &str) {
    MAIN.wait_until_unlocked();
    until_activation_has_ended();
    let now = current();
    // A run that only reserved a number may lose it.
    assert!(now.parse::<u32>().unwrap() >= before.parse::<u32>().unwrap(), "{now} after {before}");
    assert_runs(&now);
}

pub fn a_laptop_that_dies_at_any_of_ten_points(lab: &Lab) {
    const POINTS: [(&str, &str); 10] = [
        (CONNECTING, "TERM"),
        ("build-localization", "KILL"),
        ("RUN build-package localization", "INT"),
        ("sending layers", "KILL"),
        ("pushing localization", "TERM"),
        ("pushed localization", "KILL"),
        ("pulling from its registry", "TERM"),
        ("main starting", "KILL"),
        ("starting localization", "INT"),
        ("waiting for localization", "KILL"),
    ];
    let workspace = lab.deployed();
    for (words, signal) in POINTS {
        let before = current();
        let run = deploying(workspace, words);
        // The run may just have ended.
        let was_there = run.signals(signal);
        let ended = run.wait_for_all();
        if signal == "KILL" {
            Engine::remove_temporary_tags(&PROJECT);
            workspace.forget_temporary_files();
        } else {
            ended.expect_one_of(if was_there { &[130, 0] } else { &[0] });
        }
        assert_is_whole(&before);
    }
    the_next_succeeds(lab);
}

pub fn a_link_that_is_away_for_five_seconds_at_any_phase(lab: &Lab) {
    let workspace = lab.deployed();
    for words in [CONNECTING, "sending layers", "pulling from its registry", "main starting"] {
        let before = current();
        let run = deploying(workspace, words);
        MAIN.cut_link();
        MAIN.exec(&["sleep", "5"]);
        MAIN.mend_link();
        // A connection that is just being opened may not wait that long.
        let ended = run.wait_for_all();
        ended.expect_one_of(if words == CONNECTING { &[0, 3] } else { &[0] });
        assert_is_whole(&before);
    }
    the_next_succeeds(lab);
}

pub fn an_engine_that_is_killed_while_delivering(lab: &Lab) {
    let workspace = lab.deployed();
    for words in ["sending layers", "pulling from its registry"] {
        let before = current();
        let run = deploying(workspace, words);
        engine_is_killed();
        drop(run.wait_for_all());
        assert_is_whole(&before);
    }
    the_next_succeeds(lab);
}

pub fn a_registry_that_is_killed_or_loses_everything(lab: &Lab) {
    let workspace = lab.deployed();
    let kill = "pkill -KILL -f '^docker-registry serve'";
    let lose = "docker rm --force xtask-registry; docker volume rm xtask-registry";
    for (words, fault) in [("sending layers", kill), ("pulling", lose)] {
        let before = current();
        let run = deploying(workspace, words);
        MAIN.sh(fault);
        drop(run.wait_for_all());
        assert_is_whole(&before);
    }
    the_next_succeeds(lab);
    MAIN.assert_has_built("localization");
}

pub fn an_engine_whose_disk_fills_up_while_pulling(lab: &Lab) {
    let workspace = lab.deployed();
    let before = (current(), MAIN.services());
    let disk = ContentDisk::with_room(MAIN, 30_000_000);
    workspace.write(MAP, incompressible(20_000_000));
    let mut run = workspace.start(&DEPLOY);
    run.until_it_says("pulling from its registry");
    disk.fill();
    run.wait_for_all().expect_exit(1).says("no space left on device");
    assert_eq!((current(), MAIN.services()), before);
    drop(disk);
    lab.deploy(MAIN);
    assert_runs(&current());
    MAIN.assert_has_built("localization");
}
