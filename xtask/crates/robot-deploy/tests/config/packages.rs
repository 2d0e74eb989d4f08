//! The package graph from `package.xml` files, and the messages about mistakes in them.

use std::fs;

use robot_deploy::config::Package;

use crate::team::{GOOD, Team, assert_complaint};

fn names<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Vec<&'a str> {
    packages.into_iter().map(|package| package.name.as_str()).collect()
}

#[test]
fn tags_mean_what_their_format_says() {
    let team = Team::new();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        team.package(name, "");
    }
    team.package(
        "three",
        "<depend>a</depend><build_depend>b</build_depend><buildtool_depend>c</buildtool_depend>
         <build_export_depend>d</build_export_depend><exec_depend>e</exec_depend><test_depend>f</test_depend>
         <doc_depend>g</doc_depend><depend>rclpy</depend>",
    );
    team.write(
        "ros_ws/src/one/package.xml",
        "<package><name>one</name><run_depend>a</run_depend><build_depend>b</build_depend></package>",
    );
    let workspace = team.load().unwrap();
    let three = workspace.packages.get("three").unwrap();
    assert_eq!(three.build_depends, ["a", "b", "c"]);
    assert_eq!(three.build_export_depends, ["a", "d"]);
    assert_eq!(three.run_depends, ["a", "e"]);
    assert_eq!(three.test_depends, ["f"]);
    let one = workspace.packages.get("one").unwrap();
    assert_eq!(
        (&one.build_depends[..], &one.run_depends[..]),
        (&["b".to_owned()][..], &["a".to_owned()][..])
    );
    assert_eq!(names(workspace.packages.run_closure(["three"])), ["a", "e", "three"]);
    assert_eq!(names(workspace.packages.test_closure("three")), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn conditions_and_groups_are_evaluated() {
    let team = Team::new();
    team.package("a", "<member_of_group>drivers</member_of_group>");
    team.package("b", "<member_of_group condition=\"$ROS_VERSION == 1\">drivers</member_of_group>");
    team.package(
        "robot",
        "<group_depend>drivers</group_depend>
         <depend condition=\"$ROS_VERSION == 1\">communication</depend>
         <depend condition=\"$ROS_DISTRO == jazzy\">navigation</depend>",
    );
    let workspace = team.load().unwrap();
    let robot = workspace.packages.get("robot").unwrap();
    assert_eq!((&robot.build_depends, &robot.run_depends), (&robot.run_depends, &robot.build_depends));
    assert_eq!(robot.run_depends, ["a", "navigation"]);
}

#[test]
fn packages_are_found_where_colcon_finds_them() {
    let team = Team::new();
    let package = |name: &str| format!("<package format=\"3\"><name>{name}</name></package>");
    team.write("ros_ws/src/drivers/lidar/package.xml", package("lidar"));
    for hidden in [".git", "build", "install", "log", "navigation/inner", "off/deep"] {
        team.write(&format!("ros_ws/src/{hidden}/package.xml"), "not even XML");
    }
    team.write("ros_ws/src/off/COLCON_IGNORE", "");
    let workspace = team.load().unwrap();
    assert_eq!(workspace.packages.names().collect::<Vec<_>>(), ["communication", "lidar", "navigation"]);
    assert_eq!(workspace.packages.get("lidar").unwrap().dir, "drivers/lidar");
    assert_eq!(names(workspace.packages.iter()), ["communication", "lidar", "navigation"]);
}

#[test]
fn links_to_packages_are_followed_as_long_as_they_stay_in_the_workspace() {
    let team = Team::new();
    let package = |name: &str| format!("<package format=\"3\"><name>{name}</name></package>");
    team.write("ros_ws/src/.vendor/lidar/package.xml", package("lidar"));
    team.write("elsewhere/arm/package.xml", package("arm"));
    for (link, target) in [
        ("lidar", ".vendor/lidar"),
        ("lidar_again", "lidar"),
        ("up", "."),
        ("arm", "../../elsewhere/arm"),
        ("gone", "nowhere"),
    ] {
        std::os::unix::fs::symlink(target, team.root.join("ros_ws/src").join(link)).unwrap();
    }
    let workspace = team.load().unwrap();
    assert_eq!(workspace.packages.names().collect::<Vec<_>>(), ["communication", "lidar", "navigation"]);
    assert_eq!(workspace.packages.get("lidar").unwrap().dir, ".vendor/lidar");
    let complaint =
        team.complaint_about(&GOOD.replace("packages = [\"navigation\"]", "packages = [\"arm\"]"));
    assert!(
        complaint.contains("`ros_ws/src/arm` is a symbolic link that leads out of `src/`"),
        "{complaint}"
    );
}

#[test]
fn a_cycle_is_named_with_its_files() {
    let team = Team::new();
    team.package("communication", "<exec_depend>navigation</exec_depend>");
    assert_complaint(
        &team.complaint(),
        &[
            "packages depend on each other in a cycle: `communication` → `navigation` → `communication`",
            "  --> ros_ws/src/communication/package.xml:3:16",
            "   |",
            " 3 |   <exec_depend>navigation</exec_depend>",
            "   |                ^^^^^^^^^^",
            "  note: `navigation` depends on `communication` at ros_ws/src/navigation/package.xml:3:11",
            "  help: remove one of these dependencies, or move the code that both need into a third package",
        ],
    );
}

#[test]
fn two_packages_of_one_name_are_both_shown() {
    let team = Team::new();
    team.write("ros_ws/src/old/package.xml", "<package format=\"3\">\n<name>navigation</name>\n</package>");
    assert_complaint(
        &team.complaint(),
        &[
            "two packages have the name `navigation`",
            "  --> ros_ws/src/old/package.xml:2:7",
            "   |",
            " 2 | <name>navigation</name>",
            "   |       ^^^^^^^^^^",
            "  note: the other is at ros_ws/src/navigation/package.xml:2:9",
            "  help: rename one of them, or put an empty file `COLCON_IGNORE` into the directory of the one to skip",
        ],
    );
}

#[test]
fn every_mistake_in_a_package_has_a_place_and_a_remedy() {
    let cases = [
        ("<package>\n<name>x</nam>\n</package>", "2:8", "invalid XML", "xmllint"),
        ("", "1:1", "invalid XML", "xmllint"),
        ("<package>\n<name>ä & b</name></package>", "2:9", "invalid XML", "xmllint"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><package/>", "1:1", "invalid XML", "xmllint"),
        ("<launch>\n</launch>", "1:1", "root element is `<launch>`", "<package format"),
        (
            "<package format=\"4\"><name>x</name></package>",
            "1:10",
            "unknown package.xml format `4`",
            "1, 2 and 3",
        ),
        ("<package>\n</package>", "1:1", "no `<name>`", "add `<name>"),
        ("<package>\n<name> </name></package>", "2:1", "`` is not a valid package name", "REP 144"),
        ("<package>\n<name>a/b</name></package>", "2:7", "`a/b` is not a valid package name", "REP 144"),
        ("<package><name>a</name>\n<name>b</name></package>", "2:1", "two names", "remove one"),
        (
            "<package format=\"3\"><name>a</name>\n <exec_depends>b</exec_depends></package>",
            "2:2",
            "no `<exec_depends>`",
            "did you mean `exec_depend`?",
        ),
        (
            "<package format=\"3\"><name>a</name>\n<run_depend>b</run_depend></package>",
            "2:1",
            "no `<run_depend>`",
            "`<exec_depend>`",
        ),
        (
            "<package><name>a</name>\n<depend>b</depend></package>",
            "2:1",
            "format 1 of package.xml has no `<depend>`",
            "set `format=\"3\"`",
        ),
        (
            "<package format=\"3\"><name>a</name>\n<depend> </depend></package>",
            "2:1",
            "`<depend>` is empty",
            "remove the tag",
        ),
    ];
    let team = Team::new();
    team.package("navigation", "<depend>x</depend>");
    let mut wrong = String::new();
    for (xml, place, message, help) in cases {
        team.write("ros_ws/src/x/package.xml", xml);
        let complaint = team.complaint();
        let shown = format!("--> ros_ws/src/x/package.xml:{place}\n");
        let helps: String = complaint.lines().filter(|line| line.starts_with("  help: ")).collect();
        if !(complaint.contains(&shown) && complaint.contains(message) && helps.contains(help)) {
            wrong += &format!("--- wanted {place}, `{message}`, `{help}`; got\n{complaint}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_directory_that_a_dockerfile_cannot_name_is_refused() {
    let team = Team::new();
    team.write("ros_ws/src/my drivers/lidar/package.xml", "<package><name>lidar</name></package>");
    assert_complaint(
        &team.complaint(),
        &[
            "package `lidar` is in `my drivers/lidar`, which has a space in its path",
            "  --> ros_ws/src/my drivers/lidar/package.xml:1:16",
            "   |",
            " 1 | <package><name>lidar</name></package>",
            "   |                ^^^^^",
            "  help: rename the directory: use only letters, digits, `_`, `-`, `.`, `+` and `@`, which are safe in a Dockerfile",
        ],
    );
}

#[test]
fn a_broken_package_does_not_make_its_name_unknown() {
    let team = Team::new();
    team.write("ros_ws/src/navigation/package.xml", "<package>");
    let complaint = team.complaint();
    assert!(
        complaint.contains("navigation/package.xml:1:") && !complaint.contains("unknown package"),
        "{complaint}"
    );
}

#[test]
fn an_empty_workspace_says_so() {
    let team = Team::new();
    fs::remove_dir_all(team.root.join("ros_ws/src")).unwrap();
    assert!(team.complaint().ends_with("help: there are no packages"), "{}", team.complaint());
    fs::remove_dir_all(team.root.join("ros_ws")).unwrap();
    assert!(team.complaint().contains("`ros_ws` is not a directory"));
}

#[test]
fn packages_may_lie_at_the_top_of_the_repository() {
    let team = Team::new();
    fs::rename(team.root.join("ros_ws/src/navigation"), team.root.join("navigation")).unwrap();
    // Copies, and what builds have installed.
    for product in ["target/xtask/publish/navigation", "install/navigation/share/navigation"] {
        team.write(&format!("{product}/package.xml"), "<package><name>navigation</name></package>");
    }
    let toml = fs::read_to_string(team.root.join("robots.toml")).unwrap();
    team.write("robots.toml", toml.replace("[project]", "[project]\nros_workspace = \".\""));
    fs::remove_dir_all(team.root.join("ros_ws")).unwrap();
    let workspace = team.load().unwrap();
    assert_eq!(workspace.packages.get("navigation").unwrap().dir, "navigation");
    assert_eq!(workspace.project.sources(), workspace.root);
}

#[test]
fn packages_without_a_manifest_are_those_of_colcon() {
    let team = Team::new();
    let depends = "<depend>ld19_driver</depend><depend>motors</depend><depend>tools</depend>";
    team.package("navigation", depends);
    team.write(
        "ros_ws/src/ld19/CMakeLists.txt",
        "project(ld19_driver CXX)\nfind_package(communication REQUIRED)\nfind_package(Threads)\n",
    );
    // Part of the project above it.
    team.write("ros_ws/src/ld19/tests/CMakeLists.txt", "project(ld19_tests)\n");
    team.write(
        "ros_ws/src/motors/setup.py",
        "from setuptools import setup\nname = 'motors'\nsetup(name=name)\n",
    );
    team.write(
        "ros_ws/src/tools/colcon.pkg",
        "{\"name\": \"tools\", \"type\": \"cmake\", \"dependencies\": [\"motors\"]}",
    );
    // A directory with packages below it, that has tools of its own.
    team.write("ros_ws/src/group/setup.py", "setup(name='group')");
    team.write("ros_ws/src/group/arm/package.xml", "<package format=\"2\"><name>arm</name></package>");
    let packages = team.load().unwrap().packages;
    assert_eq!(
        packages.names().collect::<Vec<_>>(),
        ["arm", "communication", "ld19_driver", "motors", "navigation", "tools"]
    );
    let driver = packages.get("ld19_driver").unwrap();
    assert_eq!(
        (driver.dir.as_str(), driver.build_depends.as_slice()),
        ("ld19", &["communication".to_owned()][..])
    );
    assert!(driver.outside.is_empty() && packages.get("navigation").unwrap().outside.is_empty());
    assert_eq!(packages.get("tools").unwrap().run_depends, ["motors"]);

    team.write("ros_ws/src/tools/colcon.pkg", "name: [tools");
    assert!(team.complaint().contains("colcon.pkg:1:1"), "{}", team.complaint());
}

#[test]
fn a_broken_package_that_no_image_needs_stops_nothing() {
    let team = Team::new();
    team.write("ros_ws/src/vendored/package.xml", "<package><name>vendored</name>\n<depends>x</package>");
    let workspace = team.load().unwrap();
    assert!(workspace.skipped[0].contains("vendored/package.xml:"), "{:?}", workspace.skipped);
    team.package("navigation", "<exec_depend>vendored</exec_depend>");
    assert!(team.complaint().contains("vendored/package.xml:"), "{}", team.complaint());
}
