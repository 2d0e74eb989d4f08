//! `deploy --plan`: predicts the deploy closely, and changes nothing.

use serde_json::Value;

use super::harness::{Finished, Lab, MAIN, ODOMETRY, PROJECT};

fn plan(lab: &Lab) -> Value {
    let plan = lab.workspace.xtask(&["deploy", "--robot", "main", "--plan", "--json"]).expect_exit(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    plan["robots"][0].clone()
}

/// Everything on the robot that a deploy could change.
fn snapshot() -> String {
    MAIN.sh(&format!(
        "docker ps --all --no-trunc --format '{{{{.ID}}}} {{{{.State}}}}' | sort
         docker image ls --all --no-trunc --quiet | sort
         docker volume ls --quiet | sort
         find /var/lib/docker/volumes /home/robot/.deploy -type f -printf '%p %s %T@\\n' 2>/dev/null |
             grep -v -e metadata.db -e {PROJECT}_ | sort"
    ))
}

/// Bytes that a deploy reports as sent.
fn sent(deploy: &Finished) -> f64 {
    let text = deploy.stderr.rsplit("main ").find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "sent")?;
        let number: f64 = words.get(at + 1)?.parse().ok()?;
        let unit = match *words.get(at + 2)? {
            unit if unit.starts_with("kB") => 1e3,
            unit if unit.starts_with("MB") => 1e6,
            unit if unit.starts_with('B') => 1.0,
            _ => return None,
        };
        Some(number * unit)
    });
    text.unwrap_or_else(|| panic!("no bytes in {}", deploy.stderr))
}

/// Bytes of requests that `docker push` repeats on a loaded machine.
const REQUESTS: f64 = 4_000.0;

#[track_caller]
fn assert_close(planned: &Value, sent: f64) {
    let planned = planned["bytes"].as_f64().unwrap();
    let close = (planned - sent).abs() <= 0.02 * sent + REQUESTS;
    assert!(close, "{planned} bytes were planned, {sent} sent");
}

fn layers<'a>(plan: &'a Value, how: &'a str) -> impl Iterator<Item = &'a Value> {
    let images = plan["images"].as_array().unwrap().iter();
    images.flat_map(|image| image["layers"].as_array().unwrap()).filter(move |layer| layer["how"] == how)
}

pub fn an_empty_robot_gets_what_was_planned(lab: &Lab) {
    lab.workspace.reset();
    lab.workspace.xtask(&["sim", "down", "main"]).expect_exit(0);
    // `--plan` needs a running robot, and does not create a simulated one.
    lab.workspace.xtask(&["deploy", "--robot", "main", "--plan"]).expect_exit(3);
    lab.workspace.xtask(&["sim", "up", "main"]).expect_exit(0);
    let before = snapshot();

    let plan = plan(lab);

    assert_eq!(snapshot(), before);
    assert!(layers(&plan, "whole").count() > 5 && layers(&plan, "patch").count() == 0, "{plan:#}");
    assert!(plan["registry_bytes"].as_u64().unwrap() > 1_000_000);
    assert_eq!(plan["restarts"].as_array().unwrap().len(), 4);
    assert!(plan["disk_needed"].as_u64().unwrap() < plan["disk_free"].as_u64().unwrap());
    assert_close(&plan, sent(&lab.deploy(MAIN)));
    assert!(self::plan(lab)["bytes_per_second"].as_u64() > Some(0), "the deploy has measured the link");
}

pub fn an_edit_is_planned_closely(lab: &Lab) {
    let workspace = lab.deployed();
    let nothing = plan(lab);
    assert_eq!((&nothing["bytes"], nothing["stays"].as_array().unwrap().len()), (&Value::from(0), 4));
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # planned");
    let before = (snapshot(), MAIN.services());

    let plan = plan(lab);

    assert_eq!((snapshot(), MAIN.services()), before);
    assert_eq!(plan["restarts"], serde_json::json!(["localization"]));
    assert_eq!((layers(&plan, "patch").count(), layers(&plan, "whole").count()), (1, 0));
    let people = workspace.xtask(&["deploy", "--robot", "main", "--plan"]).expect_exit(0);
    people.says("patch of").says("would be restarted: localization").says("1 layers would be sent");
    assert_close(&plan, sent(&lab.deploy(MAIN)));
}

pub fn services_that_a_release_has_no_more_are_told_of(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit("docker/compose.yaml", "  behavior_tree:\n", "  tree:\n");
    let people = workspace.xtask(&["deploy", "--robot", "main", "--plan"]).expect_exit(0);
    people.says("would be restarted: tree").says("would be stopped and removed: behavior_tree");
    assert!(MAIN.services().contains_key("behavior_tree"));
    lab.deploy(MAIN);
    assert!(MAIN.services().contains_key("tree") && !MAIN.services().contains_key("behavior_tree"));
}

pub fn a_registry_that_is_stopped_is_looked_into_all_the_same(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # while it is stopped");
    MAIN.exec(&["docker", "stop", "xtask-registry"]);
    let plan = plan(lab);
    let state = MAIN.exec(&["docker", "inspect", "--format", "{{.State.Running}}", "xtask-registry"]);
    assert_eq!(state, "false", "a plan starts nothing");
    assert_eq!(layers(&plan, "patch").count(), 1, "{plan:#}");
    assert_close(&plan, sent(&lab.deploy(MAIN)));
}
