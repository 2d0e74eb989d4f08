//! Every command in the README works exactly as written there.

use super::harness::{Lab, MAIN, ODOMETRY, Workspace};

/// Commands in the order of the README: in its shell blocks, and in the first cells of its tables.
fn commands(readme: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut in_shell = false;
    for line in readme.lines() {
        if let Some(language) = line.strip_prefix("```") {
            in_shell = !in_shell && language == "sh";
            continue;
        }
        let cell = line.strip_prefix("| `").and_then(|cell| cell.split('`').next());
        let command = if in_shell { Some(line) } else { cell };
        let words = command.and_then(|command| command.strip_prefix("cargo xtask "));
        commands.extend(words.map(|words| words.split_whitespace().map(str::to_owned).collect()));
    }
    commands
}

pub fn every_command_of_the_readme_works(lab: &Lab) {
    lab.workspace.reset();
    let commands = commands(&lab.workspace.read("README.md"));
    assert!(commands.len() > 15, "too few commands found in the README: {commands:?}");
    for command in &commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        run(&lab.workspace, &words);
    }
}

fn run(workspace: &Workspace, words: &[&str]) {
    match words {
        // This test is part of these checks, so they must not run here.
        ["test", ..] => drop(workspace.xtask(&[words, &["--dry-run"]].concat()).expect_exit(0)),
        // Shortened: the full benchmark takes most of an hour.
        ["bench"] => {
            let short = ["bench", "nothing", "--method", "xtask", "--link", "50mbit", "--repeat", "1"];
            workspace.start_with(&[("CARGO", env!("CARGO"))], &short).wait().expect_exit(0);
            assert!(workspace.read("target/xtask/bench/bench.svg").starts_with("<svg"));
        }
        // Only teams have a registry: without one, the message says what to add.
        ["deploy", .., "--via", "hub", "--tag", _] => {
            drop(workspace.xtask(words).expect_exit(2).says("add `[hub]`"));
        }
        // Without a team registry there is nothing to push to: check the dry run.
        ["publish"] => {
            let toml = workspace.read("robots.toml");
            workspace
                .write("robots.toml", toml + "\n[hub]\nrepository = \"registry.example.org/team/robots\"\n");
            workspace.commit("A registry");
            let planned = workspace.xtask(&["publish", "--dry-run"]).expect_exit(0);
            planned.says("pushing them to registry.example.org/team/robots with the tags main");
            workspace.reset();
        }
        // Needs a release before the current one.
        ["rollback", ..] => {
            workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2.0");
            workspace.xtask(&["deploy", "--robot", "main", "--yes"]).expect_exit(0);
            workspace.xtask(words).expect_exit(0);
        }
        ["tunnel", ..] => until_ctrl_c(workspace, words, "Ctrl-C closes the tunnel"),
        ["watch", ..] => until_ctrl_c(workspace, words, "waiting for a save"),
        ["pull-data", ..] => {
            MAIN.exec(&["mkdir", "-p", "/home/robot/bags"]);
            workspace.xtask(words).expect_exit(0);
        }
        _ => drop(workspace.xtask(words).expect_exit(0)),
    }
}

/// Runs a command that continues until Ctrl-C.
fn until_ctrl_c(workspace: &Workspace, words: &[&str], says: &str) {
    let mut run = workspace.start(words);
    run.until_it_says(says);
    run.interrupt();
    run.wait_for_all().expect_exit(0).never_says("error");
}
