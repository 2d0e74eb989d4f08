//! A base with ROS in /opt/ros, as the official images have it: a team names it in robots.toml, and nothing else changes.

use super::edits::{DRIVE, assert_one_layer};
use super::harness::{Lab, MAIN, PROJECT, forget_official_base, official_base, output};

/// The variables of a container of the image `navigation`.
fn environment() -> String {
    output(&["docker", "run", "--rm", &format!("{PROJECT}:navigation"), "env"])
}

pub fn a_workspace_runs_on_a_base_with_ros(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    let image = format!("image = \"{}\"", official_base());
    workspace.edit("robots.toml", "debian = \"trixie\"", &image);
    // A Python package that the base lacks.
    let add = |name: &str, line: &str| {
        let file = format!("docker/ros/requirements/python.{name}");
        workspace.write(&file, format!("{}{line}\n", workspace.read(&file)));
    };
    add("in", "pyserial");
    let build = workspace.xtask(&["build-images", "navigation"]).expect_exit(1);
    build.says("`pyserial` of /requirements/python.in is not in python.txt");
    add("txt", "pyserial==3.5");
    // Conditions are those of the base.
    let conditions = [
        ("$ROS_DISTRO == jazzy and $TEAM_LIDAR == ld19", "communication"),
        ("$ROS_DISTRO == humble", "behavior_tree"),
    ];
    let depends = conditions.map(|(condition, package)| {
        format!("<exec_depend condition=\"{condition}\">{package}</exec_depend>")
    });
    workspace.edit(
        "ros_ws/src/navigation/package.xml",
        "</package>",
        &format!("{}<build_depend>eigen</build_depend></package>", depends.concat()),
    );
    // colcon's own files.
    workspace
        .write("ros_ws/colcon.meta", r#"{"names": {"navigation": {"cmake-args": ["-DFROM_META=meta"]}}}"#);
    let defaults = "build:\n  symlink-install: true\n  cmake-args: [-DFROM_DEFAULTS=defaults, -DCMAKE_BUILD_TYPE=Debug]\n";
    workspace.write("ros_ws/colcon_defaults.yaml", defaults);
    let note = "install(CODE \"file(WRITE \\\"\\${CMAKE_INSTALL_PREFIX}/share/navigation/flags\\\" \
                \\\"${FROM_META} ${FROM_DEFAULTS} ${CMAKE_BUILD_TYPE}\\\")\")\nament_package()";
    workspace.edit("ros_ws/src/navigation/CMakeLists.txt", "ament_package()", note);
    // Found by rosdep, in the sources of the base that work.
    workspace.edit(
        "ros_ws/src/navigation/CMakeLists.txt",
        "ament_package()",
        "find_package(Eigen3 REQUIRED)\nament_package()",
    );
    lab.deploy(MAIN).says("`eigen` is apt:libeigen3-dev");

    MAIN.wait_until_healthy();
    super::ros::drives_to_its_goal();
    let packages =
        output(&["docker", "run", "--rm", &format!("{PROJECT}:navigation"), "ls", "/opt/ws/install"]);
    assert!(packages.contains("communication") && !packages.contains("behavior_tree"), "{packages}");
    let places = "import serial, numpy; print(serial.__file__, numpy.__file__)";
    let places =
        output(&["docker", "run", "--rm", &format!("{PROJECT}:navigation"), "python3", "-c", places]);
    let [serial, numpy] = places.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{places}") };
    assert!(serial.starts_with("/usr/local/lib/python3"), "installed: {serial}");
    assert!(numpy.starts_with("/usr/lib/python3/"), "the base's: {numpy}");
    let flags = "/opt/ws/install/navigation/share/navigation/flags";
    let flags = output(&["docker", "run", "--rm", &format!("{PROJECT}:navigation"), "cat", flags]);
    assert_eq!(flags, "meta defaults Debug");
    let environment = environment();
    for variable in [
        "ROS_DISTRO=jazzy\n",
        "ROS_VERSION=2\n",
        "TEAM_LIDAR=ld19\n",
        ":/opt/vendor/lib\n",
        ":/opt/ros/jazzy:",
    ] {
        assert!(environment.contains(variable), "{variable}: {environment}");
    }
    // Executables of the workspace, and of the base.
    assert!(MAIN.ros_run("navigation", &["rosidl_generator_c", "rosidl_generator_c", "--help"]));
    workspace.xtask(&["doctor"]).says("`ros` for linux/");

    let layers = MAIN.layers("navigation");
    workspace.edit(DRIVE, "constexpr double kGain = 4.0;", "constexpr double kGain = 3.0;");
    lab.deploy(MAIN).says("1 new layer)");
    assert_one_layer(&layers, &MAIN.layers("navigation"));

    let listed = workspace.xtask(&["dev-shell", "--", "colcon", "list", "--names-only"]).expect_exit(0);
    assert!(listed.stdout.contains("navigation\n"), "{}", listed.stdout);
    workspace.xtask(&["test", "--only", "ros"]).expect_exit(0);
    forget_official_base();
}
