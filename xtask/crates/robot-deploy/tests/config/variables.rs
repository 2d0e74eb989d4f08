//! The variables of a robot, from its environment files and `env`.

use crate::team::{GOOD, Team};

fn team(first: &str, second: &str) -> Team {
    let team = Team::new();
    let lines = "env = { B = \"robots.toml\" }\nenv_files = [\"docker/1.env\", \"docker/2.env\"]\n";
    team.write("robots.toml", format!("{GOOD}{lines}"));
    team.write("docker/1.env", first);
    team.write("docker/2.env", second);
    team
}

#[test]
fn later_files_win_and_env_wins_over_all() {
    let team = team("A=1\nB=1\nC=1\n", "B=2\nC=2\n");
    let variables = team.load().unwrap().robots["main"].variables().unwrap();
    let variables: Vec<_> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(variables, ["A=1", "B=robots.toml", "C=2"]);
}

#[test]
fn mistakes_in_files_are_shown_when_loading() {
    let team = team("A=1\nB\n", "C=$HOME\n");
    let complaint = team.complaint();
    assert!(complaint.contains("--> docker/1.env:2:1\n"), "{complaint}");
    assert!(complaint.contains("--> docker/2.env:1:3\n"), "{complaint}");
}

#[test]
fn mistakes_made_since_loading_are_shown_too() {
    let team = team("", "");
    let workspace = team.load().unwrap();
    team.write("docker/2.env", "A=1\nA=2\n");
    let error = workspace.robots["main"].variables().unwrap_err().to_string();
    assert!(error.starts_with("`A` is set twice\n") && error.contains("docker/2.env:2:1\n"), "{error}");
}
