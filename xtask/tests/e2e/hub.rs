//! Publishing to a team's registry with TLS and a login, and deploying published images to robots.

use std::sync::Arc;

use super::harness::{
    AUTH, As, Engine, Hub, Lab, MAIN, MAP, ODOMETRY, PASSWORD, PROJECT, Robot, SECONDARY, Workspace,
    emulation, incompressible, output, small_workspace,
};

const IMAGES: [&str; 4] = ["behavior_tree", "communication", "localization", "navigation"];
const PUBLISH: [&str; 3] = ["publish", "--yes", "--verbose"];
const BACK: [&str; 9] =
    ["deploy", "--robot", "main,secondary", "--via", "hub", "--tag", "stable", "--yes", "--verbose"];

/// The unedited workspace of a team with a registry, and robots that trust the registry.
fn team(lab: &Lab) -> (&Workspace, Arc<Hub>) {
    let workspace = &lab.workspace;
    workspace.reset();
    workspace.xtask(&["sim", "up"]).expect_exit(0);
    let hub = lab.hub();
    [MAIN, SECONDARY].into_iter().for_each(|robot| hub.is_trusted_by(robot));
    name_the_hub(workspace, &hub);
    workspace.commit("Publish to the registry of the team");
    (workspace, hub)
}

fn name_the_hub(workspace: &Workspace, hub: &Hub) {
    let toml = workspace.read("robots.toml");
    workspace.write("robots.toml", format!("{toml}\n[hub]\nrepository = \"{}\"\n", hub.repository()));
}

/// The revision as it appears in tags.
fn revision(workspace: &Workspace) -> String {
    workspace.git(&["rev-parse", "--short=12", "HEAD"])
}

/// Like [`team`], with the revision published, also as `stable`.
fn published(lab: &Lab) -> (&Workspace, Arc<Hub>) {
    let (workspace, hub) = team(lab);
    workspace.git(&["tag", "--force", "stable"]);
    if !hub.tags().contains(&format!("navigation-{}", revision(workspace))) {
        hub.run(workspace, As::Member, &PUBLISH).expect_exit(0);
    }
    (workspace, hub)
}

/// Deploys an unpublished edit to both robots, so that they have nothing of the images published as `stable`.
fn edited(workspace: &Workspace, hub: &Hub) {
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # not published");
    workspace.xtask(&["deploy", "--robot", "main,secondary", "--yes"]).expect_exit(0);
    for image in IMAGES {
        let digest = hub.image(&format!("{image}-stable")).digest;
        let names = [format!("{}:{image}", hub.repository()), format!("{}@{digest}", hub.repository())];
        for robot in [MAIN, SECONDARY] {
            for name in &names {
                robot.can(&["docker", "image", "rm", name]);
            }
            assert!(!robot.can(&["docker", "image", "inspect", &names[1]]), "{} on {}", names[1], robot.name);
        }
    }
}

/// Fails unless the robot's containers run exactly the registry's images with this tag.
#[track_caller]
fn assert_runs_published(robot: Robot, hub: &Hub, name: &str) {
    let services = robot.services();
    assert_eq!(services.keys().collect::<Vec<_>>(), IMAGES);
    for (image, container) in &services {
        let published = hub.image(&format!("{image}-{name}"));
        assert_eq!(container.reference, format!("{}@{}", hub.repository(), published.digest));
        assert_eq!(robot.layers(image), published.layers, "{image} on {}", robot.name);
        assert_eq!(robot.inspect(image, "{{.Id}}"), container.image, "{image} on {}", robot.name);
    }
}

/// Files on a robot that contain the login or the password.
fn traces(robot: Robot) -> Vec<String> {
    let found = robot.sh(&format!(
        "find /root /home /tmp /dev/shm /run /etc /var \\
             \\( -name overlay2 -o -name rootfs -o -name 'io.containerd.snapshotter*' \\) -prune \\
             -o -type f -size -2048k -exec grep -lF -e '{AUTH}' -e '{PASSWORD}' {{}} + 2>/dev/null || true"
    ));
    found.lines().map(str::to_owned).collect()
}

pub fn a_tree_that_is_not_clean_is_not_published(lab: &Lab) {
    let (workspace, hub) = team(lab);
    let before = hub.tags();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # not committed");
    workspace.write("docker/notes.txt", "not committed either\n");
    hub.run(workspace, As::Member, &PUBLISH)
        .expect_exit(1)
        .says(&format!("these are not committed: `{ODOMETRY}`, `docker/notes.txt`"));
    assert_eq!(hub.tags(), before);
}

pub fn a_revision_is_published_under_its_branch_tags_and_revision(lab: &Lab) {
    let (workspace, hub) = team(lab);
    // A repository within the team's, as `vcs import` clones them; git ignores it.
    let nested = nested(workspace);
    for tag in ["stable", "v1.2"] {
        workspace.git(&["tag", "--force", tag]);
    }
    workspace.write("ros_ws/src/vendor/lidar/notes", "not committed");
    let refused = hub.run(workspace, As::Member, &PUBLISH).expect_exit(1);
    refused.says("`ros_ws/src/vendor`").says("`lidar/notes`");
    workspace.remove("ros_ws/src/vendor/lidar/notes");
    let mut run = hub.run(workspace, As::Member, &PUBLISH).expect_exit(0);
    let revision = revision(workspace);
    let label = "{{index .Config.Labels \"dev.cargo-xtask.repositories\"}}";
    let label = output(&["docker", "image", "inspect", "--format", label, &format!("{PROJECT}:navigation")]);
    assert_eq!(label, format!("ros_ws/src/vendor={nested}"));
    let tags = hub.tags();
    for image in IMAGES {
        let names = ["main", "stable", "v1.2", &revision];
        let digests = names.map(|name| hub.manifest(&format!("{image}-{name}")).0);
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{image}: {digests:?}");
        run = run.says(&format!("{}:{image}-{revision}", hub.repository()));
        let built = Engine::layers(&format!("{PROJECT}:{image}"));
        assert_eq!(hub.image(&format!("{image}-main")).layers, built, "{image}");
        // Besides its other tags, the revision has one tag for each platform.
        let part = format!("{image}-{revision}-");
        assert_eq!(tags.iter().filter(|tag| tag.starts_with(&part)).count(), 1, "{tags:?}");
    }
    run.never_says(PASSWORD).never_says(AUTH);

    // Nothing of it is left on this machine.
    assert_eq!(Engine::names(&format!("{}/*/*", hub.address())), [""; 0]);
    assert_eq!(workspace.git(&["worktree", "list"]).lines().count(), 1);
    let state = std::fs::read_dir(workspace.path("target/xtask")).unwrap();
    let names = state.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("publish-")).collect::<Vec<_>>(), [""; 0]);
    std::fs::remove_dir_all(workspace.path("ros_ws/src/vendor")).unwrap();
}

/// Adds a repository with a package that `navigation` needs; returns its revision.
fn nested(workspace: &Workspace) -> String {
    let package = "<package format=\"3\"><name>lidar</name></package>";
    workspace.write("ros_ws/src/vendor/lidar/package.xml", package);
    let git = |args: &[&str]| workspace.git(&[&["-C", "ros_ws/src/vendor"], args].concat());
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "A lidar"]);
    let depend = "<exec_depend>lidar</exec_depend></package>";
    workspace.edit("ros_ws/src/navigation/package.xml", "</package>", depend);
    workspace.write(".gitignore", "target\n/ros_ws/src/vendor/\n");
    workspace.commit("A lidar");
    git(&["rev-parse", "HEAD"])
}

pub fn robots_are_brought_back_to_a_published_tag(lab: &Lab) {
    let (workspace, hub) = published(lab);
    edited(workspace, &hub);
    let edit = MAIN.layers("localization");
    hub.run(workspace, As::Member, &BACK)
        .expect_exit(0)
        .says("the robot pulled 4 of 4 images itself")
        .never_says(PASSWORD)
        .never_says(AUTH);
    [MAIN, SECONDARY].into_iter().for_each(|robot| assert_runs_published(robot, &hub, "stable"));
    assert_ne!(MAIN.layers("localization"), edit);

    let before = [MAIN, SECONDARY].map(Robot::services);
    hub.run(workspace, As::Member, &BACK).expect_exit(0).says("nothing changed; nothing sent");
    // Without a tag, the current revision is used, which is the same one.
    let current = ["deploy", "--robot", "main,secondary", "--via", "hub", "--yes"];
    hub.run(workspace, As::Member, &current).expect_exit(0).says("nothing changed; nothing sent");
    assert_eq!([MAIN, SECONDARY].map(Robot::services), before);
}

pub fn a_login_is_in_no_file_of_robots_while_they_pull(lab: &Lab) {
    let (workspace, hub) = team(lab);
    workspace.xtask(&["deploy", "--robot", "main,secondary", "--yes"]).expect_exit(0);
    let before = [MAIN, SECONDARY].map(Robot::services);
    workspace.write(MAP, incompressible(6_000_000));
    workspace.commit("A map of another hall");
    hub.run(workspace, As::Member, &PUBLISH).expect_exit(0);

    // Slow enough to inspect the robot during the pull.
    workspace.xtask(&["sim", "up", "--link", "10mbit"]).expect_exit(0);
    let deploy = ["deploy", "--robot", "main,secondary", "--via", "hub", "--yes", "--verbose"];
    let mut run = hub.begin(workspace, As::Member, &deploy);
    for robot in [MAIN, SECONDARY] {
        let pull = format!("docker pull --quiet {}", hub.repository());
        let processes = run.until("the pull", |_| {
            Some(robot.exec(&["ps", "axeww"])).filter(|processes| processes.contains(&pull))
        });
        assert!(!processes.contains(PASSWORD) && !processes.contains(AUTH), "{processes}");
        // No file contains the login, even during the pull: not on disk, and not in the shared memory that
        // containers with the host's IPC namespace and the user's UID can read.
        assert_eq!(traces(robot), [""; 0]);
        assert_eq!(robot.sh("find /dev/shm /tmp -name 'xtask*' -user robot"), "");
        let place = "/home/robot/.deploy/login";
        let list = robot.sh(&format!("stat -c '%a %U' {place}; ls -A {place}; readlink {place}/config.json"));
        assert_eq!(list, "700 robot\nconfig.json\n/dev/stdin");
        // Nor does the environment of any process.
        let environments = format!("grep -laF -e '{AUTH}' -e '{PASSWORD}' /proc/[0-9]*/environ || true");
        assert_eq!(robot.sh(&format!("({environments}) 2>/dev/null | grep -v /self/ || true")), "");
    }
    let here = run.processes();
    assert!(here.iter().all(|(_, line)| !line.contains(PASSWORD) && !line.contains(AUTH)), "{here:?}");
    run.interrupt();
    run.wait_for_all().expect_exit(130).never_says(PASSWORD).never_says(AUTH);
    assert_eq!([MAIN, SECONDARY].map(Robot::services), before);

    workspace.xtask(&["sim", "up", "--link", "off"]).expect_exit(0);
    hub.run(workspace, As::Member, &deploy).expect_exit(0);
    for robot in [MAIN, SECONDARY] {
        assert_runs_published(robot, &hub, &revision(workspace));
        assert_eq!(traces(robot), [""; 0]);
    }
}

pub fn what_keeps_published_images_away_is_told_and_changes_nothing(lab: &Lab) {
    let (workspace, hub) = published(lab);
    edited(workspace, &hub);
    let before = [MAIN, SECONDARY].map(Robot::services);
    let tags = hub.tags();
    let address = hub.address();
    let login = format!("`docker login {address}`");
    for who in [As::Stranger, As::Former] {
        hub.run(workspace, who, &BACK)
            .expect_exit(1)
            .says(&format!("{address} does not accept the login"))
            .says(&login);
    }
    let unknown = ["deploy", "--robot", "main,secondary", "--via", "hub", "--tag", "v9", "--yes"];
    hub.run(workspace, As::Member, &unknown)
        .expect_exit(1)
        .says(&format!("{address} does not have the image"))
        .says("cargo xtask publish");
    let off = hub.while_off(|| hub.run(workspace, As::Member, &BACK));
    off.expect_exit(1).says(&format!("this machine cannot reach {address}"));

    // A robot that cannot pull does not stop the other.
    hub.is_not_trusted_by(MAIN);
    let run = hub.run(workspace, As::Member, &BACK);
    run.expect_exit(1)
        .says(&format!("`main` does not trust {address}"))
        .says(&format!("/etc/docker/certs.d/{address}/ca.crt"))
        .never_says(AUTH);
    assert_eq!(MAIN.services(), before[0]);
    assert_runs_published(SECONDARY, &hub, "stable");
    for robot in [MAIN, SECONDARY] {
        assert_eq!(traces(robot), [""; 0]);
    }

    workspace.commit("What nobody gets to see");
    for who in [As::Stranger, As::Former] {
        hub.run(workspace, who, &PUBLISH).expect_exit(1).says(&login);
    }
    assert_eq!(hub.tags(), tags);
    assert_eq!(workspace.git(&["worktree", "list"]).lines().count(), 1);
}

pub fn a_tag_holds_the_images_of_several_platforms(lab: &Lab) {
    let (_, hub) = team(lab);
    let (workspace, pc) = (small_workspace(&PROJECT), Robot { name: "pc" });
    let toml = workspace.read("robots.toml");
    let robot = "[robots.pc]\nsimulated = true\nstore = \"containerd\"\ncompose = \"docker/compose.yaml\"\n";
    workspace.write("robots.toml", toml + robot);
    name_the_hub(&workspace, &hub);
    let service = format!("{{ image: \"{PROJECT}:hello\", command: [sleep, infinity], init: true }}");
    workspace.write("docker/compose.yaml", format!("services: {{ hello: {service} }}\n"));
    workspace.write(".gitignore", "/target/\n");
    workspace.git(&["init", "--quiet", "--initial-branch=main"]);
    workspace.commit("Hello on two platforms");

    emulation::ended();
    workspace.xtask(&["setup", "--emulation", "--yes"]).expect_exit(0);
    hub.run(&workspace, As::Member, &PUBLISH).expect_exit(0).says("linux/amd64,linux/arm64");
    let parts = hub.architectures("hello-main");
    let architectures: Vec<&str> = parts.iter().map(|(architecture, _)| architecture.as_str()).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    assert_ne!(parts[0].1, parts[1].1);

    workspace.xtask(&["sim", "up", "pc"]).expect_exit(0);
    hub.is_trusted_by(pc);
    let deploy = ["deploy", "--robot", "pc", "--via", "hub", "--tag", "main", "--yes"];
    hub.run(&workspace, As::Member, &deploy).expect_exit(0);
    let published = hub.image("hello-main");
    assert_eq!(pc.services()["hello"].reference, format!("{}@{}", hub.repository(), published.digest));
    assert_eq!(pc.layers("hello"), published.layers);
    assert_eq!(pc.file("hello", "/opt/hello/machine"), output(&["uname", "-m"]));

    // The robot has these layers already, compressed differently than by local builds: they must be usable
    // anyway.
    for arguments in [["--yes", "--via", "registry"], ["--yes", "--via", "archive"]] {
        workspace.xtask(&[&["deploy", "--robot", "pc"], &arguments[..]].concat()).expect_exit(0);
        assert_eq!(pc.layers("hello"), Engine::layers(&format!("{PROJECT}:hello")));
        assert!(!pc.services()["hello"].reference.contains(hub.address()));
    }
    workspace.xtask(&["sim", "down", "pc"]).expect_exit(0);
}
