//! Creation and removal of simulated robots.

use super::harness::{Engine, Lab, MAIN, PROJECT, output};

pub fn up_and_down_can_be_repeated_and_leave_nothing(lab: &Lab) {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&["sim", "up", "main", "--yes"]).expect_exit(0);
    let id = || output(&["docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &MAIN.container()]);
    let before = id();
    workspace.xtask(&["sim", "up", "main", "--yes"]).expect_exit(0);
    assert_eq!(id(), before, "one that is up stays as it is");

    let shaped = workspace.xtask(&["sim", "up", "main", "--link", "5mbit", "--yes"]);
    shaped.expect_exit(0).says("5Mbit");
    workspace.xtask(&["sim", "status"]).expect_exit(0).says("5Mbit");
    for _ in 0..2 {
        workspace.xtask(&["sim", "down"]).expect_exit(0);
        assert_eq!(Engine::simulation(&PROJECT), [""; 0]);
    }
    workspace.xtask(&["sim", "status"]).expect_exit(0).says("not created");
}
