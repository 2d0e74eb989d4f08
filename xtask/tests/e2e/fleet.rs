//! Several robots in one deploy.

use super::harness::{Engine, Lab, MAIN, ODOMETRY, PROJECT, SECONDARY, eventually};

const BOTH: [&str; 4] = ["deploy", "--robot", "main,secondary", "--yes"];

pub fn both_image_stores_get_the_same_images(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.xtask(&BOTH).expect_exit(0);
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        // Images that an engine has are not delivered again, even if its registry has lost them.
        MAIN.assert_engine_has_built(image);
        SECONDARY.assert_engine_has_built(image);
    }
    assert_eq!(SECONDARY.services().len(), 4);
    let before = (MAIN.services(), SECONDARY.services());
    workspace.xtask(&BOTH).expect_exit(0).says("nothing changed");
    assert_eq!((MAIN.services(), SECONDARY.services()), before);
}

pub fn robots_hear_each_other_on_a_shared_domain_only(lab: &Lab) {
    lab.deployed().xtask(&BOTH).expect_exit(0);
    let hears = |domain: &str, timeout: &str| {
        let domain = format!("ROS_DOMAIN_ID={domain}");
        let image = format!("{PROJECT}:navigation");
        let docker = ["docker", "run", "--rm", "--network=host", "--env", &domain, &image];
        let probe = ["ros-run", "bringup", "wait_for_topic", "/main/odom", "nav_msgs/msg/Odometry"];
        SECONDARY.can(&[&docker[..], &probe, &["--timeout", timeout]].concat())
    };
    assert!(hears("7", "60"), "a probe on the domain of main hears main, from robot to robot");
    assert!(!hears("8", "5"), "its own nodes do not");
    // The services would slow down other tests.
    lab.workspace.xtask(&["stop", "--robot", "secondary"]).expect_exit(0);
}

pub fn two_clones_on_one_machine_do_not_mix_their_images(lab: &Lab) {
    let workspace = lab.deployed();
    let theirs = workspace.clone_privately();
    theirs.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # of the other clone");
    // The robot is made again, to accept the key of that clone.
    theirs.xtask(&["deploy", "--robot", "secondary", "--yes"]).expect_exit(0);
    let image = format!("{PROJECT}:localization");
    let before = Engine::layers(&image);
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # of this clone");
    // However long the other clone takes.
    let patience = ["20", "300"].map(|it| format!("[robots.main]\nsimulated = true\nreconnect = {it}"));
    workspace.edit("robots.toml", &patience[0], &patience[1]);
    MAIN.cut_link();
    let ours = workspace.start(&["deploy", "--robot", "main", "--yes"]);
    let built = eventually("its build", || Some(Engine::layers(&image)).filter(|layers| *layers != before));
    theirs.edit(ODOMETRY, "of the other clone", "of the other clone, again");
    theirs.xtask(&["deploy", "--robot", "secondary", "--yes"]).expect_exit(0);
    assert_eq!(SECONDARY.layers("localization"), Engine::layers(&image));
    MAIN.mend_link();
    ours.wait_for_all().expect_exit(0);
    assert_eq!(MAIN.layers("localization"), built);
    assert_ne!(Engine::layers(&image), built, "both clones built the same");
}

pub fn a_robot_that_is_off_does_not_stop_the_other(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.xtask(&BOTH).expect_exit(0);
    let there = SECONDARY.services();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # for who is there");
    // On the network this looks like a robot without power.
    SECONDARY.cut_link();
    let run = workspace.xtask(&BOTH);
    SECONDARY.mend_link();
    run.expect_exit(3).says("`secondary`").says("does not answer").says("1 of 2 robots failed: secondary");
    MAIN.assert_has_built("localization");
    assert_eq!(SECONDARY.services(), there);

    workspace.xtask(&BOTH).expect_exit(0);
    SECONDARY.assert_has_built("localization");
    assert_ne!(SECONDARY.services()["localization"], there["localization"]);
}
