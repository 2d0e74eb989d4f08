//! Failures between this machine and a robot: exit codes, messages, and the state left behind.

use super::answers::BAKE;
use super::lab::{Lab, Ran, robot};
use super::registry::Registry;

/// A deploy over a connection that `ssh` refuses with this message.
fn refused(words: &str) -> Ran {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.fails("ssh", "*", 255, words);
    let ran = lab.run(&["deploy"]).expect(3);
    assert!(lab.calls_of("docker push").is_empty());
    ran
}

#[test]
fn every_refusal_of_ssh_has_its_exit_code_and_remedy() {
    refused("No ED25519 host key is known for main and you have requested strict checking.\nHost key verification failed.")
        .says(&["error: the host key of `main` has not been recorded", "help: `cargo xtask setup-robot --robot main`"]);
    refused("@@@@@@@@@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nOffending key in x:1\nHost key verification failed.")
        .says(&["error: the host key of `main` is not the one in", "--new-host-key`", "another machine answers at `nuc@main.lab`"]);
    refused("nuc@main.lab: Permission denied (publickey,password).").says(&[
        "error: `main` (nuc@main.lab) does not accept your SSH key",
        "setup-robot --robot main`",
        "ssh-add",
    ]);
    refused("ssh: connect to host main.lab port 22: Connection timed out").says(&[
        "error: `main` (nuc@main.lab) does not answer",
        "caused by: ",
        "Connection timed out",
        "help: check that the robot is switched on",
    ]);
    refused("ssh: Could not resolve hostname main.lab: Name or service not known").says(&[
        "error: `main`: cannot resolve the host name of `nuc@main.lab`",
        "help: check `host` of [robots.main]",
    ]);
}

/// A deploy to a robot whose survey ends with this line.
fn surveyed(line: &str) -> Ran {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let script = format!("cat >/dev/null; printf 'machine\\t{}\\n{line}\\n'", std::env::consts::ARCH);
    lab.on("ssh", "*'sh -s -- eurobot '*", &script);
    let ran = lab.run(&["deploy"]).expect(1);
    assert!(lab.all_masters_are_gone() && lab.calls_of("docker push").is_empty());
    ran
}

#[test]
fn a_robot_whose_docker_cannot_be_used_says_why() {
    surveyed("no-docker\\tnot installed").says(&[
        "`main` has no Docker",
        "help: ",
        "sudo apt install docker.io",
    ]);
    surveyed("no-docker\\tpermission denied while trying to connect to the Docker daemon socket")
        .says(&["may not use Docker on `main`", "sudo usermod -aG docker"]);
    surveyed("no-docker\\tCannot connect to the Docker daemon at unix:///var/run/docker.sock.")
        .says(&["Docker on `main` does not run", "systemctl start docker"]);
}

#[test]
fn a_robot_of_another_architecture_is_a_mistake_in_the_configuration() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*'sh -s -- eurobot '*", "cat >/dev/null; printf 'machine\\triscv64\\n'");
    lab.run(&["deploy"]).expect(2).says(&["`main` is linux/riscv64, but robots.toml says", "platform = "]);
}

#[test]
fn one_robot_that_fails_does_not_keep_the_other_from_being_served() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let _registry = Registry::start(&lab);
    lab.fails(
        "ssh",
        "*HostKeyAlias=second*",
        255,
        "ssh: connect to host second.lab port 22: No route to host",
    );
    let ran = lab.run(&["deploy", "--all"]).expect(3).says(&["1 of 2 robots failed: second"]);
    assert!(ran.stderr.contains("second: `second` (nuc@second.lab) does not answer"), "{}", ran.stderr);
    assert!(ran.stdout.contains("main   navigation"), "{}", ran.stdout);
}

#[test]
fn robots_that_all_fail_are_all_named() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let _registry = Registry::start(&lab);
    lab.fails("ssh", "*", 255, "Connection refused");
    let ran = lab.run(&["deploy", "--all"]).expect(3).says(&["2 of 2 robots failed: main, second"]);
    assert!(ran.stderr.contains("main: `main`") && ran.stderr.contains("second: `second`"), "{}", ran.stderr);
}

#[test]
fn a_page_instead_of_a_registry_is_not_taken_for_one() {
    let lab = Lab::new();
    Registry::that_says(&lab, "<html>Please accept the terms of use</html>");
    lab.run(&["deploy"]).expect(1).says(&[
        "port 5000 on `main` is used by something that is not a registry",
        "help: `cargo xtask ssh --robot main -- ",
    ]);
    assert!(lab.calls_of("docker push").is_empty(), "nothing is sent to it");
}

#[test]
fn an_image_that_arrived_differently_is_not_started() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let metadata = String::from_utf8(lab.bytes("metadata")).unwrap();
    std::fs::write(lab.dir.join("metadata"), metadata.replace("sha256:", "sha256:0")).unwrap();
    lab.run(&["deploy"]).expect(1).says(&[
        "the robot's registry has sha256:",
        "instead of sha256:0",
        "deploy again",
    ]);
    assert!(lab.calls().iter().all(|call| !call.contains("launch eurobot")));
    let (given, removed) = (lab.calls_of("docker tag "), lab.calls_of("docker image rm 127.0.0.1:"));
    assert!(
        !given.is_empty() && given.len() == removed.len(),
        "the temporary tags are gone: {given:#?} {removed:#?}"
    );
}

#[test]
fn a_failed_build_is_told_once_and_touches_no_robot() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let _registry = Registry::start(&lab);
    lab.fails(
        "docker",
        "'buildx bake '*",
        17,
        "ERROR: process \"build-package navigation\" did not complete",
    );
    let ran = lab.run(&["deploy", "--all"]).expect(1);
    assert_eq!(ran.stderr.matches("error:").count(), 1, "{}", ran.stderr);
    assert!(lab.calls().iter().all(|call| !call.contains("xtask-registry ") && !call.contains("push")));
    assert!(lab.all_masters_are_gone());
}

#[test]
fn a_push_that_fails_over_a_live_connection_is_not_repeated() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.fails("docker", "'push '*", 1, "denied: no space left on device");
    lab.run(&["deploy"]).expect(1).says(&["error: push `camera`", "no space left on device"]);
    assert_eq!(lab.calls_of("docker push").len(), 1);
    assert_eq!(lab.calls_of("docker image rm 127.0.0.1:").len(), 1);
}

#[test]
fn a_connection_that_drops_while_pushing_is_made_again() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on(
        "docker",
        "'push '*camera",
        // The last connection is the push's own. Wait until the process is a zombie: ended, but not yet
        // waited for.
        "[ -e \"$lab/dropped\" ] && exit 0; : >\"$lab/dropped\"
         while read -r next; do master=$next; done <\"$lab/masters\"; kill $master
         while read -r _ _ state _ 2>/dev/null </proc/$master/stat && [ \"$state\" != Z ]; do :; done; exit 1",
    );
    lab.run(&["deploy"]).expect(0).says(&["the connection dropped: connected again, pushing again"]);
    assert_eq!(lab.calls_of("docker push").len(), 3, "camera twice");
    assert!(lab.all_masters_are_gone());
}

#[test]
fn a_build_that_hits_the_race_of_buildkit_is_retried_once() {
    let lost = "ERROR: failed to solve: failed to get edge: inconsistent graph state";
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let once = format!("if [ ! -e \"$lab/lost\" ]; then : >\"$lab/lost\"; echo '{lost}'; exit 1; fi\n{BAKE}");
    lab.on("docker", "'buildx bake '*", &once);
    lab.run(&["build-images"]).expect(0).says(&["inconsistent graph state", "trying again"]);
    lab.on("docker", "'buildx bake '*", &format!("echo '{lost}'; exit 1"));
    lab.run(&["build-images", "--no-cache"]).expect(1).says(&["trying again", "docker buildx bake"]);
}

/// Cuts the connections while the robot pulls.
pub(crate) const LOSES_LINK: &str = r#"cat >/dev/null
for master in $(cat "$lab/masters"); do
    kill "$master" 2>/dev/null || continue
    while [ -e "/proc/$master" ] && ! grep -qs '^State:.Z' "/proc/$master/status"; do sleep 0.01; done
done
exit 255"#;

/// Number of pulls that the robot was asked for.
fn pulls(lab: &Lab) -> usize {
    lab.calls_of("ssh ").iter().filter(|call| call.contains("sh -s -- 127.0.0.1:5000/eurobot@")).count()
}

#[test]
fn a_link_that_is_lost_while_the_robot_pulls_is_made_again() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let once = format!(
        "if [ -e \"$lab/lost\" ]; then cat >/dev/null; : >\"$lab/pulled\"; cat \"$lab/images\"; exit; fi\n\
         : >\"$lab/lost\"\n{LOSES_LINK}"
    );
    lab.on("ssh", "*'sh -s -- 127.0.0.1:5000/'*", &once);
    lab.run(&["deploy"]).expect(0).says(&["the connection dropped: connecting again"]);
    assert_eq!(pulls(&lab), 2);
    assert!(lab.all_masters_are_gone());
}

#[test]
fn a_link_that_is_lost_whenever_the_robot_pulls_is_given_up() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*'sh -s -- 127.0.0.1:5000/'*", LOSES_LINK);
    lab.run(&["deploy"])
        .expect(3)
        .says(&["the connection to `main` keeps dropping", "help: what arrived is kept on the robot"]);
    assert_eq!(pulls(&lab), 5);
}

#[test]
fn a_tunnel_that_cannot_be_opened_over_the_new_connection_is_tried_again() {
    let lab = Lab::with(&robot("main").replace("reconnect = 0", "reconnect = 20"));
    let _registry = Registry::start(&lab);
    let forward = r#"while [ "$1" != -L ]; do shift; done
if [ -e "$lab/lost" ] && [ ! -e "$lab/refused" ]; then : >"$lab/refused"; exit 1; fi
echo "${2%:127.0.0.1:5000}" >>"$lab/forwards"
ln -s "$lab/registry" "${2%:127.0.0.1:5000}""#;
    lab.on("ssh", "*'-O forward'*", forward);
    // The forwarding ends with its connection.
    let push = format!(
        "[ -e \"$lab/lost\" ] && exit\n: >\"$lab/lost\"\nrm -f $(cat \"$lab/forwards\")\n{LOSES_LINK}"
    );
    lab.on("docker", "'push '*", &push);
    lab.run(&["deploy"]).expect(0).says(&["the connection dropped: connected again, pushing again"]);
    assert!(lab.exists("refused"));
}
