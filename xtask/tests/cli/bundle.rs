//! `deploy --via archive --to FILE` and `load-bundle`: everything that a robot needs, in one file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::lab::{Lab, in_order, robot};
use super::registry::Registry;

pub(crate) const WRITE: [&str; 5] = ["deploy", "--via", "archive", "--to", "team.bundle"];
pub(crate) const LOAD: [&str; 2] = ["load-bundle", "team.bundle"];

/// A lab in which a bundle for `main` has been written.
pub(crate) fn lab() -> (Lab, Registry) {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    registry.save(&lab);
    lab.says(
        "docker",
        "'image inspect --format {{join .RootFS.Layers'*",
        "sha256:base sha256:c\nsha256:base sha256:n",
    );
    lab.run(&WRITE).expect(0).says(&["team.bundle: ", "`cargo xtask load-bundle team.bundle`"]);
    (lab, registry)
}

pub(crate) fn path(lab: &Lab) -> camino::Utf8PathBuf {
    lab.root.join("team.bundle")
}

#[test]
fn it_is_written_without_a_robot_and_loaded_without_a_build() {
    let (lab, registry) = lab();
    assert!(lab.calls_of("ssh ").is_empty());
    assert_eq!(fs::metadata(path(&lab)).unwrap().permissions().mode() & 0o777, 0o600);
    let before = lab.calls().len();
    lab.run(&LOAD).expect(0).shows(&["main   camera", "main   navigation"]);
    assert!(
        lab.calls()[before..].iter().all(|call| call.starts_with("ssh ")),
        "{:#?}",
        &lab.calls()[before..]
    );
    assert_eq!(zstd::decode_all(lab.bytes("loaded.tar.zst").as_slice()).unwrap(), registry.saved());
    lab.remember_release();
    let again = lab.run(&LOAD).expect(0);
    assert!(again.stderr.contains("nothing changed; nothing sent"), "{}", again.stderr);
}

#[test]
fn into_a_directory_it_goes_under_the_name_of_what_it_is() {
    let (lab, _registry) = lab();
    lab.says("git", "'describe '*", "v1.2-3-g0123456-dirty");
    fs::create_dir(lab.root.join("stick")).unwrap();
    lab.run(&["deploy", "--via", "archive", "--to", "stick"])
        .expect(0)
        .says(&["stick/eurobot-v1.2-3-g0123456-dirty.bundle: "]);
    assert!(lab.root.join("stick/eurobot-v1.2-3-g0123456-dirty.bundle").exists());
}

#[test]
fn what_is_not_whole_is_refused_before_a_robot_is_touched() {
    let (lab, _registry) = lab();
    let whole = fs::read(path(&lab)).unwrap();
    for length in (0..whole.len() - 1500).step_by(whole.len() / 23) {
        fs::write(path(&lab), &whole[..length]).unwrap();
        lab.run(&LOAD).expect(1).says(&["`team.bundle` is ", "copy it again"]);
    }
    // In every half block; bytes of padding cannot be damaged.
    for place in (0..whole.len() - 1024).step_by(256).filter(|place| whole[*place] != 0) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        fs::write(path(&lab), bytes).unwrap();
        let ran = lab.run(&LOAD);
        assert_eq!(ran.code, Some(1), "byte {place} of {}", whole.len());
    }
    fs::remove_file(path(&lab)).unwrap();
    lab.run(&LOAD).expect(1).says(&["cannot read the bundle `team.bundle`"]);
    assert!(lab.calls_of("ssh ").is_empty());
}

#[test]
fn it_is_for_the_robots_and_the_project_that_it_was_made_for() {
    let (lab, _registry) = lab();
    let toml = fs::read_to_string(lab.root.join("robots.toml")).unwrap();
    lab.write("robots.toml", &(toml.clone() + &robot("secondary")));
    lab.run(&["load-bundle", "team.bundle", "--robot", "secondary"])
        .expect(2)
        .says(&["`team.bundle` has nothing for `secondary`", "it was made for main"]);
    lab.write("robots.toml", &toml.replace("\"linux/", "\"linux/arm/v7\" # \"linux/"));
    lab.run(&LOAD).expect(2).says(&["`team.bundle` has images for linux/", "`main` is linux/arm/v7"]);
    lab.write("robots.toml", &toml.replace("\"eurobot\"", "\"rescue\""));
    lab.run(&LOAD).expect(2).says(&["is of project `eurobot`, but this workspace is `rescue`"]);
    lab.write("robots.toml", &toml.replace("robots.main", "robots.other"));
    lab.run(&LOAD).expect(2).says(&["no robot `main` in `robots.toml`"]);
    assert!(lab.calls_of("ssh ").is_empty());
}

#[test]
fn layers_that_the_other_bundle_brought_are_left_out_and_have_to_be_there() {
    let (lab, _registry) = lab();
    let digest = Registry::layer();
    let layers = format!("{digest}\n{digest}");
    lab.says("docker", "'image inspect --format {{join .RootFS.Layers'*", &layers);
    lab.run(&WRITE).expect(0);
    fs::rename(path(&lab), lab.root.join("first.bundle")).unwrap();
    lab.run(&[&WRITE[..], &["--against", "first.bundle"]].concat()).expect(0);
    lab.run(&LOAD).expect(1).says(&["`main` lacks 1 layer that `team.bundle` omits", "load that one first"]);
    assert!(!lab.exists("loaded.tar.zst"));
    lab.run(&["load-bundle", "first.bundle", "--no-start"]).expect(0);
}

#[test]
fn mistakes_are_explained() {
    let lab = Lab::new();
    lab.run(&["deploy", "--to", "x"]).expect(2).says(&["`--to` writes a bundle", "add `--via archive`"]);
    lab.run(&["deploy", "--via", "archive", "--against", "x"]).expect(2).says(&["--to <FILE>"]);
    lab.run(&["deploy", "--via", "archive", "--to", "x", "--no-start"]).expect(2);
    lab.run(&["deploy", "--via", "archive", "--to", "y", "--against", "x"])
        .expect(1)
        .says(&["cannot read the bundle `x`"]);
    assert!(lab.calls().is_empty());
}

#[test]
fn a_dry_run_prints_what_would_happen() {
    let (lab, _registry) = lab();
    let ran = lab.run(&[&WRITE[..], &["--dry-run"]].concat()).expect(0);
    in_order(
        &ran.stdout,
        &["docker buildx bake", "writing the images and the release of each robot to team.bundle"],
    );
    let ran = lab.run(&[&LOAD[..], &["--dry-run"]].concat()).expect(0);
    in_order(&ran.stdout, &["sending 2 images as an archive", "starting the release of the bundle"]);
    assert!(!lab.exists("loaded.tar.zst"));
}
