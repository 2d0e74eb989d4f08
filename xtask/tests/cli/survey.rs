//! `survey.sh` in a real shell, with an engine that cannot list its images at first.

use std::fs;

use robot_deploy::robot_side::Script;

use super::shell;

/// An engine that fails to list images of `eurobot` as often as the file `failures` has lines.
const DOCKER: &str = r#"#!/bin/sh
case $* in (image*eurobot)
    left=$(sed 1d "${0%/*}/failures")
    [ -s "${0%/*}/failures" ] || { printf 'image\teurobot@<none>\tnavigation\tsha256:aa\n'; exit; }
    printf '%s' "$left" >"${0%/*}/failures"
    echo 'No such image: sha256:bb' >&2; exit 1
esac"#;

/// Output of the survey of a robot whose engine fails so often.
fn survey(failures: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("docker"), DOCKER).unwrap();
    fs::write(at("failures"), "once\n".repeat(failures)).unwrap();
    let script = format!(
        "chmod +x '{0}/docker'; HOME='{0}' PATH='{0}':$PATH; export HOME PATH; set -- eurobot 127.0.0.1:5000/x\n{1}",
        dir.path().display(),
        Script::Survey.text()
    );
    shell::run("sh", &["-s"], &script).1
}

#[test]
fn images_are_listed_again_while_one_is_being_removed() {
    for failures in [0, 1, 3] {
        let said = survey(failures);
        assert!(said.contains("image\teurobot@<none>\tnavigation\tsha256:aa"), "{failures}: {said}");
    }
    let said = survey(100);
    assert!(!said.contains("image\t") && said.contains("machine\t"), "{said}");
}
