//! Dependencies outside of the workspace: those of the base, those that rosdep knows, and all others.

use std::fs;

use super::bases::{camera, with_facts};
use super::lab::Lab;

const LOCK: &str = "docker/rosdep.lock";

fn lock(lab: &Lab) -> String {
    String::from_utf8(lab.bytes(&format!("work space/{LOCK}"))).unwrap()
}

/// The keys about which rosdep was asked, a line each time.
fn asked(lab: &Lab) -> Vec<String> {
    let text = lab.bytes("asked");
    String::from_utf8(text).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn rosdep_is_asked_once_about_what_the_base_lacks() {
    let lab = with_facts("rclpy", "libc6", "");
    camera(
        &lab,
        "<depend>rclpy</depend><depend>eigen</depend><exec_depend>python3-can</exec_depend><test_depend>ament_lint_auto</test_depend>",
    );
    lab.write(
        "../answer.json",
        r#"{"keys": {"eigen": ["apt:libeigen3-dev", "apt:libc6"], "python3-can": ["pip:python-can"]},
            "versions": {"apt:libeigen3-dev": "3.4-1", "pip:python-can": "4.5"},
            "unknown": {"ament_lint_auto": "rosdep has no rule for it"}, "known": [], "problems": []}"#,
    );
    lab.run(&["build-images"]).expect(0).says(&[
        "asking rosdep about ament_lint_auto, eigen, python3-can",
        "`eigen` is apt:libeigen3-dev with apt:libc6",
        "wrote `docker/rosdep.lock`: commit it",
        "tests run without `ament_lint_auto` (ros_ws/src/camera/package.xml:3:",
    ]);
    let ran = lab.run(&["build-images", "--no-cache"]).expect(0);
    assert!(!ran.stderr.contains("rosdep"), "{}", ran.stderr);
    assert_eq!(asked(&lab).len(), 1);
    let bake = lab.files().into_iter().filter(|(path, _)| path.as_str().contains("/bake-"));
    let bake: String = bake.map(|(_, text)| String::from_utf8(text).unwrap()).collect();
    for argument in [
        r#""RUN_DEPENDENCIES": "apt:libeigen3-dev=3.4-1 pip:python-can==4.5""#,
        r#""BUILD_DEPENDENCIES": "apt:libeigen3-dev=3.4-1""#,
    ] {
        assert!(bake.contains(argument), "{argument}: {bake}");
    }
    let table = lab.run(&["deps"]).expect(0).shows(&[
        "eigen",
        "new",
        "run, build, test",
        "apt:libeigen3-dev=3.4-1",
        "camera",
    ]);
    table.shows(&["ament_lint_auto", "unknown"]);
    let before = lock(&lab);
    lab.run(&["deps", "--update"]).expect(0);
    assert_eq!((asked(&lab).len(), lock(&lab)), (2, before));

    // What nobody needs any more goes with the next change.
    camera(&lab, "<depend>eigen</depend><depend>usb</depend>");
    lab.write(
        "../answer.json",
        r#"{"keys": {"usb": ["apt:libusb"]}, "versions": {"apt:libusb": "1"}, "unknown": {}, "known": [], "problems": []}"#,
    );
    lab.run(&["build-images"]).expect(0);
    let text = lock(&lab);
    assert!(text.contains("libusb") && text.contains("3.4-1") && !text.contains("can"), "{text}");
}

#[test]
fn what_neither_the_base_nor_rosdep_has_is_refused_before_anything_is_built() {
    let lab = with_facts("rclpy geometry_msgs", "python3-lark", "serial");
    let some = "<depend>rclpy</depend><exec_depend>python3-serial</exec_depend><exec_depend>python3-lark</exec_depend>";
    camera(&lab, some);
    lab.run(&["build-images"]).expect(0);
    assert_eq!(lab.calls_of("docker buildx bake").len(), 2, "the base is asked, and the images are built");

    camera(
        &lab,
        "<depend>geometry_msg</depend>\n<exec_depend>python3-cam</exec_depend><depend>roscpp</depend>",
    );
    let answer = r#"{"keys": {}, "versions": {}, "unknown": {"geometry_msg": "rosdep has no rule for it"},
        "known": ["python3-can"], "problems": ["`rosdep update` failed: \u001b[2J no network"]}"#;
    lab.write("../answer.json", answer);
    let refused = lab.run(&["build-images"]).expect(2).says(&[
        "the base `ros` lacks `geometry_msg` (ros_ws/src/camera/package.xml:3:9), `python3-cam` (",
        "package.xml:4:14)",
        "`geometry_msg`: rosdep has no rule for it; did you mean `geometry_msgs`?",
        "did you mean `python3-can`?",
        "`roscpp` belongs to ROS 1",
        "rules may be missing: `rosdep update` failed",
        "`docker/rosdep.yaml`: `geometry_msg: {\"*\": {apt: [PACKAGE]}}`",
        "docker build --tag my-ros",
        "`[packages.camera]` with `ignore = [\"geometry_msg\"]`",
    ]);
    assert!(!refused.stderr.contains('\u{1b}'), "{:?}", refused.stderr);
    assert_eq!(lab.calls_of("docker buildx bake").len(), 3, "rosdep is asked, and nothing is built");
    assert!(lock(&lab).is_empty(), "nothing is written");
    let toml = String::from_utf8(lab.bytes("work space/robots.toml")).unwrap();
    let ignore = "[packages.camera]\nignore = [\"geometry_msg\", \"python3-cam\", \"roscpp\"]\n";
    lab.write("robots.toml", &format!("{toml}\n{ignore}"));
    lab.run(&["build-images"]).expect(0);
}

#[test]
fn answers_and_lock_files_that_are_not_packages_reach_no_command() {
    let lab = with_facts("rclpy", "", "");
    camera(&lab, "<depend>eigen</depend>");
    lab.write(
        "../answer.json",
        r#"{"keys": {"eigen": ["apt:$(reboot)"]}, "versions": {}, "unknown": {}, "known": [], "problems": []}"#,
    );
    lab.run(&["build-images"])
        .expect(1)
        .says(&["rosdep answered with `apt:$(reboot)`, which is not a package"]);
    lab.write(LOCK, "[ros.\"linux/amd64\".keys]\neigen = [\"apt:x;reboot\"]\n");
    lab.run(&["build-images"])
        .expect(2)
        .says(&["rosdep.lock: `apt:x;reboot` is not a package", "cargo xtask deps"]);
    lab.write(LOCK, "[ros.\"linux/amd64\".keys]\neigen = 1\n");
    lab.run(&["build-images"]).expect(2).says(&["rosdep.lock:2: invalid type", "restore it"]);
    camera(&lab, "<depend>eigen $(reboot)</depend>");
    lab.run(&["build-images"]).expect(2);
    assert!(asked(&lab).len() == 1, "{:?}", asked(&lab));
}

#[test]
fn a_dockerfile_that_installs_no_dependencies_is_refused() {
    let lab = with_facts("rclpy", "", "");
    camera(&lab, "<depend>eigen</depend>");
    lab.write(
        "../answer.json",
        r#"{"keys": {"eigen": ["apt:libeigen3-dev"]}, "versions": {"apt:libeigen3-dev": "3"}, "unknown": {}, "known": [], "problems": []}"#,
    );
    let text = String::from_utf8(lab.bytes("work space/docker/ros.Dockerfile")).unwrap();
    lab.write("docker/ros.Dockerfile", &text.replace("RUN_DEPENDENCIES", "OTHER"));
    lab.run(&["build-images"])
        .expect(2)
        .says(&["does not install apt:libeigen3-dev=3", "`ARG RUN_DEPENDENCIES`"]);
    fs::remove_file(lab.root.join(LOCK)).unwrap();
    lab.write("docker/ros.Dockerfile", &text.replace("resolve-dependencies", "other"));
    lab.run(&["build-images"]).expect(2).says(&[
        "lacks `eigen`",
        "`docker/ros.Dockerfile` has no `resolve-dependencies`",
        "`[packages.camera]`",
    ]);
}

#[test]
fn what_only_tests_need_stops_no_build() {
    let lab = with_facts("rclpy", "", "");
    camera(&lab, "<test_depend>sim_tools</test_depend>");
    let tools = "<package format=\"3\"><name>sim_tools</name><depend>gazebo</depend></package>";
    lab.write("ros_ws/src/sim_tools/package.xml", tools);
    lab.write(
        "../answer.json",
        r#"{"keys": {}, "versions": {}, "unknown": {"gazebo": "rosdep has no rule for it"}, "known": [], "problems": []}"#,
    );
    lab.run(&["build-images"])
        .expect(0)
        .says(&["tests run without `gazebo` (ros_ws/src/sim_tools/package.xml:1:"]);
    camera(&lab, "<build_depend>sim_tools</build_depend>");
    lab.run(&["build-images"]).expect(2).says(&["lacks `gazebo`"]);
}
