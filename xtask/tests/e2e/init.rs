//! A team's own repository, which has nothing for xtask yet.

use super::harness::{Lab, PROJECT, Workspace, output};

pub fn a_colcon_workspace_becomes_a_running_robot(lab: &Lab) {
    let team = Workspace::empty();
    team.write("src/README", "packages\n");
    output(&["cp", "-R", lab.workspace.path("ros_ws/src/bringup"), team.path("src/")]);
    team.git(&["init", "--quiet"]);
    team.commit("Before");
    team.xtask(&["init"]).expect_exit(2).says("robots.toml: new").says("`--yes` writes without asking");
    assert_eq!(team.git(&["status", "--porcelain"]), "", "nothing is written");
    team.xtask(&["init", "--yes"]).expect_exit(0).says("cargo xtask deploy --robot main");
    drop(team.xtask(&["init", "--yes"]).expect_exit(0).never_says("robots.toml: new"));
    // Robots of tests have the names of their lab.
    team.edit("robots.toml", "name = \"workspace\"", &format!("name = \"{PROJECT}-team\""));
    team.edit("docker/compose.yaml", "image: workspace:robot", &format!("image: {PROJECT}-team:robot"));

    team.xtask(&["deploy", "--robot", "main", "--yes"]).expect_exit(0);
    let help = ["exec", "--robot", "main", "robot", "--", "ros-run", "bringup", "wait_for_topic", "--help"];
    team.xtask(&help).expect_exit(0).says("--timeout");
    team.xtask(&["sim", "down", "main"]).expect_exit(0);
}
