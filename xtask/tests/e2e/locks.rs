//! One deploy at a time, and no activation while the robot is busy.

use super::harness::{Lab, MAIN, MAP, PROJECT, Running, Workspace, incompressible};
use super::releases::{assert_runs, current, edit};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// A deploy that is sending this many new bytes over a slow link.
fn sending(workspace: &Workspace, bytes: usize) -> Running {
    workspace.xtask(&["sim", "up", "main", "--link", "1mbit"]).expect_exit(0);
    workspace.write(MAP, incompressible(bytes));
    let mut run = workspace.start(&DEPLOY);
    run.until_it_says("sending layers");
    run
}

pub fn two_deploys_at_once_are_one_after_the_other(lab: &Lab) {
    let workspace = lab.deployed();
    let first = sending(workspace, 8_000_000);
    workspace.xtask(&DEPLOY).expect_exit(4).says("has been deploying to `main` for").says("--wait");
    let mut second = workspace.start(&[&DEPLOY[..], &["--wait"]].concat());
    second.until_it_says("waiting: ");
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    first.wait_for_all().expect_exit(0);
    second.wait_for_all().expect_exit(0);
    assert_runs(&current());
}

pub fn a_killed_holder_leaves_no_lock(lab: &Lab) {
    let workspace = lab.deployed();
    let run = sending(workspace, 8_000_000);
    run.signal("KILL");
    drop(run.wait_for_all());
    workspace.forget_temporary_files();
    MAIN.wait_until_unlocked();
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    lab.deploy(MAIN);
    assert_runs(&current());
}

pub fn a_busy_robot_is_delivered_to_and_not_disturbed(lab: &Lab) {
    let workspace = lab.deployed();
    let main = "[robots.main]\n";
    for (busy, begin, end) in [
        (
            "{ lock = \"/tmp/match\" }",
            "flock /tmp/match sleep 600 >/dev/null 2>&1 &",
            "pkill -f '^sleep 600'",
        ),
        (
            "{ command = [\"test\", \"-e\", \"/tmp/driving it's $(on)\"] }",
            "touch \"/tmp/driving it's \\$(on)\"",
            "rm /tmp/driving*",
        ),
        (
            "{ heartbeat = \"/tmp/heartbeat\", service = \"navigation\", within = 60 }",
            &format!("docker exec {PROJECT}-navigation-1 touch /tmp/heartbeat"),
            &format!("docker stop {PROJECT}-navigation-1"),
        ),
    ] {
        workspace.reset();
        workspace.edit("robots.toml", main, &format!("{main}busy = {busy}\n"));
        edit(workspace);
        MAIN.sh(begin);
        let before = (current(), MAIN.services());
        drop(workspace.xtask(&DEPLOY).expect_exit(4).says("must not be disturbed").says("--force"));
        assert_eq!((current(), MAIN.services()), before);
        let mut waiting = workspace.start(&[&DEPLOY[..], &["--wait"]].concat());
        waiting.until_it_says("waiting: `main` must not be disturbed");
        MAIN.sh(end);
        waiting.wait_for_all().expect_exit(0);
        assert_ne!(current(), before.0);
        assert_runs(&current());
    }
}
