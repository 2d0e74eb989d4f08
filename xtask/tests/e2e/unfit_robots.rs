//! Robots that can be reached but not deployed to.

use super::harness::{Lab, MAIN, ODOMETRY, PROJECT};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

pub fn a_stopped_engine_is_named(lab: &Lab) {
    let workspace = lab.deployed();
    MAIN.exec(&["robotctl", "docker", "stop"]);
    workspace
        .xtask(&DEPLOY)
        .expect_exit(1)
        .says("Docker on `main` does not run")
        .says("systemctl start docker");
    MAIN.exec(&["robotctl", "docker", "start"]);
    MAIN.wait_for_services(4);
    lab.deploy(MAIN);
}

pub fn a_user_without_the_right_to_docker_is_told(lab: &Lab) {
    let workspace = lab.deployed();
    let services = MAIN.services();
    MAIN.exec(&["gpasswd", "--delete", "robot", "docker"]);
    let refused = workspace.xtask(&DEPLOY);
    MAIN.exec(&["gpasswd", "--add", "robot", "docker"]);
    refused.expect_exit(1).says("may not use Docker on `main`").says("usermod -aG docker");
    assert_eq!(MAIN.services(), services);
}

pub fn a_server_that_forwards_no_ports_is_told(lab: &Lab) {
    let workspace = lab.deployed();
    let services = MAIN.services();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # without a tunnel");
    let config =
        |script: &str| MAIN.sh(&format!("cd /etc/ssh && {script} sshd_config && pkill -HUP -o sshd"));
    config("sed -i '1i AllowTcpForwarding no'");
    let refused = workspace.xtask(&DEPLOY);
    let archive = workspace.xtask(&["deploy", "--robot", "main", "--via", "archive", "--yes"]);
    config("sed -i '/^AllowTcpForwarding no/d'");
    refused
        .expect_exit(1)
        .says("the SSH server of `main` forwards no ports")
        .says("`AllowTcpForwarding local` in /etc/ssh/sshd_config")
        .says("--via archive");
    drop(archive.expect_exit(0));
    assert_ne!(MAIN.services(), services);
    lab.deploy(MAIN);
}

/// Small robots have BusyBox instead of the GNU tools: nothing of theirs is needed.
pub fn a_robot_with_busybox_is_served(lab: &Lab) {
    let workspace = lab.deployed();
    let others = "busybox|init|reboot|poweroff|halt|su|login|passwd|mount|umount|modprobe|nsenter|ip";
    MAIN.sh(&format!(
        "cd /usr/local/bin && mkdir -p tools && docker cp {PROJECT}-localization-1:/bin/busybox tools/ && \
         for name in $(tools/busybox --list); do \
         case $name in {others}) ;; *) [ -e $name ] || ln -s tools/busybox $name ;; esac; done"
    ));
    // The flock(1) of BusyBox waits without a limit only; Debian's BusyBox has none.
    MAIN.sh("cd /usr/local/bin && rm -f flock && echo '#!/bin/sh' >flock && \
         echo 'case $1 in -w*) exit 1 ;; esac; exec /usr/bin/flock \"$@\"' >>flock && chmod +x flock");
    let tools = workspace.xtask(&[
        "ssh",
        "--robot",
        "main",
        "--",
        "sh",
        "-c",
        "for name in sh flock timeout tar; do command -v $name; done",
    ]);
    // The shell of BusyBox has the other tools in itself.
    assert_eq!(tools.stdout.lines().collect::<Vec<_>>(), ["sh", "/usr/local/bin/flock", "timeout", "tar"]);
    let running = || MAIN.services()["localization"].reference.clone();
    let before = running();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # small");
    lab.deploy(MAIN);
    MAIN.assert_has_built("localization");
    // A release that is rolled back, and one that a person gives up.
    let services = MAIN.services();
    let job = "  job:\n    image: PROJECT:localization\n    command: [\"false\"]\n";
    let compose = workspace.read("docker/compose.yaml");
    workspace.write("docker/compose.yaml", compose.clone() + &job.replace("PROJECT", &PROJECT));
    workspace.xtask(&DEPLOY).expect_exit(5).says("job ended with exit code 1");
    assert_eq!(MAIN.services(), services);
    workspace.write("docker/compose.yaml", compose);
    for verb in ["rollback", "prune", "stop", "start", "data"] {
        drop(workspace.xtask(&[verb, "--robot", "main"]).expect_exit(0));
    }
    assert_eq!(running(), before);
    lab.deploy(MAIN);
    assert_ne!(running(), before);
    MAIN.exec(&["/usr/bin/find", "/usr/local/bin", "-lname", "tools/busybox", "-delete"]);
    MAIN.sh("rm /usr/local/bin/flock");
    workspace.reset();
    lab.deploy(MAIN);
}
