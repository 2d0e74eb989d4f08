//! Ctrl-C and SIGTERM in the middle of a deploy.

use super::lab::{Lab, Running};
use super::registry::Registry;

/// A deploy whose `docker push` runs this script and has reached it.
fn pushing(lab: &Lab, push: &str) -> Running {
    lab.on("docker", "'push '*", push);
    let running = lab.start(&["deploy"]);
    lab.wait_for("the push", || !lab.bytes("pushing").is_empty());
    running
}

/// Records its process id and hangs until it is killed.
const HANGS: &str = "echo $$ >\"$lab/pushing\"; exec sleep 600";

#[test]
fn a_signal_takes_the_tag_back_and_ends_the_connection() {
    for signal in ["INT", "TERM", "HUP"] {
        let lab = Lab::new();
        let _registry = Registry::start(&lab);
        let running = pushing(&lab, HANGS);
        running.signal(signal);
        running.end().expect(130).says(&["interrupted"]);
        assert_eq!(lab.calls_of("docker image rm 127.0.0.1:").len(), 1, "{signal}: {:#?}", lab.calls());
        assert!(lab.all_masters_are_gone(), "{signal}");
        assert!(lab.all_gone("pushing"), "{signal}: the push goes on");
        assert!(lab.temporary_files().is_empty(), "{signal}: {:?}", lab.temporary_files());
        assert!(lab.calls().iter().all(|call| !call.contains("launch eurobot")));
    }
}

#[test]
fn a_signal_ends_both_ends_of_a_pipe() {
    for signal in ["INT", "TERM"] {
        let lab = Lab::new();
        let _registry = Registry::start(&lab);
        lab.on("ssh", "*'sh -s -- xtask-registry '*", "cat >/dev/null; echo image missing");
        lab.on("docker", "'save '*", HANGS);
        let running = lab.start(&["deploy"]);
        lab.wait_for("the registry's image", || !lab.bytes("pushing").is_empty());
        running.signal(signal);
        running.end().expect(130).says(&["interrupted"]);
        assert!(lab.all_gone("pushing"), "{signal}: `docker save` goes on");
        assert!(lab.all_masters_are_gone(), "{signal}");
    }
}

#[test]
fn a_signal_ends_the_waiting_for_a_shell_that_hangs() {
    for signal in ["INT", "TERM"] {
        let lab = Lab::new();
        let hangs = "echo $$ >>\"$lab/hanging\"; echo Welcome; exec sleep 600";
        lab.on("ssh", "*ControlMaster=yes*", hangs);
        let running = lab.start(&["deploy"]);
        lab.wait_for("the connection", || !lab.bytes("hanging").is_empty());
        running.signal(signal);
        running.end().expect(130).says(&["interrupted"]);
        assert!(lab.all_gone("hanging") && lab.temporary_files().is_empty(), "{signal}");
    }
}

#[test]
fn a_second_signal_does_not_end_the_clean_up() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on(
        "docker",
        "'image rm '*",
        ": >\"$lab/cleaning\"; while [ ! -e \"$lab/go\" ]; do sleep 0.01; done; : >\"$lab/cleaned\"",
    );
    let running = pushing(&lab, HANGS);
    running.signal("INT");
    lab.wait_for("the clean-up", || lab.exists("cleaning"));
    running.signal("INT");
    running.signal("TERM");
    lab.write("../go", "");
    running.end().expect(130);
    assert!(lab.exists("cleaned") && lab.all_masters_are_gone());
}

#[test]
fn a_second_signal_kills_what_ignores_the_first() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let stubborn = "trap ': >\"$lab/asked\"' TERM; echo $$ >\"$lab/pushing\"; while :; do sleep 0.01; done";
    let running = pushing(&lab, stubborn);
    running.signal("INT");
    lab.wait_for("the first signal", || lab.exists("asked"));
    running.signal("INT");
    running.end().expect(130);
    assert!(lab.all_gone("pushing") && lab.all_masters_are_gone());
}

#[test]
fn a_tunnel_held_open_ends_with_ctrl_c() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let running = lab.start(&["tunnel", "--robot", "main"]);
    lab.wait_for_call("docker image inspect");
    lab.wait_for("the tunnel", || lab.calls().iter().any(|call| call.contains("-O forward")));
    running.signal("INT");
    running.end().expect(0);
    assert!(lab.all_masters_are_gone() && lab.temporary_files().is_empty());
}
