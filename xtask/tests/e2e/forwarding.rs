//! Connections to robots by a user whose `~/.ssh/config` forwards everything: root on a robot must not be
//! able to use that.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::harness::{Agent, Lab, MAIN, output};

/// A port that nothing else on the robot listens on.
const PORT: u16 = 5999;

pub fn nothing_of_this_machine_is_forwarded(lab: &Lab) {
    let workspace = lab.deployed();
    let (config, ssh) = (workspace.path("../ssh_config"), workspace.path("../bin/ssh"));
    workspace.write("../ssh_config", format!("Host *\nForwardAgent yes\nRemoteForward {PORT} 127.0.0.1:1\n"));
    // `ssh` looks up the user's home by uid and ignores HOME.
    let real = output(&["sh", "-c", "command -v ssh"]);
    workspace.write("../bin/ssh", format!("#!/bin/sh\nexec {real} -F '{config}' \"$@\"\n"));
    fs::set_permissions(ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", workspace.path("../bin"), std::env::var("PATH").unwrap());
    let key = "target/xtask/sim/id_ed25519";
    let agent = Agent::with_key(workspace, key);
    let environment = [agent.variable(), ("PATH", &path)];

    // Plain `ssh` does forward, as the configuration says.
    let port = output(&["docker", "port", &MAIN.container(), "22/tcp"]);
    let port = port.rsplit(':').next().unwrap();
    let by_hand = "SSH_AUTH_SOCK=$1 \"$2\" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
                   -i \"$3\" -p \"$4\" robot@127.0.0.1 'test -S \"$SSH_AUTH_SOCK\" && cat /proc/net/tcp'";
    let open = format!(":{PORT:04X}");
    let said = output(&["sh", "-c", by_hand, "sh", agent.variable().1, ssh, workspace.path(key), port]);
    assert!(said.contains(&open), "the configuration is not read: {said}");

    let look = "echo \"agent=$SSH_AUTH_SOCK\"; cat /proc/net/tcp";
    let args = ["ssh", "--robot", "main", "--", "sh", "-c", look];
    let said = workspace.start_with(&environment, &args).wait().expect_exit(0).stdout;
    assert!(said.contains("agent=\n") && !said.contains(&open), "{said}");

    let mut tunnel = workspace.start_with(&environment, &["tunnel", "--robot", "main", "--yes"]);
    tunnel.until("the port", |run| run.stdout().contains(" is the registry of main").then_some(()));
    assert_eq!(MAIN.listeners(PORT), [""; 0]);
    assert_eq!(MAIN.sh("find /tmp -path '/tmp/ssh-*/agent.*'"), "", "an agent is forwarded");
    tunnel.interrupt();
    tunnel.wait_for_all().expect_exit(0).never_says("error");
}
