//! Full disks, on the robot or on this machine: the old release keeps running, and the message says where
//! there is no room.

use std::collections::BTreeMap;

use super::harness::{
    Container, Engine, Lab, MAIN, MAP, MAP_THERE, PROJECT, RegistryDisk, Running, SmallDisk, Workspace,
    incompressible,
};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

const MB: u64 = 1_000_000;

/// Size in bytes of a map that does not fit.
const SIZE: usize = 20_000_000;

/// Writes a map that cannot be compressed.
fn write_map(workspace: &Workspace) {
    workspace.write(MAP, incompressible(SIZE));
}

/// Fails unless the robot has exactly what was built.
#[track_caller]
fn assert_arrived() {
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    let stat = ["docker", "exec", &format!("{PROJECT}-localization-1"), "stat", "-c", "%s", MAP_THERE];
    assert_eq!(MAIN.exec(&stat), SIZE.to_string());
}

/// Fails unless a deploy that ended for lack of room has changed nothing.
#[track_caller]
fn assert_nothing_happened(workspace: &Workspace, before: &BTreeMap<String, Container>) {
    assert_eq!(MAIN.services(), *before);
    assert_eq!(Engine::temporary_tags(&PROJECT), [""; 0]);
    assert_eq!(workspace.temporary_files(), Vec::<std::path::PathBuf>::new());
    MAIN.wait_until_no_agent_is_left();
    assert_eq!(MAIN.unfinished(), [""; 0]);
}

pub fn a_robot_without_room_is_sent_nothing(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    let disk = RegistryDisk::with_room(MAIN, 10 * MB);
    write_map(workspace);
    let start = MAIN.received();
    let run = workspace.xtask(&DEPLOY).expect_exit(1).says("`main` has no room for the new layers");
    run.says("its registry's disk has").says("docker image prune --all").never_says("`docker push` sends");
    let received = MAIN.received() - start;
    assert!(received < MB, "{received} bytes");
    assert_nothing_happened(workspace, &before);

    disk.resize(200 * MB);
    lab.deploy(MAIN).never_says("`docker push` sends");
    assert_arrived();
}

pub fn a_robots_disk_that_fills_up_in_the_middle(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    let disk = RegistryDisk::with_room(MAIN, 200 * MB);
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    write_map(workspace);
    let mut run = workspace.start(&DEPLOY);
    wait_for_bytes(&mut run);
    disk.fill();
    let run = run.wait_for_all().expect_exit(1);
    run.says("`main` has no room for the new layers").says("the robot's disk is full");
    assert_nothing_happened(workspace, &before);
    assert_eq!(disk.damaged(), [""; 0]);
    // Just as full, but from the beginning.
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    disk.fill();
    workspace.xtask(&DEPLOY).expect_exit(1).says("`main` has no room for the new layers");
    assert_nothing_happened(workspace, &before);

    disk.clear();
    lab.deploy(MAIN).never_says("`docker push` sends");
    assert_arrived();
    assert_eq!(disk.damaged(), [""; 0]);
}

/// Waits until a part of the map has arrived on the robot.
fn wait_for_bytes(run: &mut Running) {
    run.until("bytes to arrive", |_| (MAIN.spooled() > 3 * MB).then_some(()));
}

/// Deploys with a small disk; `docker push` has to send the map, and the reason has to name the directory.
fn the_push_carries_it(workspace: &Workspace, disk: &SmallDisk<'_>, dir: &str) {
    write_map(workspace);
    let run = disk.start(&DEPLOY).wait_for_all().expect_exit(0).says("`docker push` sends whole layers");
    run.says(dir).says("o space left on device");
    assert_arrived();
    assert_eq!(MAIN.unfinished(), [""; 0]);
}

pub fn no_room_for_deltas_on_this_machine(lab: &Lab) {
    without_room_in(lab, "target/xtask/deltas");
}

pub fn no_room_for_layers_on_this_machine(lab: &Lab) {
    without_room_in(lab, "target/xtask/layers");
}

/// `docker push` sends layers whose deltas do not fit into a directory here; with room, the next deploy sends
/// deltas.
fn without_room_in(lab: &Lab, dir: &str) {
    let workspace = lab.deployed();
    let disk = SmallDisk::over(workspace, dir, 5 * MB);
    the_push_carries_it(workspace, &disk, dir);

    // Incomplete files of the first deploy do not disturb.
    disk.resize(100 * MB);
    write_map(workspace);
    disk.start(&DEPLOY).wait_for_all().expect_exit(0).never_says("`docker push` sends");
    assert_arrived();
}

pub fn this_machines_disk_fills_up_in_the_middle(lab: &Lab) {
    let workspace = lab.deployed();
    // Layers of other tests move onto this disk when they are used.
    let disk = SmallDisk::over(workspace, "target/xtask", 1_000 * MB);
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    write_map(workspace);
    let mut run = disk.start(&DEPLOY);
    wait_for_bytes(&mut run);
    // Layers travel before BuildKit has ended, which writes its result to this disk.
    run.until("the build to end", |_| disk.has("build/built.json").then_some(()));
    disk.fill();
    // Without the cache a deploy takes longer, but succeeds.
    run.wait_for_all().expect_exit(0);
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    assert_arrived();

    // No room at all, from the beginning.
    let before = MAIN.services();
    write_map(workspace);
    disk.fill();
    disk.start(&DEPLOY).wait_for_all().expect_exit(1).says("o space left on device");
    assert_nothing_happened(workspace, &before);

    drop(disk);
    lab.deploy(MAIN).never_says("`docker push` sends");
    assert_arrived();
}
