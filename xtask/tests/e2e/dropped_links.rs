//! A connection that ends in the middle of a delivery.

use super::harness::{Lab, MAIN, MAP, Rival, incompressible, kill};

pub fn a_push_survives_the_death_of_its_connection(lab: &Lab) {
    let workspace = lab.deployed();
    // Eight seconds of sending, at least, and all of it the push's.
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    workspace.write(MAP, incompressible(20_000_000));
    let _rival = Rival::at(MAIN);
    let mut deploy = workspace.start(&["deploy", "--robot", "main", "--yes"]);
    deploy.until_it_runs(&["docker push", "/e2e:"]);
    MAIN.wait_until_it_has_received(5_000_000);
    kill(deploy.until_it_runs(&["ssh", "Compression=yes", "ControlMaster=yes"]));
    deploy.wait_for_all().expect_exit(0).says("connected again, pushing again");
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);

    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    let size = MAIN
        .sh("docker exec e2e-navigation-1 stat -c %s /opt/ws/install/bringup/share/bringup/config/map.yaml");
    assert_eq!(size, "20000000");
}
