//! ROS messages between the containers of a robot.

use super::harness::{Lab, MAIN, PROJECT, eventually};

/// Waits for messages in a container of the robot.
fn arrives(topic: &str, kind: &str, more: &[&str]) {
    let words = [&["bringup", "wait_for_topic", topic, kind, "--timeout", "60"], more].concat();
    assert!(MAIN.ros_run("communication", &words), "nothing came on {topic}");
}

pub fn the_nodes_of_a_robot_drive_it_to_its_goal(lab: &Lab) {
    lab.deployed();
    // After a restart, the robot begins its match again.
    let project = format!("label=com.docker.compose.project={PROJECT}");
    MAIN.sh(&format!("docker restart $(docker ps --quiet --filter {project}) >/dev/null"));
    drives_to_its_goal();
}

/// Fails unless the nodes of the robot talk to each other until it has reached its goal.
pub fn drives_to_its_goal() {
    // navigation → communication → localization, each in its own container.
    arrives("/main/cmd_vel", "geometry_msgs/msg/Twist", &["--count", "3"]);
    arrives("/main/odom", "nav_msgs/msg/Odometry", &["--count", "3"]);
    arrives("/main/match_status", "robot_interfaces/msg/MatchStatus", &["--where", "state=SUCCEEDED"]);
    MAIN.wait_until_healthy();
}

/// The state of the health check of a service.
fn health(service: &str) -> String {
    let container = format!("{PROJECT}-{service}-1");
    MAIN.exec(&["docker", "inspect", "--format", "{{.State.Health.Status}}", &container])
}

pub fn a_service_is_healthy_by_the_nodes_and_topics_of_the_graph(lab: &Lab) {
    let workspace = lab.deployed();
    let compose = workspace.read("docker/compose.yaml");
    let (before, rest) = compose.split_once("  healthcheck:\n").unwrap();
    let (_, after) = rest.split_once("  environment:\n").unwrap();
    let compose = format!("{before}  environment:\n{after}");
    let expect = |what: &str| {
        let service = "  localization:\n    <<: *node\n";
        workspace.write(
            "docker/compose.yaml",
            compose.replace(service, &format!("{service}    x-robot: {what}\n")),
        );
    };
    expect("{ nodes: [/main/localization], topic: [/main/odom] }");
    workspace.xtask(&["deploy", "--robot", "main"]).expect_exit(2).says("unknown field `topic`");
    expect("{ nodes: [\"/${ROBOT_NAME}/localization\"], topics: [/main/odom] }");
    lab.deploy(MAIN);
    assert_eq!(health("localization").trim(), "healthy");
    let watchers =
        "docker top e2e-localization-1 | grep -c \"python.*graph-watcher\"".replace("e2e", &PROJECT);
    assert_eq!(MAIN.sh(&watchers).trim(), "1", "one node looks at the graph, and stays");

    // The robot goes back, and says what was missing.
    expect("{ nodes: [/main/localisation] }");
    workspace.edit("robots.toml", "settle = 2\n", "settle = 2\ndeadline = 12\n");
    let failed = workspace.xtask(&["deploy", "--robot", "main", "--yes"]).expect_exit(5);
    failed.says("node /main/localisation is not in the ROS graph");
    eventually("the release before to be healthy", || {
        (health("localization").trim() == "healthy").then_some(())
    });
}

pub fn a_node_in_cpp_publishes_on_the_robot(lab: &Lab) {
    let workspace = lab.deployed();
    // Never built before, so that each step compiles what it has to.
    let new = format!("{:?}", std::time::SystemTime::now());
    for (file, text) in [
        ("package.xml", include_str!("beacon/package.xml")),
        ("CMakeLists.txt", include_str!("beacon/CMakeLists.txt")),
        ("src/beacon.cpp", &format!("// {new}\n{}", include_str!("beacon/src/beacon.cpp"))),
    ] {
        workspace.write(&format!("ros_ws/src/beacon/{file}"), text);
    }
    let image = "[images.beacon]\nbase = \"ros\"\npackages = [\"beacon\"]\n\n[robots.main]";
    workspace.edit("robots.toml", "[robots.main]", image);
    let service = "services:
  beacon:
    <<: *node
    image: eurobot:beacon
    command: ros-run beacon beacon --ros-args -r __ns:=/${ROBOT_NAME}
    healthcheck: { disable: true }
";
    let service = service.replace("eurobot", &PROJECT);
    workspace.edit("docker/compose.yaml", "services:\n", &service);
    lab.deploy(MAIN).says("`libpython3.13` is apt:libpython3.13");
    arrives("/main/beat", "std_msgs/msg/Int32", &["--count", "3"]);
    let executable = "/opt/ws/install/beacon/lib/beacon/beacon";
    let container = format!("{PROJECT}-beacon-1");
    let magic = MAIN.exec(&["docker", "exec", &container, "head", "-c", "4", executable]);
    assert_eq!(magic, "\u{7f}ELF");

    // Another description compiles nothing; another standard does.
    let compiles = || {
        workspace.xtask(&["build-images", "beacon"]).expect_exit(0);
        workspace.read("target/xtask/build/log").contains("Building CXX object")
    };
    workspace.edit("ros_ws/src/beacon/package.xml", "A node in C++", "A node of tests in C++");
    assert!(!compiles());
    workspace.edit("ros_ws/src/beacon/CMakeLists.txt", "project(", "set(CMAKE_CXX_STANDARD 20)\nproject(");
    assert!(compiles());
}
