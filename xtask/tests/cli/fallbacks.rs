//! Failures of the delta transfer: `docker push` sends the layers over a compressed connection, and the
//! output says why. A robot without room is sent nothing.

use super::lab::{Lab, Ran, in_order};
use super::registry::Registry;

/// The agent's report on a robot that has room for it.
const ROOM: &str = r#"{"held":"","spools":{},"parts":0,"disk":1000000000000,"engine":1000000000000,"shared":true,"copies":2,"memory":1000000000000}"#;

/// A deploy to a robot whose agent prints these lines, whatever it is asked, and then nothing.
fn deploy(lines: &[&str]) -> (Lab, Ran) {
    deploy_and_exit(lines, 0)
}

fn deploy_and_exit(lines: &[&str], code: i32) -> (Lab, Ran) {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on(
        "ssh",
        "*xtask-registry*python3*",
        &format!("cat <<'END'\n{}\nEND\nexec cat >/dev/null", lines.join("\n")),
    );
    let ran = lab.run(&["deploy"]).expect(code);
    (lab, ran)
}

/// Fails unless `docker push` sent the layers over its own compressed connection, and the output says why.
#[track_caller]
fn is_left_to_the_push((lab, ran): (Lab, Ran), why: &str) {
    ran.says(&[why, ": `docker push` sends whole layers", "pushed camera", "pushed navigation"]);
    assert_eq!(lab.calls_of("docker push").len(), 2);
    in_order(
        &lab.calls_of("ssh ").join("\n"),
        &["'ControlMaster=yes'", "python3", "'Compression=yes'", "'ControlMaster=yes'", "-O forward"],
    );
    assert!(lab.all_masters_are_gone() && lab.temporary_files().is_empty());
}

#[test]
fn a_robot_that_refuses_to_name_what_it_has_is_not_asked_for_ever() {
    let layer = &Registry::layer()[7..23];
    let look = ROOM.replace(r#""held":"""#, &format!(r#""held":"{layer}:400000:0""#));
    let (_lab, ran) = deploy(&[&look, r#"{"refused":"odd","why":"not today"}"#]);
    ran.says(&["not today: `docker push` sends whole layers"]);
}

#[test]
fn a_robot_without_memory_to_spare() {
    let short = ROOM.replace("\"memory\":1000000000000", "\"memory\":64000000");
    is_left_to_the_push(deploy(&[&short]), "the robot has only 64.0 MB of memory to spare");
}

#[test]
fn a_robot_without_room_is_sent_nothing() {
    let alone = ROOM.replace("\"shared\":true", "\"shared\":false");
    let small = "1000000000000,\"engine\"";
    for (look, why) in [
        (ROOM.replace(small, "100000,\"engine\""), "its disk has 100.0 kB free"),
        (alone.replace(small, "100000,\"engine\""), "its registry's disk has 100.0 kB free"),
        (alone.replace("\"engine\":1000000000000", "\"engine\":1000"), "its engine's disk has 1.0 kB free"),
    ] {
        let (lab, ran) = deploy_and_exit(&[&look], 1);
        ran.says(&["has no room for the new layers", why, "docker image prune --all"]);
        assert!(lab.calls_of("docker push").is_empty());
        assert!(lab.all_masters_are_gone() && lab.temporary_files().is_empty());
    }
}

#[test]
fn a_robot_that_another_machine_delivers_to() {
    let busy = r#"{"refused":"busy","why":"another machine is delivering to this robot"}"#;
    is_left_to_the_push(deploy(&[ROOM, busy]), "another machine is delivering to this robot");
}

#[test]
fn layers_that_this_machine_does_not_have_any_more() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    // A push that has no effect: the image has another manifest by now.
    std::fs::remove_dir_all(lab.root.join("target/xtask/layers")).unwrap();
    lab.on("docker", "'push '*/layers/*", "true");
    let ran = lab.run(&["deploy"]).expect(0);
    ran.says(&["rebuilt while they were being deployed: `docker push` sends whole layers", "pushed camera"]);
    let (exported, pushed): (Vec<String>, Vec<String>) =
        lab.calls_of("docker push").into_iter().partition(|call| call.contains("/layers/eurobot:"));
    assert_eq!((exported.len(), pushed.len()), (2, 2), "{exported:#?} {pushed:#?}");
    assert_eq!(lab.calls_of("docker image rm 127.0.0.1:").len(), 4, "the temporary tags are gone");
}

#[test]
fn a_classic_image_store_on_this_machine() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let info = super::answers::info("Debian GNU/Linux 13 (trixie)", "default");
    let classic = info.replace(
        r#"[["driver-type","io.containerd.snapshotter.v1"]]"#,
        r#"[["Backing Filesystem","extfs"]]"#,
    );
    assert_ne!(info, classic);
    lab.says("docker", "'info '*", &classic);
    lab.run(&["deploy"]).expect(0).says(&[
        "this machine's engine keeps images in the classic store: `docker push` sends whole layers",
        "pushed camera",
    ]);
    let ssh = lab.calls_of("ssh ").join("\n");
    assert!(!ssh.contains("Compression=yes"), "the push itself compresses layers of this store: {ssh}");
}
