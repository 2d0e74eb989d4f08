//! `publish`: only from a clean tree, and with the names that CI uses.

use sha2::{Digest as _, Sha256};

use super::answers;
use super::lab::{Lab, in_order, robot};

const HUB: &str = "[hub]\nrepository = \"registry.lab:5000/team/eurobot\"\n";

/// Manifest in the registry for every pushed image.
const MANIFEST: &str = r#"{"schemaVersion":2}"#;

/// Digest of [`MANIFEST`], which the engine reports after a push.
fn digest() -> String {
    format!("sha256:{:x}", Sha256::digest(MANIFEST))
}

/// A lab whose git has one clean revision, on the branch `feature/arm` and tagged `v1.2`.
fn lab() -> Lab {
    let lab = Lab::with(&(robot("main") + HUB));
    lab.says("git", "'rev-parse --verify HEAD'", "0123456789abcdef0123456789abcdef01234567");
    lab.says("git", "'symbolic-ref '*", "feature/arm");
    lab.says("git", "'tag --points-at HEAD'", "v1.2");
    // A checkout has the same files as the workspace.
    lab.on("git", "'worktree add '*", "mkdir -p \"$5\" && cp -r robots.toml docker ros_ws \"$5\"");
    lab.on("git", "'worktree remove '*", "rm -r \"$4\"");
    lab.says("docker", "'push '*", &format!("x: digest: {} size: 1234", digest()));
    lab.on("docker", "'buildx imagetools inspect --raw '*", &format!("printf '{MANIFEST}'"));
    let metadata = r#"{"navigation":{"containerimage.digest":"sha256:n","containerimage.config.digest":"sha256:n"},
        "camera":{"containerimage.digest":"sha256:c","containerimage.config.digest":"sha256:c"}}"#;
    std::fs::write(lab.dir.join("metadata"), metadata).unwrap();
    lab
}

#[test]
fn images_of_a_clean_checkout_get_the_names_that_ci_uses() {
    let lab = lab();
    let ran = lab.run(&["publish"]).expect(0);
    let repository = "registry.lab:5000/team/eurobot";
    let rows = ["camera-feature-arm", "camera-v1.2", "camera-0123456789ab", "navigation-feature-arm"];
    in_order(&ran.stdout, &rows.map(|name| format!("{repository}:{name}")).each_ref().map(String::as_str));
    in_order(&ran.stdout, &[&digest()[7..19]]);
    let calls = lab.calls();
    let bake = calls.iter().find(|call| call.contains("--metadata-file")).unwrap();
    assert!(bake.contains("/target/xtask/publish-"), "built from the checkout: {bake}");
    let part = format!("{repository}:camera-0123456789ab-linux-");
    let by_digest = format!("{repository}@{}", digest());
    in_order(
        &calls.join("\n"),
        &[
            "git worktree add --quiet --detach ",
            &format!("--set 'camera.tags={part}"),
            "--set 'camera.output=type=image,compression=gzip,force-compression=true,",
            &format!("docker push {part}"),
            &format!("docker image rm {part}"),
            &format!("docker buildx imagetools create --tag {repository}:camera-feature-arm {by_digest}"),
            &format!("docker buildx imagetools create --tag {repository}:camera-v1.2 {by_digest}"),
            &format!("docker buildx imagetools create --tag {repository}:camera-0123456789ab {by_digest}"),
            "git worktree remove --force ",
        ],
    );
    let left = lab.root.join("target/xtask").read_dir_utf8().unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().starts_with("publish-")));
}

#[test]
fn a_registry_that_has_another_image_than_was_pushed_is_not_believed() {
    let another = r#"{"schemaVersion":2,"config":"another"}"#;
    let index = r#"{"manifests":[{"digest":"sha256:another"}]}"#;
    // For the name that is pushed, for a name that is added afterwards, and in an index.
    for (name, text) in [("*-linux-*", another), ("*camera-v1.2", another), ("*camera-v1.2", index)] {
        let lab = lab();
        lab.on("docker", &format!("'buildx imagetools inspect '{name}"), &format!("printf '{text}'"));
        let ran = lab.run(&["publish"]).expect(1).says(&[
            "the registry has sha256:",
            &digest(),
            "do not trust the registry",
        ]);
        assert!(ran.stdout.is_empty(), "{}", ran.stdout);
        let named = lab.calls_of("docker buildx imagetools create");
        assert!(named.iter().all(|call| call.ends_with(&digest())), "{named:#?}");
        assert_eq!(lab.calls_of("git worktree remove").len(), 1);
    }
}

#[test]
fn a_builder_of_our_own_tells_what_it_has_pushed() {
    let lab = lab();
    lab.says("docker", "'info '*", &answers::info("Docker Desktop", "desktop-linux"));
    lab.on("docker", "'save '*", "tar -cf - -C \"$lab\" layout");
    std::fs::create_dir(lab.dir.join("layout")).unwrap();
    std::fs::write(lab.dir.join("layout/index.json"), "{}").unwrap();
    lab.run(&["publish"]).expect(1).says(&["the registry has sha256:", ", but sha256:c"]);
    let metadata = std::fs::read_to_string(lab.dir.join("metadata")).unwrap();
    let pushed = metadata.replace("sha256:c", &digest()).replace("sha256:n", &digest());
    std::fs::write(lab.dir.join("metadata"), pushed).unwrap();
    lab.run(&["publish"]).expect(0);
    assert!(lab.calls_of("docker push").is_empty());
}

#[test]
fn an_index_of_what_was_pushed_is_what_was_pushed() {
    let lab = lab();
    let index = format!(r#"{{"manifests":[{{"digest":"{}"}}]}}"#, digest());
    lab.on("docker", "'buildx imagetools inspect '*camera-v1.2", &format!("printf '{index}'"));
    lab.run(&["publish"]).expect(0);
}

#[test]
fn a_tree_that_is_not_clean_is_refused_by_name() {
    let lab = lab();
    lab.says("git", "'status --porcelain '*", " M docker/compose.yaml\n?? ros_ws/src/new/");
    lab.run(&["publish"]).expect(1).says(&[
        "these are not committed: `docker/compose.yaml`, `ros_ws/src/new/`",
        "git stash --include-untracked",
    ]);
    assert!(lab.calls_of("docker push").is_empty() && lab.calls_of("git worktree").is_empty());
}

#[test]
fn without_a_branch_the_name_is_the_one_of_ci() {
    let lab = lab();
    lab.fails("git", "'symbolic-ref '*", 1, "");
    let ran = lab.command(&["publish"]).env("CI_COMMIT_REF_NAME", "release").output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    in_order(&text, &[":camera-release ", ":camera-v1.2 "]);
}

#[test]
fn a_registry_that_refuses_is_explained_and_nothing_is_left() {
    let lab = lab();
    lab.fails("docker", "'push '*", 1, "denied: requested access to the resource is denied");
    lab.run(&["publish"])
        .expect(1)
        .says(&["registry.lab:5000 does not accept the login", "`docker login registry.lab:5000`"]);
    assert_eq!(lab.calls_of("docker image rm registry.lab:5000/team/").len(), 1);
    assert_eq!(lab.calls_of("git worktree remove").len(), 1);
}

#[test]
fn without_a_registry_there_is_nothing_to_publish_to() {
    Lab::new().run(&["publish"]).expect(2).says(&["has no registry for published images", "add `[hub]`"]);
}

#[test]
fn a_dry_run_prints_the_steps_and_takes_none() {
    let lab = lab();
    let before = lab.files();
    let ran = lab.run(&["publish", "-n"]).expect(0);
    assert!(before == lab.files());
    super::shell::assert_takes("sh", &ran.stdout);
    in_order(
        &ran.stdout,
        &[
            "depends on the outcome",
            "building all images from a clean checkout",
            "pushing them to registry.lab:5000",
            "with the tags ",
        ],
    );
    assert!(lab.calls_of("docker push").is_empty());
}
