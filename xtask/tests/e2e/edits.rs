//! An edit changes one layer and replaces one container.

use std::collections::BTreeMap;

use super::harness::{Container, Lab, MAIN, ODOMETRY, PROJECT, Robot, output};

pub const DRIVE: &str = "ros_ws/src/navigation/src/drive_to_pose.cpp";
const INSTALLED: &str = "/opt/ws/install";

/// Fails unless exactly one layer of one image differs.
#[track_caller]
pub fn assert_one_layer(before: &[String], after: &[String]) {
    assert_eq!(before.len(), after.len());
    let changed = before.iter().zip(after).filter(|(before, after)| before != after).count();
    assert_eq!(changed, 1, "of {} layers", before.len());
}

/// Fails unless the container of `service`, and no other, was replaced.
#[track_caller]
fn assert_replaced(service: &str, before: &BTreeMap<String, Container>, after: &BTreeMap<String, Container>) {
    let changed: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!((before.len(), changed), (after.len(), vec![&service.to_owned()]));
    assert_ne!(before[service].id, after[service].id);
}

fn installed(robot: Robot, package: &str, module: &str) -> String {
    let path = format!("{INSTALLED}/{package}/lib/python3*/site-packages/{package}/{module}");
    robot.exec(&["docker", "exec", &format!("{PROJECT}-{package}-1"), "sh", "-c", &format!("cat {path}")])
}

pub fn one_line_of_python_changes_one_layer_and_one_container(lab: &Lab) {
    let workspace = lab.deployed();
    let images = ["communication", "navigation", "behavior_tree"];
    let others = images.map(|image| MAIN.digest(image));
    let (services, layers) = (MAIN.services(), MAIN.layers("localization"));

    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # edited");
    lab.deploy(MAIN).says("1 new layer)");

    MAIN.assert_has_built("localization");
    assert_one_layer(&layers, &MAIN.layers("localization"));
    assert_eq!(images.map(|image| MAIN.digest(image)), others);
    assert_replaced("localization", &services, &MAIN.services());
    assert!(installed(MAIN, "localization", "odometry.py").contains("# edited"));
}

pub fn a_parameter_file_replaces_who_mounts_it(lab: &Lab) {
    let workspace = lab.deployed();
    let (services, image) = (MAIN.services(), MAIN.digest("navigation"));

    workspace.edit("ros_ws/params/navigation.yaml", "angle_tolerance: 0.03", "angle_tolerance: 0.04");
    lab.deploy(MAIN).says("all 4 images were already there").never_says("build-package");

    assert_replaced("navigation", &services, &MAIN.services());
    assert_eq!(MAIN.digest("navigation"), image);
    let container = format!("{PROJECT}-navigation-1");
    let read = MAIN.exec(&["docker", "exec", &container, "cat", "/params/navigation.yaml"]);
    assert!(read.contains("angle_tolerance: 0.04"), "{read}");
}

pub fn one_line_of_cpp_changes_one_layer(lab: &Lab) {
    let workspace = lab.deployed();
    let (services, layers) = (MAIN.services(), MAIN.layers("navigation"));

    workspace.edit(DRIVE, "constexpr double kGain = 4.0;", "constexpr double kGain = 3.5;");
    lab.deploy(MAIN).says("1 new layer)");

    MAIN.assert_has_built("navigation");
    assert_one_layer(&layers, &MAIN.layers("navigation"));
    assert_replaced("navigation", &services, &MAIN.services());
}

pub fn returning_to_an_older_source_returns_to_the_older_image(lab: &Lab) {
    let workspace = lab.deployed();
    let (original, id) = (workspace.read(ODOMETRY), MAIN.digest("localization"));

    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # detour");
    lab.deploy(MAIN);
    assert_ne!(MAIN.digest("localization"), id);

    workspace.write(ODOMETRY, &original);
    // As after `git checkout` on a machine whose clock is behind, or `cp -p` from a backup.
    output(&["touch", "-d", "2020-01-01", workspace.path(ODOMETRY)]);
    lab.deploy(MAIN);
    assert_eq!(MAIN.digest("localization"), id);
    MAIN.assert_has_built("localization");
    assert_eq!(installed(MAIN, "localization", "odometry.py"), original.trim_end());
}

pub fn a_deleted_module_leaves_the_image(lab: &Lab) {
    let workspace = lab.deployed();
    let module = "ros_ws/src/localization/localization/leftover.py";
    workspace.write(module, "LEFT = 1\n");
    lab.deploy(MAIN);
    assert_eq!(installed(MAIN, "localization", "leftover.py"), "LEFT = 1");

    workspace.remove(module);
    lab.deploy(MAIN);
    let find = format!("find {INSTALLED} -name 'leftover*'");
    let found = MAIN.exec(&["docker", "exec", &format!("{PROJECT}-localization-1"), "sh", "-c", &find]);
    assert_eq!(found, "");
}
