//! `deploy --via hub`: this machine resolves tags to digests, the robot pulls, and the login appears nowhere.

use super::lab::{Lab, in_order, robot};

const REPOSITORY: &str = "registry.lab:5000/team/eurobot";
const DEPLOY: [&str; 4] = ["deploy", "--via", "hub", "--tag"];

/// A lab with a registry that has both images as `stable`, and a robot that keeps pulled images.
pub(crate) fn lab() -> Lab {
    let lab = Lab::with(&(robot("main") + &format!("[hub]\nrepository = \"{REPOSITORY}\"\n")));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut images = String::new();
    for image in ["camera", "navigation"] {
        let index = format!(
            r#"{{"manifest":{{"digest":"sha256:index","manifests":[{{"digest":"sha256:{image}",
            "platform":{{"os":"linux","architecture":"{architecture}"}}}}]}},"image":{{"os":"linux"}}}}"#
        );
        lab.says("docker", &format!("'buildx imagetools inspect '*:{image}-stable"), &index);
        images += &format!("image\t{REPOSITORY}@sha256:{image}\t{image}\tsha256:{image}\n");
        images += &format!("image\teurobot@<none>\t{image}\tsha256:{image}\n");
        let container = format!(
            "container\t{image}\tx\tsha256:{image}\trunning\t0\t2026-01-01T00:00:00Z\thealthy\t0\tcafe\n"
        );
        let file = lab.dir.join("containers");
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(file, before + &container).unwrap();
    }
    std::fs::write(lab.dir.join("images"), images).unwrap();
    lab.on(
        "ssh",
        "*' pull-with-login registry.lab'*",
        "cat >\"$lab/login\"; : >\"$lab/pulled\"; cat \"$lab/images\"",
    );
    lab
}

#[test]
fn a_tag_becomes_digests_and_the_robot_pulls_without_a_build() {
    let lab = lab();
    let ran = lab.run(&[&DEPLOY[..], &["stable"]].concat()).expect(0);
    in_order(&ran.stdout, &["main   camera", "main   navigation"]);
    assert!(ran.stderr.contains("the robot pulled 2 of 2 images itself"), "{}", ran.stderr);
    let pulled = lab.calls_of("ssh ").join("\n");
    in_order(
        &pulled,
        &[&format!(
            "pull-with-login {REPOSITORY}@sha256:camera {REPOSITORY}:camera eurobot:camera {REPOSITORY}@sha256:navigation"
        )],
    );
    assert!(!lab.calls().iter().any(|call| call.contains("bake") || call.contains("docker push")));
    assert!(lab.bytes("login").is_empty(), "there is no login to give");
}

#[test]
fn what_the_robot_has_is_not_pulled_again() {
    let lab = lab();
    lab.run(&[&DEPLOY[..], &["stable"]].concat()).expect(0);
    lab.remember_release();
    let before = lab.calls_of("ssh ").len();
    let ran = lab.run(&[&DEPLOY[..], &["stable"]].concat()).expect(0);
    assert!(ran.stderr.contains("nothing changed; nothing sent"), "{}", ran.stderr);
    assert_eq!(lab.calls_of("ssh ").len(), before + 3, "the connection, the lock and one survey");
}

#[test]
fn a_login_goes_to_the_robot_by_stdin_from_the_file_or_a_helper() {
    let stored = r#"{"auths":{"registry.lab:5000":{"auth":"dGVhbTpzd29yZGZpc2g="}}}"#;
    for config in [stored, r#"{"credsStore":"lab"}"#, r#"{"credHelpers":{"registry.lab:5000":"lab"}}"#] {
        let lab = lab();
        lab.install("docker-credential-lab");
        lab.on(
            "docker-credential-lab",
            "get",
            "grep -q '^registry.lab:5000$' || exit 1; echo '{\"Username\":\"team\",\"Secret\":\"swordfish\"}'",
        );
        std::fs::write(lab.home.join(".docker/config.json"), config).unwrap();
        let ran = lab.run(&[&["-v"], &DEPLOY[..], &["stable"]].concat()).expect(0);
        assert_eq!(String::from_utf8(lab.bytes("login")).unwrap(), stored);
        for text in [&lab.calls().join("\n"), &ran.stdout, &ran.stderr] {
            assert!(!text.contains("swordfish") && !text.contains("dGVhbTpzd29yZGZpc2g"), "{text}");
        }
    }
}

#[test]
fn what_keeps_images_away_is_explained_before_a_robot_is_touched() {
    let lab = lab();
    lab.fails("docker", "'buildx imagetools inspect '*-v9", 1, "ERROR: registry.lab:5000/x: not found");
    lab.run(&[&DEPLOY[..], &["v9"]].concat())
        .expect(1)
        .says(&["registry.lab:5000 does not have the image", "cargo xtask publish"]);
    lab.fails("docker", "'buildx imagetools inspect '*", 1, "ERROR: 401 Unauthorized");
    lab.run(&[&DEPLOY[..], &["stable"]].concat()).expect(1).says(&["docker login registry.lab:5000"]);
    assert!(lab.calls_of("ssh ").is_empty());
}

#[test]
fn a_robot_that_the_registry_refuses_keeps_what_it_runs() {
    let lab = lab();
    lab.fails(
        "ssh",
        "*' pull-with-login registry.lab'*",
        1,
        "Error response from daemon: no basic auth credentials",
    );
    lab.run(&[&DEPLOY[..], &["stable"]].concat())
        .expect(1)
        .says(&["registry.lab:5000 does not accept the login", "`docker login registry.lab:5000`"]);
    assert!(lab.calls().iter().all(|call| !call.contains("launch eurobot")));
}

#[test]
fn a_tag_needs_the_hub_and_the_hub_a_registry() {
    let lab = Lab::new();
    lab.run(&["deploy", "--tag", "stable"])
        .expect(2)
        .says(&["`--tag` selects published images", "`--via hub`"]);
    lab.run(&["deploy", "--via", "hub"]).expect(2).says(&["has no registry", "add `[hub]`"]);
}
