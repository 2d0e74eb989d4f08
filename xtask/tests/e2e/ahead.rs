//! What a robot unpacks while the rest is on its way.

use super::harness::{Lab, MAIN, PROJECT, Running, eventually};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// A deploy to an empty robot over a slow link, at the moment when the robot has unpacked a part of it.
fn on_its_way(lab: &Lab) -> Running {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&["sim", "down", "main"]).expect_exit(0);
    workspace.xtask(&["build-images", "--yes"]).expect_exit(0);
    workspace.xtask(&["setup-robot", "--robot", "main"]).expect_exit(0);
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    let mut run = workspace.start(&DEPLOY);
    run.until("layers to be unpacked", |_| (nameless_images() > 0).then_some(()));
    assert!(run.stderr().lines().all(|line| !line.contains("pushed")), "others are on their way");
    assert!(MAIN.services().is_empty());
    run
}

/// How many images of the project the robot has that have no name. Whole ones have.
fn nameless_images() -> usize {
    let list = ["docker", "image", "ls", "--format", "{{.Tag}}", &format!("localhost:5000/{PROJECT}")];
    MAIN.exec(&list).lines().filter(|tag| *tag == "<none>").count()
}

pub fn layers_are_unpacked_while_others_are_on_their_way(lab: &Lab) {
    on_its_way(lab).wait_for_all().expect_exit(0);
    assert_eq!(nameless_images(), 0);
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
}

pub fn a_run_that_is_ended_leaves_nothing_of_them(lab: &Lab) {
    for signal in ["INT", "KILL"] {
        let run = on_its_way(lab);
        run.signal(signal);
        run.wait_for_all();
        eventually("the robot to remove what it has unpacked", || (nameless_images() == 0).then_some(()));
        lab.workspace.forget_temporary_files();
    }
    lab.workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    lab.deploy(MAIN);
    assert_eq!((MAIN.services().len(), nameless_images()), (4, 0));
}
