//! Bundles: files with everything that robots need, to be carried to them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::harness::{
    Engine, Lab, MAIN, MAP, ODOMETRY, PROJECT, Robot, SECONDARY, Workspace, eventually, incompressible,
    output, succeeds,
};

const FLEET: [Robot; 2] = [MAIN, SECONDARY];

/// Writes a bundle for both robots; returns its size.
fn write(workspace: &Workspace, file: &str, more: &[&str]) -> u64 {
    let path = workspace.path(file);
    let args = ["deploy", "--all", "--via", "archive", "--to", path, "--yes"];
    workspace.xtask(&[&args[..], more].concat()).expect_exit(0).says("load-bundle");
    fs::metadata(path).unwrap().len()
}

/// Bundles are outside the workspace, so that resetting it does not remove them.
const FIRST: &str = "../first.bundle";
const SECOND: &str = "../second.bundle";

#[track_caller]
fn assert_run_what_was_built(robots: &[Robot]) {
    for robot in robots {
        let services = robot.services();
        assert_eq!(services.len(), 4, "{services:?}");
        for (service, container) in services {
            assert_eq!(robot.layers(&service), Engine::layers(&format!("{PROJECT}:{service}")), "{service}");
            assert_eq!(robot.inspect(&service, "{{.Id}}"), container.image, "{service}");
        }
    }
}

pub fn one_brings_empty_robots_what_was_built(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&["sim", "down"]).expect_exit(0);
    write(workspace, FIRST, &[]);
    let path = workspace.path(FIRST);
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "values of .env are in it");
    for robot in FLEET {
        assert!(!succeeds(&["docker", "container", "inspect", &robot.container()]), "no robot was needed");
    }
    // A clone has none of the built images, like another machine.
    let elsewhere = workspace.clone_privately();
    elsewhere.xtask(&["load-bundle", path, "--all"]).expect_exit(0);
    assert_run_what_was_built(&FLEET);
    for robot in FLEET {
        assert_eq!(robot.listeners(5000), [""; 0]);
    }
    let before = FLEET.map(Robot::services);
    elsewhere.xtask(&["load-bundle", path, "--all"]).expect_exit(0).says("nothing changed; nothing sent");
    assert_eq!(FLEET.map(Robot::services), before);
}

/// Loads the first bundle onto `main`, and writes a second one.
fn with_two_bundles(lab: &Lab) -> u64 {
    let workspace = &lab.workspace;
    workspace.reset();
    write(workspace, FIRST, &[]);
    workspace.xtask(&["load-bundle", workspace.path(FIRST), "--all"]).expect_exit(0);
    let now = std::time::SystemTime::now();
    workspace.edit(ODOMETRY, "    half = turn / 2", &format!("    half = turn / 2  # {now:?}"));
    write(workspace, SECOND, &["--against", workspace.path(FIRST)])
}

pub fn one_against_another_has_the_difference_only(lab: &Lab) {
    let size = with_two_bundles(lab);
    assert!(size < 2_000_000, "{size} bytes");
    let before = FLEET.map(Robot::services);
    lab.workspace.xtask(&["load-bundle", lab.workspace.path(SECOND), "--all"]).expect_exit(0);
    assert_run_what_was_built(&FLEET);
    for (robot, before) in FLEET.into_iter().zip(before) {
        let services = robot.services();
        let replaced: Vec<_> = services.keys().filter(|name| services[*name] != before[*name]).collect();
        assert_eq!(replaced, ["localization"]);
    }
}

pub fn a_robot_that_lacks_the_other_is_told_which_to_load_first(lab: &Lab) {
    with_two_bundles(lab);
    let workspace = &lab.workspace;
    for robot in FLEET {
        workspace.xtask(&["sim", "down", robot.name]).expect_exit(0);
        let second = ["load-bundle", workspace.path(SECOND), "--robot", robot.name];
        workspace.xtask(&second).expect_exit(1).says("omits").says("load that one first");
        assert!(robot.services().is_empty());
        let images = robot.exec(&["docker", "image", "ls", "--all", "--quiet"]);
        assert_eq!(images, "", "nothing half loaded is left");
        let first = ["load-bundle", workspace.path(FIRST), "--robot", robot.name, "--no-start"];
        workspace.xtask(&first).expect_exit(0);
        assert!(robot.services().is_empty());
        workspace.xtask(&second).expect_exit(0);
        assert_run_what_was_built(&[robot]);
    }
}

pub fn what_is_damaged_is_refused_before_a_robot_is_touched(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    write(workspace, FIRST, &[]);
    let path = workspace.path(FIRST);
    workspace.xtask(&["load-bundle", path, "--robot", "main"]).expect_exit(0);
    let before = MAIN.services();
    let whole = fs::read(path).unwrap();
    let refused = |bytes: &[u8], why: &str| {
        fs::write(path, bytes).unwrap();
        let ran = workspace.xtask(&["-v", "load-bundle", path, "--robot", "main"]).expect_exit(1);
        ran.says(why).says("copy it again").never_says("ControlMaster=yes");
    };
    for length in [0, 100, whole.len() / 2, whole.len() - 2500] {
        refused(&whole[..length], if length < 512 { "is not a bundle" } else { "is damaged" });
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    refused(&flipped, "in it does not match its checksum");
    fs::write(path, &whole).unwrap();
    workspace.xtask(&["load-bundle", path, "--robot", "main"]).expect_exit(0).says("nothing changed");
    assert_eq!(MAIN.services(), before);
}

pub fn a_stick_that_is_pulled_out_leaves_the_robot_as_it_was(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    write(workspace, FIRST, &[]);
    workspace.xtask(&["load-bundle", workspace.path(FIRST), "--robot", "main"]).expect_exit(0);
    let before = (MAIN.services(), MAIN.layers("localization"));
    // Large enough that compression and the connection cannot buffer all of it: the file is truncated before
    // its end is read.
    workspace.write(MAP, incompressible(60_000_000));
    write(workspace, SECOND, &[]);
    let path = workspace.path(SECOND);
    let whole = fs::read(path).unwrap();
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    let mut load = workspace.start(&["load-bundle", path, "--robot", "main"]);
    load.until_it_runs(&["docker load"]);
    MAIN.wait_until_it_has_received(3_000_000);
    // Like a device that was removed during a read.
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    load.wait_for_all().expect_exit(1);
    assert_eq!((MAIN.services(), MAIN.layers("localization")), before);
    fs::write(path, whole).unwrap();
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    workspace.xtask(&["load-bundle", path, "--robot", "main"]).expect_exit(0);
    assert_run_what_was_built(&[MAIN]);
}

pub fn a_stick_that_is_full_keeps_what_was_on_it(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    let stick = Stick::new(workspace, "1m");
    fs::write(format!("{}/older.bundle", stick.0), "older").unwrap();
    let to = format!("{}/older.bundle", stick.0);
    workspace
        .xtask(&["deploy", "--robot", "main", "--via", "archive", "--to", &to, "--yes"])
        .expect_exit(1)
        .says("cannot write the bundle")
        .says("No space left on device");
    let names: Vec<_> = fs::read_dir(stick.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["older.bundle"]);
    assert_eq!(fs::read_to_string(&to).unwrap(), "older");
}

/// A small file system, unmounted on drop.
struct Stick(&'static str);

impl Stick {
    fn new(workspace: &Workspace, size: &str) -> Self {
        let path = workspace.path("../stick");
        fs::create_dir_all(path).unwrap();
        output(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "stick", path]);
        Self(path)
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        eventually("the stick to be free", || succeeds(&["umount", self.0]).then_some(()));
    }
}
