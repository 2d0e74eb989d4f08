//! ROS messages between the containers of a robot.

use super::harness::{Lab, MAIN, PROJECT};

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
