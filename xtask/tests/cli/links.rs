//! Links beside the Compose file: robots get no files from outside the repository.

use std::os::unix::fs::symlink;

use super::lab::Lab;

/// A lab whose Compose file mounts `./link`.
fn lab(target: &str) -> Lab {
    let lab = Lab::new();
    let bind = r#"{"type":"bind","source":"./docker/link","target":"/x"}"#;
    let model =
        format!(r#"{{"services":{{"navigation":{{"image":"eurobot:navigation","volumes":[{bind}]}}}}}}"#);
    lab.says("docker", "'compose '*config*", &model);
    symlink(target, lab.root.join("docker/link")).unwrap();
    lab
}

#[test]
fn one_that_leads_out_of_the_repository_is_refused() {
    for target in ["../../home/.ssh", "../../home/.ssh/id_ed25519", "/etc/hostname"] {
        let lab = lab(target);
        std::fs::write(lab.home.join(".ssh/id_ed25519"), "secret").unwrap();
        let leads_to = target.trim_start_matches("../");
        lab.run(&["deploy"]).expect(2).says(&["docker/link` is a link out of", leads_to]);
        assert!(lab.calls_of("docker buildx bake").is_empty(), "it is said before a build");
    }
}

#[test]
fn one_that_stays_inside_is_followed() {
    lab("../ros_ws/src").run(&["deploy", "--dry-run"]).expect(0);
}
