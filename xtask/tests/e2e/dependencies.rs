//! Dependencies that the base lacks: rosdep finds packages, and builds install them above the base.

use super::harness::{Engine, Lab, MAIN, PROJECT};

const PACKAGE: &str = "ros_ws/src/communication/package.xml";
const LOCK: &str = "docker/rosdep.lock";

pub fn a_dependency_that_the_base_lacks_reaches_the_robot(lab: &Lab) {
    let workspace = lab.deployed();
    let depends = |depends: &str| workspace.edit(PACKAGE, "</package>", &format!("  {depends}\n</package>"));
    depends("<exec_depend>python3-serail</exec_depend>");
    let refused = workspace.xtask(&["deploy", "--robot", "main", "--yes"]).expect_exit(2);
    refused.says(&format!("`python3-serail` ({PACKAGE}:")).says("did you mean `python3-serial`?");
    assert!(!std::path::Path::new(workspace.path(LOCK)).exists(), "nothing is half done");

    // By the name of a Debian package, and by a rule of the team; the latter with what PyPI says that it needs.
    workspace.edit(PACKAGE, "python3-serail", "python3-serial");
    depends("<exec_depend>team_bus</exec_depend>\n  <test_depend>ament_lint_auto</test_depend>");
    workspace.write("docker/rosdep.yaml", "team_bus: {'*': {pip: {packages: [mavlogdump-none]}}}\n");
    workspace.xtask(&["build-images"]).expect_exit(2).says("pip cannot install mavlogdump-none");
    workspace.write("docker/rosdep.yaml", "team_bus: {'*': {pip: {packages: [pymodbus]}}}\n");
    let (layers, others) = (MAIN.layers("communication"), MAIN.layers("navigation"));
    lab.deploy(MAIN).says("tests run without `ament_lint_auto`").says("commit it");
    MAIN.wait_until_healthy();
    let places = "import serial, pymodbus; print(serial.__file__, pymodbus.__file__)";
    let python = ["docker", "exec", &format!("{PROJECT}-communication-1"), "python3", "-c", places];
    let places = MAIN.exec(&python);
    assert!(places.starts_with("/usr/lib/python3/dist-packages/serial/"), "{places}");
    assert!(places.contains(" /usr/local/lib/python3."), "{places}");

    // ROS and the team's packages are the same layers: the dependencies are below them.
    let count = |before: &[String], after: &[String]| {
        assert_eq!(before.len(), after.len());
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    };
    assert_eq!(count(&layers, &MAIN.layers("communication")), 3, "of apt, of Python, and the package");
    assert_eq!(count(&others, &MAIN.layers("navigation")), 2);

    // The package sources have moved on.
    let lock = workspace.read(LOCK);
    workspace.write(LOCK, lock.replace("\"apt:python3-serial\" = \"3", "\"apt:python3-serial\" = \"0.3"));
    let failed = workspace.xtask(&["build-images"]).expect_exit(1);
    failed.says("cannot install the versions of rosdep.lock").says("cargo xtask deps --update");
    workspace.xtask(&["deps", "--update"]).expect_exit(0).says("`python3-serial` is apt:python3-serial");
    assert_eq!(workspace.read(LOCK), lock);

    // Another rule for a key counts at once.
    workspace.write("docker/rosdep.yaml", "team_bus: {'*': {pip: {packages: [pyserial]}}}\n");
    workspace.xtask(&["build-images"]).expect_exit(0).says("`team_bus` is pip:pyserial");

    // Rosdep is asked no more, and what nobody needs any more is not installed.
    workspace.edit(PACKAGE, "<exec_depend>python3-serial</exec_depend>", "");
    workspace.xtask(&["build-images"]).expect_exit(0).never_says("rosdep about");
    assert_eq!(Engine::layers(&format!("{PROJECT}:navigation"))[..2], others[..2]);
}
