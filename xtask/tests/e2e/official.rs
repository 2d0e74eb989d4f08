//! A base with ROS in /opt/ros, as the official images have it: a team names it in robots.toml, and nothing else changes.

use super::harness::{Lab, MAIN, ODOMETRY, PROJECT, official_base, output};

/// The variables of a container of the image `navigation`.
fn environment() -> String {
    output(&["docker", "run", "--rm", &format!("{PROJECT}:navigation"), "env"])
}

pub fn a_workspace_runs_on_a_base_with_ros(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    let image = format!("image = \"{}\"", official_base());
    workspace.edit("robots.toml", "debian = \"trixie\"", &image);
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
        &format!("{}</package>", depends.concat()),
    );
    lab.deploy(MAIN);

    MAIN.wait_until_healthy();
    super::ros::drives_to_its_goal();
    let packages =
        output(&["docker", "run", "--rm", &format!("{PROJECT}:navigation"), "ls", "/opt/ws/install"]);
    assert!(packages.contains("communication") && !packages.contains("behavior_tree"), "{packages}");
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

    let layers = MAIN.layers("localization");
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # on another base");
    lab.deploy(MAIN).says("1 new layer)");
    super::edits::assert_one_layer(&layers, &MAIN.layers("localization"));

    let listed = workspace.xtask(&["dev-shell", "--", "colcon", "list", "--names-only"]).expect_exit(0);
    assert!(listed.stdout.contains("navigation\n"), "{}", listed.stdout);
    workspace.xtask(&["test", "--only", "ros"]).expect_exit(0);
}

pub fn python_packages_that_a_base_with_ros_lacks_are_installed(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.edit("robots.toml", "debian = \"trixie\"", &format!("image = \"{}\"", official_base()));
    let requirements = |name: &str| format!("docker/ros/requirements/python.{name}");
    let add = |name: &str, line: &str| {
        let file = requirements(name);
        workspace.write(&file, format!("{}{line}\n", workspace.read(&file)));
    };
    add("in", "pyserial");
    let build = ["build-images", "navigation"];
    workspace.xtask(&build).expect_exit(1).says("`pyserial` of /requirements/python.in is not in python.txt");
    add("txt", "pyserial==3.5");
    workspace.xtask(&build).expect_exit(0);
    let places = "import serial, numpy; print(serial.__file__, numpy.__file__)";
    let places =
        output(&["docker", "run", "--rm", &format!("{PROJECT}:navigation"), "python3", "-c", places]);
    let [serial, numpy] = places.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{places}") };
    assert!(serial.starts_with("/usr/local/lib/python3"), "new: {serial}");
    assert!(numpy.starts_with("/usr/lib/python3/"), "the base's: {numpy}");
}
