//! Bases that are images: pulled once from a registry, or taken from this machine's own store.

use super::answers::{BAKE, PLATFORM};
use super::lab::{Lab, robot};
use super::registry::Registry;

const PINNED: &str =
    "docker.io/library/ros:jazzy@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A lab whose images are built on an image.
fn lab(image: &str) -> Lab {
    let lab = Lab::with(&robot("main"));
    // The digests that builds report.
    let _registry = Registry::start(&lab);
    let toml = String::from_utf8(lab.bytes("work space/robots.toml")).unwrap();
    lab.write("robots.toml", &toml.replace("debian = \"trixie\"", &format!("image = \"{image}\"")));
    lab
}

/// The contexts `base` of the Bake files that the runs wrote.
fn contexts(lab: &Lab) -> Vec<String> {
    let files = lab.files().into_iter().filter(|(path, _)| path.as_str().contains("/bake-"));
    let definition = |(_, text): (_, Vec<u8>)| serde_json::from_slice::<serde_json::Value>(&text).unwrap();
    let base = |definition: serde_json::Value| {
        definition["target"]["camera"]["contexts"]["base"].as_str().unwrap().to_owned()
    };
    files.map(definition).map(base).collect()
}

#[test]
fn an_image_of_a_registry_is_pulled_once_and_kept() {
    let lab = lab(PINNED);
    lab.on("docker", "'image inspect'*Id*xtask-base:image-*", "[ -e \"$lab/tagged\" ]");
    lab.on("docker", "'tag '*xtask-base:image-*", ": >\"$lab/tagged\"");
    lab.says("docker", "'image inspect'*Size*", "1020000000");
    lab.fails("docker", "'image inspect'*ros:jazzy@*", 1, "No such image");
    lab.says("docker", "'pull '*", "0123456789ab: Pulling fs layer\n0123456789ab: Pull complete");
    for _ in 0..2 {
        lab.run(&["build-images"]).expect(0);
    }
    let pulls = lab.calls_of("docker pull");
    assert_eq!(pulls.len(), 1, "{pulls:?}");
    assert!(pulls[0].contains(PINNED) && pulls[0].contains("--platform linux/"), "{pulls:?}");
    let contexts = contexts(&lab);
    assert!(contexts[0].starts_with("docker-image://xtask-base:image-linux-"), "{contexts:?}");
}

#[test]
fn an_image_that_docker_load_brought_is_not_pulled() {
    let lab = lab(PINNED);
    lab.fails("docker", "'image inspect'*xtask-base:image-*", 1, "No such image");
    lab.says("docker", "'image inspect'*Architecture*ros:jazzy@*", &format!("sha256:aa {PLATFORM}"));
    lab.run(&["build-images"]).expect(0);
    assert!(lab.calls_of("docker pull").is_empty());
    assert_eq!(lab.calls_of(&format!("docker tag {PINNED} xtask-base:image-linux-")).len(), 1);
}

#[test]
fn the_size_of_a_base_is_told_and_what_prevents_a_pull_explained() {
    let lab = lab(PINNED);
    lab.fails("docker", "'image inspect'*xtask-base:image-*", 1, "No such image");
    lab.fails("docker", "'image inspect'*ros:jazzy@*", 1, "No such image");
    lab.fails("docker", "'pull '*", 1, "dial tcp: lookup registry-1.docker.io: no such host");
    lab.run(&["build-images"]).expect(1).says(&[
        "pulling docker.io/library/ros:jazzy@",
        "cannot be pulled",
        "docker load",
    ]);
    lab.fails("docker", "'pull '*", 1, "no matching manifest for linux/arm64 in the manifest list entries");
    lab.says("docker", "'buildx imagetools '*", "linux/s390x linux/amd64 unknown/unknown linux/amd64 ");
    lab.run(&["build-images"])
        .expect(2)
        .says(&["is not made for", "it is made for linux/amd64, linux/s390x"]);
    assert!(lab.calls_of("docker buildx bake").is_empty());
    lab.on("docker", "'pull '*", ": >\"$lab/pulled\"");
    lab.on("docker", "'image inspect'*Size*", "[ -e \"$lab/pulled\" ] && echo 1020000000");
    lab.run(&["build-images"]).expect(0).says(&["1.02 GB on this machine"]);
}

#[test]
fn an_image_of_this_machine_is_kept_and_followed() {
    let lab = lab("my-ros:jazzy");
    lab.on("docker", "'image inspect'*Architecture*", "cat \"$lab/base\"");
    lab.write("../base", &format!("sha256:aa {PLATFORM}"));
    lab.fails("docker", "'image inspect'*xtask-base:image-*", 1, "No such image");
    lab.run(&["build-images"]).expect(0);
    assert!(lab.calls_of("docker tag my-ros:jazzy xtask-base:image-linux-").len() == 1, "{:?}", lab.calls());
    lab.write("../base", &format!("sha256:bb {PLATFORM}"));
    lab.run(&["build-images"]).expect(0);
    let contexts: std::collections::BTreeSet<String> = contexts(&lab).into_iter().collect();
    assert_eq!(contexts.len(), 2, "another image is another base: {contexts:?}");
    assert!(lab.calls_of("docker pull").is_empty());
}

#[test]
fn an_image_that_is_not_here_or_for_another_platform_is_refused() {
    let lab = lab("my-ros:jazzy");
    lab.fails("docker", "'image inspect'*my-ros*", 1, "No such image: my-ros:jazzy");
    lab.run(&["build-images"]).expect(2).says(&[
        "this machine has no image `my-ros:jazzy`, the base `ros`",
        "docker build --tag my-ros:jazzy",
        "write `my-ros:jazzy@sha256:…`",
    ]);
    lab.run(&["doctor"]).expect(1).shows(&["BAD", "base", "this machine has no image `my-ros:jazzy`"]);
    lab.on("docker", "'image inspect'*Architecture*", "echo sha256:aa linux/s390x");
    lab.fails("docker", "'image inspect'*--platform*", 1, "not found");
    lab.run(&["build-images"]).expect(2).says(&["is for linux/s390x, not for linux/", "a base of their own"]);
    assert!(lab.calls_of("docker buildx bake").is_empty());
}

/// A lab with a base that tells these facts about itself; asks for rosdep's answers get the file `answer.json`.
pub(crate) fn with_facts(ros: &str, debian: &str, python: &str) -> Lab {
    let lab = lab("my-ros:jazzy");
    lab.says("docker", "'image inspect'*Architecture*", &format!("sha256:aa {PLATFORM}"));
    let facts = format!(
        r#"for word; do case $word in *.json) file=$word; esac; done
        dest=$(sed -n 's/.*"type=local,dest=\(.*\)".*/\1/p' "$file")
        case $dest in
        */rosdep-*) mkdir -p "$dest"; cp "$lab/answer.json" "$dest"; grep '"KEYS"' "$file" >>"$lab/asked" ;;
        */facts-*) for stage in build run; do
            mkdir -p "$dest/$stage"; cd "$dest/$stage"; printf 'ROS_DISTRO=jazzy\0ROS_VERSION=2\0' >environment
            echo '{ros}' >ros; echo '{debian}' >debian; echo '{python}' >python; done ;;
        esac"#
    );
    lab.on("docker", "'buildx bake '*", &format!("{facts}\n{BAKE}"));
    lab
}

/// Writes the `package.xml` of `camera`, with these dependencies.
pub(crate) fn camera(lab: &Lab, depends: &str) {
    let text = format!("<package format=\"3\">\n<name>camera</name>\n{depends}\n</package>");
    lab.write("ros_ws/src/camera/package.xml", &text);
}

#[test]
fn a_base_that_tells_nothing_about_packages_has_everything() {
    let lab = with_facts("", "", "");
    camera(&lab, "<depend>nav2_msgs</depend>");
    lab.run(&["build-images"]).expect(0);
    let dry = lab.run(&["build-images", "--dry-run", "--no-cache"]).expect(0);
    assert!(dry.stdout.contains("docker buildx bake"), "{}", dry.stdout);
}

#[test]
fn the_files_of_colcon_reach_every_build() {
    let lab = Lab::with(&robot("main"));
    let print = ["build-images", "--print-dockerfile"];
    assert!(!lab.run(&print).expect(0).stdout.contains("colcon.meta"));
    let meta = "names:\n  camera:\n    cmake-args: [\"-DX=${Y}\"]\nEND-OF-FILE\n";
    lab.write("ros_ws/colcon.meta", meta);
    let dockerfile = lab.run(&print).expect(0).stdout;
    let copy = format!("COPY <<'END-OF-FILE-' /opt/ws/colcon/colcon.meta\n{meta}END-OF-FILE-\n");
    for package in ["camera", "navigation", "msgs"] {
        assert!(dockerfile.contains(&format!("FROM build-tools AS build-{package}\n{copy}")), "{dockerfile}");
    }
}

#[test]
fn conditions_are_those_of_the_base() {
    let lab = with_facts("", "", "");
    for (package, distro) in [("camera", "humble"), ("navigation", "jazzy")] {
        let depend = format!("<depend condition=\"$ROS_DISTRO == {distro}\">msgs</depend>");
        let text = format!("<package format=\"3\"><name>{package}</name>{depend}</package>");
        lab.write(&format!("ros_ws/src/{package}/package.xml"), &text);
    }
    let dry = lab.run(&["build-images", "--dry-run"]).expect(0);
    assert!(dry.stdout.contains("conditions hold on the base"), "{}", dry.stdout);
    for builds in [2, 3] {
        lab.run(&["build-images", "--no-cache"]).expect(0);
        assert_eq!(lab.calls_of("docker buildx bake").len(), builds, "the base is asked once");
    }
    let dockerfile = String::from_utf8(lab.bytes("work space/target/xtask/build/ros.Dockerfile")).unwrap();
    let stages: Vec<&str> = dockerfile.split("\nFROM ").collect();
    let stage = |name: &str| *stages.iter().find(|text| text.starts_with(name)).unwrap();
    assert!(stage("runtime AS image-navigation").contains("build-msgs"), "{dockerfile}");
    assert!(!stage("runtime AS image-camera").contains("build-msgs"), "{dockerfile}");
}
