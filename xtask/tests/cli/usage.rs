//! The command line itself: help, mistakes, exit codes.

use super::lab::{Lab, in_order, robot};

const VERBS: [&str; 32] = [
    "deploy",
    "build-images",
    "publish",
    "load-bundle",
    "bench",
    "setup",
    "doctor",
    "setup-robot",
    "sim",
    "sim up",
    "sim down",
    "sim status",
    "tunnel",
    "ssh",
    "logs",
    "start",
    "stop",
    "restart",
    "exec",
    "shell",
    "run",
    "env",
    "pull-data",
    "status",
    "releases",
    "rollback",
    "history",
    "prune",
    "watch",
    "dev-shell",
    "test",
    "completions",
];

#[test]
fn every_verb_has_a_short_help_that_fits_the_terminal() {
    let lab = Lab::new();
    let all = lab.run(&["--help"]).expect(0).stdout;
    in_order(&all, &["Usage: cargo xtask", "Examples:", "Exit codes:", "0    done", "1    failed"]);
    for verb in VERBS {
        let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let help = lab.run(&words).expect(0).stdout;
        in_order(&help, &[&format!("Usage: cargo xtask {verb}"), "--dry-run"]);
        let about = help.lines().next().unwrap();
        assert!(!about.is_empty() && !about.ends_with('.'), "{verb}: {about}");
        let help_of_example = help.lines().find(|line| line.trim_start().starts_with("cargo xtask"));
        if let Some(example) = help_of_example.filter(|_| verb != "completions") {
            assert!(example.contains(verb), "{verb}: {example}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
    assert!(lab.calls().is_empty());
}

#[test]
fn mistakes_on_the_command_line_are_exit_code_two() {
    let lab = Lab::with(&(robot("main") + &robot("secondary")));
    lab.run(&[]).expect(2).says(&["Usage: cargo xtask", "deploy"]);
    lab.run(&["depoly"]).expect(2).says(&["unrecognized subcommand 'depoly'", "deploy"]);
    lab.run(&["deploy", "--dryrun"]).expect(2).says(&["unexpected argument '--dryrun'", "--dry-run"]);
    lab.run(&["deploy", "main"]).expect(2).says(&["unexpected argument 'main'"]);
    lab.run(&["deploy", "--all", "--robot", "main"]).expect(2);
    lab.run(&["deploy", "--all", "--via", "pigeon"]).expect(2).says(&["'pigeon'", "registry, archive"]);
    lab.run(&["deploy", "--all", "--via", "archive", "--plan"])
        .expect(2)
        .says(&["`--plan` supports only deploys through the registry", "leave out `--via`"]);
    lab.run(&["deploy"])
        .expect(2)
        .says(&["which robot?", "`--robot NAME`, with one or more of main, secondary; or `--all`"]);
    lab.run(&["tunnel"]).expect(2).says(&["which robot?", "`--robot NAME`, with one of main, secondary\n"]);
    for verb in ["deploy", "tunnel", "ssh", "setup-robot", "build-images"] {
        let ran = lab.run(&[verb, "--robot", "mian"]).expect(2);
        in_order(&ran.stderr, &["error: no robot `mian` in `robots.toml`", "help: ", "main"]);
    }
    lab.run(&["sim", "down", "mian"]).expect(2).says(&["no robot `mian`"]);
    lab.run(&["sim", "up", "main"]).expect(2).says(&["`main` is a real robot", "`simulated = true`"]);
    lab.run(&["build-images", "navigatoin"]).expect(2).says(&["no image `navigatoin`", "navigation"]);
    lab.run(&["build-images", "--platform", "arm64"]).expect(2).says(&["arm64", "linux/arm64"]);
    lab.run(&["test", "--only", "e2e,scripts", "locks"])
        .expect(2)
        .says(&["only the checks unit and e2e accept names of tests"]);
    lab.run(&["test", "--only", "unit", "--keep"]).expect(2).says(&["`--keep` are for the end-to-end tests"]);
    lab.run(&["test", "--only", "machines"]).expect(2).says(&["no check `machines`", "ros, e2e"]);
    let changes = |call: &String| !call.starts_with("docker info");
    assert!(!lab.calls().iter().any(changes), "{:#?}", lab.calls());
}

#[test]
fn robots_toml_is_found_from_anywhere_inside_and_missed_outside() {
    let lab = Lab::new();
    let inside = lab.root.join("ros_ws/src/navigation");
    let output = lab.command(&["build-images", "--print-dockerfile"]).current_dir(inside).output().unwrap();
    assert!(output.status.success());
    let output = lab.command(&["deploy"]).current_dir(&lab.home).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("robots.toml"));
}

#[test]
fn where_there_is_one_robot_it_need_not_be_named() {
    let lab = Lab::new();
    lab.run(&["ssh", "--", "true"]).expect(0);
    let calls = lab.calls();
    let is_to_robot = |call: &String| call.starts_with("ssh ") && call.contains("-- nuc@main.lab ");
    assert!(calls.iter().all(is_to_robot), "no Docker is asked for on the way to a real robot: {calls:#?}");
    let last = calls.last().unwrap();
    assert!(last.trim_end_matches('\'').ends_with(" ssh true true"), "{last}");
}
