//! Connections and runs that end in the middle of a delivery: data that arrived is not sent again.

use sha2::{Digest as _, Sha256};

use super::harness::{
    AGENT_DIR, Finished, Lab, MAIN, MAP, MAP_THERE, PROJECT, Rival, Running, Workspace, incompressible, kill,
    note, signal,
};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// Kills the robot's end of every connection to it.
const SESSIONS: [&str; 4] = ["pkill", "-KILL", "-f", "^sshd-session: robot"];

/// Starts a deploy of this many new bytes over a link so slow that it takes a while; also returns their
/// SHA-256.
fn deploy_map(workspace: &Workspace, size: usize, link: &str) -> (Running, String) {
    let map = incompressible(size);
    workspace.write(MAP, &map);
    workspace.xtask(&["sim", "up", "main", "--link", link]).expect_exit(0);
    (workspace.start(&DEPLOY), format!("{:x}", Sha256::digest(&map)))
}

/// Fails unless the robot runs exactly what was built.
fn assert_arrived(lab: &Lab, map: &str) {
    lab.workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    let there = MAIN.exec(&["docker", "exec", &format!("{PROJECT}-localization-1"), "sha256sum", MAP_THERE]);
    assert_eq!(there.split(' ').next(), Some(map));
}

/// Returns `count` sorted positions in a transfer of `size` bytes; the same seed gives the same positions.
fn moments(seed: u64, count: u64, size: u64) -> Vec<u64> {
    let random = |number: u64| {
        let digest = Sha256::digest(format!("{seed} {number}"));
        u64::from_le_bytes(digest[..8].try_into().unwrap()) % size
    };
    let mut moments: Vec<u64> = (0..count).map(random).collect();
    moments.sort_unstable();
    moments
}

pub fn ten_cuts_cost_little(lab: &Lab) {
    const SIZE: u64 = 100_000_000;
    let workspace = lab.deployed();
    let seed = std::env::var("XTASK_CUTS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let moments = moments(seed, 9, SIZE);
    note(format!("XTASK_CUTS_SEED={seed}: cut at once, and after {moments:?} bytes"));
    let before = MAIN.received();
    let (mut deploy, map) = deploy_map(workspace, SIZE.try_into().unwrap(), "200mbit");
    // While xtask still compares its layers with the robot's.
    deploy.until_it_runs(&["ssh", "docker exec -i xtask-registry python3"]);
    deploy.until("a connection", |_| MAIN.can(&SESSIONS).then_some(()));
    for (number, moment) in moments.iter().enumerate() {
        deploy.until("bytes to arrive", |_| (MAIN.received() > before + moment).then_some(()));
        if number % 5 != 4 {
            deploy.until("a connection", |_| MAIN.can(&SESSIONS).then_some(()));
            continue;
        }
        // Unreachable: neither end is notified.
        let master = deploy.until_it_runs(&["ssh", "ControlMaster=yes"]);
        MAIN.exec(&["iptables", "-I", "INPUT", "-i", "eth0", "-j", "DROP"]);
        deploy.until("the connection to be given up", |run| {
            run.processes().iter().all(|(pid, _)| *pid != master).then_some(())
        });
        MAIN.exec(&["iptables", "-D", "INPUT", "-i", "eth0", "-j", "DROP"]);
    }
    deploy
        .wait_for_all()
        .expect_exit(0)
        .says("the transfer resumes where it stopped")
        .never_says("`docker push` sends");
    let received = MAIN.received() - before;
    note(format!("{SIZE} bytes cut 10 times: the robot received {received}"));
    assert!(received < SIZE / 100 * 115, "{received} bytes");
    assert_arrived(lab, &map);
}

pub fn what_the_robot_made_of_it_is_not_sent_again(lab: &Lab) {
    const SIZE: u64 = 1_500_000;
    const AGENTS: &str = "^python3 -I -S -B -c import os,zstandard";
    let workspace = lab.deployed();
    let (mut deploy, map) = deploy_map(workspace, SIZE.try_into().unwrap(), "10mbit");
    deploy.until("bytes to arrive", |_| (MAIN.spooled() > 0).then_some(()));
    let before = MAIN.received() - MAIN.spooled();
    MAIN.exec(&["pkill", "-STOP", "-f", AGENTS]);
    // Bytes in flight still fit into the connection's buffers.
    deploy.until_nothing_arrives(MAIN);
    let master = deploy.until_it_runs(&["ssh", "ControlMaster=yes"]);
    signal(master, "STOP");
    MAIN.exec(&["pkill", "-CONT", "-f", AGENTS]);
    deploy.until("the layer to be made", |_| (MAIN.sh(&format!("ls {AGENT_DIR}")) == "lock").then_some(()));
    kill(master);
    deploy.wait_for_all().expect_exit(0).never_says("`docker push` sends");
    let received = MAIN.received() - before;
    assert!(received < SIZE / 10 * 15, "{received} bytes");
    assert_arrived(lab, &map);
}

pub fn a_later_run_sends_the_rest(lab: &Lab) {
    const SIZE: u64 = 40_000_000;
    let workspace = lab.deployed();
    let before = MAIN.received();
    let (mut deploy, map) = deploy_map(workspace, SIZE.try_into().unwrap(), "50mbit");
    let some = |run: &mut Running| {
        let before = MAIN.received();
        run.until("bytes to arrive", |_| (MAIN.received() > before + SIZE / 3).then_some(()));
    };
    some(&mut deploy);
    deploy.interrupt();
    let _interrupted: Finished = deploy.wait_for_all().expect_exit(130);
    let mut deploy = workspace.start(&DEPLOY);
    some(&mut deploy);
    deploy.signal("KILL");
    drop(deploy.wait_for_all());
    workspace.forget_temporary_files();
    lab.deploy(MAIN);
    let received = MAIN.received() - before;
    assert!(received < SIZE / 100 * 115, "{received} bytes");
    assert_arrived(lab, &map);
}

pub fn a_push_survives_the_death_of_its_connection(lab: &Lab) {
    let workspace = lab.deployed();
    // Another machine's delta transfer is running: `docker push` has to send the layer.
    let rival = Rival::at(MAIN);
    let (mut deploy, map) = deploy_map(workspace, 25_000_000, "20mbit");
    deploy.until_it_runs(&["docker push", &format!("/{PROJECT}:")]);
    MAIN.wait_until_it_has_received(5_000_000);
    // `docker push` has its own compressed connection.
    kill(deploy.until_it_runs(&["ssh", "Compression=yes", "ControlMaster=yes"]));
    let finished = deploy.wait_for_all();
    drop(rival);
    finished.expect_exit(0).says("another machine is delivering").says("connected again");
    assert_arrived(lab, &map);
}
