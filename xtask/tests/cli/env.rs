//! `env --plan`: lists the services that would restart, and shows no value that was ever secret.

use super::lab::Lab;

/// A lab whose robot runs a release with a token that came from an `.env` file.
fn lab() -> Lab {
    let lab = Lab::new();
    let record = r#"{"outcome":"healthy","deploy":{"dirty":false,"by":"anna@laptop","at":"","via":"registry","images":{
        "navigation":"localhost:5000/eurobot@sha256:n","camera":"localhost:5000/eurobot@sha256:c"}}}"#;
    let release = format!("release\t1\tcurrent\t{}", record.replace('\n', ""));
    lab.says("ssh", "*' list eurobot releases'*", &release);
    lab.says("ssh", "*' list eurobot services'*", "wanted\tnavigation\told");
    let compose = r#"{"services":{"navigation":{"environment":{"TOKEN":"swordfish"}}}}"#;
    lab.says("ssh", "*' list eurobot compose'*", compose);
    lab
}

#[test]
fn a_secret_that_moves_to_robots_toml_is_not_shown() {
    let lab = lab();
    lab.write("docker/match.env", "");
    let toml = std::fs::read_to_string(lab.root.join("robots.toml")).unwrap();
    lab.write("robots.toml", &toml.replace("ROS_DOMAIN_ID = \"7\"", "API_TOKEN = \"in the open\""));
    let ran = lab.run(&["env", "--plan"]).expect(0).says(&["environment.TOKEN: `in the open` now"]);
    assert!(!ran.stderr.contains("swordfish"), "{}", ran.stderr);
}

#[test]
fn a_variable_that_becomes_a_secret_is_not_shown() {
    let lab = lab();
    lab.write("docker/match.env", "API_TOKEN=trout\n");
    let ran = lab.run(&["env", "--plan"]).expect(0).says(&["environment.TOKEN: another value"]);
    assert!(!ran.stderr.contains("swordfish") && !ran.stderr.contains("trout"), "{}", ran.stderr);
}
