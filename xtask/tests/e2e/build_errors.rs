//! Packages that do not build: what the compiler or interpreter says reaches the person, with paths of the repository.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::harness::{Lab, Workspace};

const BUILD: [&str; 2] = ["build-images", "--yes"];

/// Breaks a file, builds, and mends it; fails unless the build shows the tool's own words and no more.
fn breaking(workspace: &Workspace, file: &str, from: &str, to: &str, package: &str, words: &[&str]) {
    workspace.edit(file, from, to);
    let mut ended = workspace.xtask(&BUILD).expect_exit(1);
    for text in words {
        ended = ended.says(text);
    }
    let ended = ended
        .says(&format!("error: building `{package}` failed"))
        .says("the whole log is in `target/xtask/build/log`");
    let there = format!("/ws/build/src/{package}/");
    drop(ended.never_says("docker buildx bake").never_says("failed to solve").never_says(&there));
    assert!(workspace.read("target/xtask/build/log").contains("ERROR: "));
    workspace.edit(file, to, from);
}

pub fn each_package_tells_what_is_wrong_with_it(lab: &Lab) {
    let workspace = lab.deployed();
    let drive = "ros_ws/src/navigation/src/drive_to_pose.cpp";
    let gain = "constexpr double kGain = 4.0;";
    let broken = "constexpr double kGain = four;\nconstexpr double kTwo = two;";
    let said = ["navigation/src/drive_to_pose.cpp:", "error: ", "four", "two"];
    breaking(workspace, drive, gain, broken, "navigation", &said);

    let cmake = "ros_ws/src/navigation/CMakeLists.txt";
    let said = ["CMake Error at CMakeLists.txt:", "nowhere_to_be_found"];
    let (from, to) = ("find_package(pybind11 REQUIRED)", "find_package(nowhere_to_be_found REQUIRED)");
    breaking(workspace, cmake, from, to, "navigation", &said);

    let setup = "ros_ws/src/localization/setup.py";
    let said = ["NameError", "find_pakages"];
    breaking(workspace, setup, "packages=find_packages(", "packages=find_pakages(", "localization", &said);

    let module = "ros_ws/src/localization/localization/odometry.py";
    let said = ["SyntaxError", "odometry.py"];
    breaking(workspace, module, "    half = turn / 2", "    half = = turn / 2", "localization", &said);

    let message = "ros_ws/src/robot_interfaces/msg/WheelTicks.msg";
    let said = ["'int33' is an invalid message"];
    breaking(workspace, message, "int32 left", "int33 left", "robot_interfaces", &said);

    let name = OsStr::from_bytes(b"b\xe4d.py");
    let file = Path::new(workspace.path("ros_ws/src/localization/localization")).join(name);
    fs::write(&file, "").unwrap();
    workspace
        .xtask(&BUILD)
        .expect_exit(1)
        .says("error: building `localization` failed")
        .says("the name of `ros_ws/src/localization/localization/b\\xe4d.py` is not UTF-8: rename that file");
    fs::remove_file(&file).unwrap();
    lab.workspace.xtask(&BUILD).expect_exit(0);
}
