//! The first deploy to a robot, and the second one.

use super::harness::{Lab, MAIN, PROJECT};

const SERVICES: [&str; 4] = ["behavior_tree", "communication", "localization", "navigation"];

pub fn everything_arrives_on_a_fresh_robot(lab: &Lab) {
    lab.workspace.reset();
    lab.workspace.xtask(&["sim", "down", "main"]).expect_exit(0);
    lab.deploy(MAIN).says("loading the registry image");

    let services = MAIN.services();
    assert_eq!(services.keys().map(String::as_str).collect::<Vec<_>>(), SERVICES);
    let revision = lab.workspace.git(&["rev-parse", "HEAD"]);
    for (service, container) in &services {
        MAIN.assert_has_built(service);
        let reference = format!("127.0.0.1:5000/{PROJECT}@{}", MAIN.digest(service));
        assert_eq!(container.reference, reference);
        let id = MAIN.exec(&["docker", "image", "inspect", "--format", "{{.Id}}", &reference]);
        assert_eq!(container.image, id, "what runs is what was delivered");
        let label = "{{index .Config.Labels \"org.opencontainers.image.revision\"}}";
        assert_eq!(MAIN.inspect(service, label), revision);
    }
    let files = MAIN.sh(&format!("ls /home/robot/.deploy/{PROJECT}/current"));
    assert!(files.contains("compose.json"), "{files}");
    MAIN.wait_until_healthy();
}

pub fn the_registry_listens_on_loopback_only(lab: &Lab) {
    lab.deployed();
    assert_eq!(MAIN.listeners(5000), ["0100007F"], "127.0.0.1, and nothing else");
    let registry =
        MAIN.exec(&["docker", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", "xtask-registry"]);
    assert_eq!(registry, "always");
    let address = MAIN.sh("hostname -i | cut -d' ' -f1");
    let script = format!("import socket; socket.create_connection(('{address}', 5000), 2)");
    assert!(!MAIN.can(&["python3", "-c", &script]), "reachable at {address}");
}

pub fn a_second_deploy_changes_nothing(lab: &Lab) {
    lab.deployed();
    let before = (MAIN.services(), MAIN.digest("navigation"));
    lab.deploy(MAIN).says("nothing changed; nothing sent");
    assert_eq!((MAIN.services(), MAIN.digest("navigation")), before);
}
