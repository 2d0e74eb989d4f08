//! What people do between deploys: looking, stopping, starting, trying something in a container.

use super::harness::{Lab, MAIN, PROJECT, SECONDARY};

const ALL: [&str; 4] = ["behavior_tree", "communication", "localization", "navigation"];

pub fn logs_are_those_of_the_services_asked_for(lab: &Lab) {
    let workspace = lab.deployed();
    lab.deploy(SECONDARY);
    let one = workspace.xtask(&["logs", "--robot", "main", "navigation"]).expect_exit(0);
    let lines: Vec<&str> = one.stdout.lines().collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("navigation-1 ")), "{lines:?}");
    let short = workspace.xtask(&["logs", "--robot", "main", "--tail", "1", "navigation"]).expect_exit(0);
    assert_eq!(short.stdout.lines().count(), 1, "{}", short.stdout);
    let all = workspace.xtask(&["logs", "--all"]).expect_exit(0);
    for robot in ["main     ", "secondary"] {
        for service in ALL {
            let beginning = format!("{robot}  {service}-1 ");
            assert!(
                all.stdout.lines().any(|line| line.starts_with(&beginning)),
                "{beginning}\n{}",
                all.stdout
            );
        }
    }
}

pub fn logs_are_followed_until_ctrl_c(lab: &Lab) {
    let workspace = lab.deployed();
    let mut logs = workspace.start(&["logs", "--robot", "main", "--follow", "--tail", "0"]);
    logs.until_it_runs(&["docker compose", "--follow"]);
    MAIN.sh(&format!("docker exec {PROJECT}-navigation-1 sh -c 'echo said just now >/proc/1/fd/1'"));
    logs.until("the line", |run| run.stdout().contains("said just now").then_some(()));
    logs.interrupt();
    logs.wait_for_all().expect_exit(130);
    assert_eq!(MAIN.services().len(), ALL.len());
}

pub fn one_service_is_stopped_started_and_restarted_and_no_other(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    let others = || {
        let mut services = MAIN.services();
        services.remove("localization");
        services
    };
    workspace.xtask(&["stop", "--robot", "main", "localization"]).expect_exit(0).says("exited");
    assert_eq!(MAIN.services().len(), ALL.len() - 1);
    workspace.xtask(&["start", "--robot", "main", "localization"]).expect_exit(0);
    let started = MAIN.services();
    assert_eq!(started["localization"].id, before["localization"].id);
    assert_ne!(started["localization"].started, before["localization"].started);
    workspace.xtask(&["restart", "--robot", "main", "localization"]).expect_exit(0);
    let restarted = MAIN.services();
    assert_ne!(restarted["localization"].started, started["localization"].started);
    let mut rest = before.clone();
    rest.remove("localization");
    assert_eq!(others(), rest);
    // A container that is gone is made again.
    MAIN.exec(&["docker", "rm", "--force", &format!("{PROJECT}-localization-1")]);
    workspace.xtask(&["start", "--robot", "main"]).expect_exit(0);
    assert_eq!(MAIN.services()["localization"].image, before["localization"].image);
    assert_eq!(others(), rest);
    workspace.xtask(&["stop", "--robot", "main"]).expect_exit(0);
    assert!(MAIN.services().is_empty());
    workspace.xtask(&["deploy", "--robot", "main"]).expect_exit(0);
    assert_eq!(MAIN.services().len(), ALL.len());
}

pub fn commands_in_a_container_have_the_environment_of_ros(lab: &Lab) {
    let workspace = lab.deployed();
    let exec = ["exec", "--robot", "main", "navigation", "--"];
    let run = |command: &[&str]| workspace.xtask(&[&exec[..], command].concat());
    let found = run(&["printenv", "AMENT_PREFIX_PATH"]).expect_exit(0).stdout;
    assert!(found.contains("/opt/ws/install/navigation"), "{found}");
    let odd = "it's $(id) \"two\"\nlines; -n";
    assert_eq!(run(&["printf", "%s", odd]).expect_exit(0).stdout, odd);
    run(&["false"]).expect_exit(1);
    let shell = workspace.xtask(&["shell", "--robot", "main", "navigation"]).expect_exit(0);
    assert_eq!(shell.stdout, "", "without a terminal there is nothing to read");
}

pub fn unknown_services_are_named_with_those_there_are(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    for verb in [&["logs"][..], &["stop"], &["start"], &["restart"], &["shell"]] {
        workspace
            .xtask(&[verb, &["--robot", "main", "naviagtion"]].concat())
            .expect_exit(2)
            .says("`main` has no service `naviagtion`")
            .says("did you mean `navigation`?");
    }
    workspace.xtask(&["stop", "--robot", "main", "--", "--help"]).expect_exit(2).says("no service `--help`");
    assert_eq!(MAIN.services(), before);
}
