//! A robot that is reached like a real one: by address, with a key from the agent, and with a host key pinned
//! in `robots.known_hosts`.

use super::harness::{Agent, Lab, MAIN, PROJECT, Workspace, output};

/// Adds a robot `wired` to robots.toml: `main` by its address.
fn wire<'a>(lab: &'a Lab, platform: &str) -> (&'a Workspace, Agent) {
    let workspace = lab.deployed();
    let port = output(&["docker", "port", &MAIN.container(), "22/tcp"]);
    let port = port.rsplit(':').next().unwrap();
    let config = workspace.read("robots.toml");
    let robot = format!(
        "{config}\n[robots.wired]\nhost = \"robot@127.0.0.1:{port}\"\ncompose = \"docker/compose.yaml\"\n\
         env = {{ ROS_DOMAIN_ID = \"7\", ROBOT_NAME = \"main\" }}\nplatform = \"{platform}\"\n"
    );
    workspace.write("robots.toml", robot);
    let agent = Agent::with_key(workspace, "target/xtask/sim/id_ed25519");
    (workspace, agent)
}

fn key() -> String {
    let key = MAIN.sh("cut -d' ' -f2 /var/lib/docker/robot/ssh_host_ed25519_key.pub");
    format!("wired ssh-ed25519 {key}")
}

pub fn an_unknown_key_is_refused_until_it_is_recorded(lab: &Lab) {
    let (workspace, agent) = wire(lab, "linux/amd64");
    let deploy = ["deploy", "--robot", "wired", "--yes"];
    agent
        .run(workspace, &deploy)
        .expect_exit(3)
        .says("has not been recorded")
        .says("cargo xtask setup-robot --robot wired");
    let asks = agent.run(workspace, &["setup-robot", "--robot", "wired"]);
    asks.expect_exit(3).says("was not confirmed");
    agent.run(workspace, &["setup-robot", "--robot", "wired", "--yes"]).expect_exit(0);
    assert_eq!(workspace.read("robots.known_hosts").trim(), key());
    // It is the same robot under another name, and up to date.
    agent.run(workspace, &deploy).expect_exit(0).says("nothing changed");
}

pub fn a_changed_key_is_refused_until_it_is_replaced(lab: &Lab) {
    let (workspace, agent) = wire(lab, "linux/amd64");
    agent.run(workspace, &["setup-robot", "--robot", "wired", "--yes"]).expect_exit(0);
    let services = MAIN.services();
    MAIN.sh("cd /var/lib/docker/robot; rm ssh_host_ed25519_key*; \
             ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key; kill -HUP $(cat /run/sshd.pid)");
    let deploy = ["deploy", "--robot", "wired", "--yes"];
    let remedy = "cargo xtask setup-robot --robot wired --new-host-key";
    agent.run(workspace, &deploy).expect_exit(3).says("host key of `wired` is not the one").says(remedy);
    agent.run(workspace, &["setup-robot", "--robot", "wired", "--yes"]).expect_exit(3).says(remedy);
    assert_eq!(MAIN.services(), services);

    agent.run(workspace, &["setup-robot", "--robot", "wired", "--new-host-key", "--yes"]).expect_exit(0);
    assert_eq!(workspace.read("robots.known_hosts").trim(), key());
    agent.run(workspace, &deploy).expect_exit(0);
    // The simulated robot has its own record.
    workspace.xtask(&["deploy", "--robot", "main", "--yes"]).expect_exit(3).says("--new-host-key");
    workspace.xtask(&["setup-robot", "--robot", "main", "--new-host-key", "--yes"]).expect_exit(0);
    lab.deploy(MAIN);
}

pub fn another_platform_is_a_mistake_in_the_configuration(lab: &Lab) {
    let (workspace, agent) = wire(lab, "linux/arm64");
    let setup = ["setup-robot", "--robot", "wired", "--yes"];
    agent
        .run(workspace, &setup)
        .expect_exit(2)
        .says("`wired` is linux/amd64, but robots.toml says linux/arm64")
        .says("platform = \"linux/amd64\"");
    let volumes = MAIN.sh("docker container ls --filter name=xtask-registry --format '{{.Image}}'");
    assert!(volumes.contains("xtask-registry:amd64"), "{PROJECT}: {volumes}");
}
