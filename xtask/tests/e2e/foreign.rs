//! Images that the packages of the workspace are not in: of others, and of Dockerfiles that a Compose file names.

use super::compose::{COMPOSE, DEPLOY};
use super::harness::{As, Hub, Lab, MAIN, ODOMETRY, ODOMETRY_THERE, PROJECT, Workspace, output};

/// Adds a service that only waits.
fn add_service(workspace: &Workspace, name: &str, image: &str) {
    let rest = "command: [sleep, \"1000\"]\n    stop_signal: KILL\n    restart: unless-stopped\n";
    let service = format!("  {name}:\n    {image}\n    {rest}");
    workspace.write(COMPOSE, format!("{}{service}", workspace.read(COMPOSE)));
}

/// Publishes an image with a text in it, and keeps nothing of it here.
fn publish(hub: &Hub, name: &str, text: &str) {
    let image = format!("{PROJECT}-lidar:1");
    let dockerfile = format!("FROM {PROJECT}:localization\nRUN echo {text} >/version\n");
    let build = "printf '%s' \"$1\" | docker build --quiet --tag \"$2\" -";
    output(&["sh", "-ec", build, "sh", &dockerfile, &image]);
    hub.push(&image, name);
}

pub fn images_of_others_travel_and_are_pinned(lab: &Lab) {
    let workspace = lab.deployed();
    let hub = lab.hub();
    let name = format!("{}/team/lidar:1", hub.address());
    publish(&hub, &name, "first");
    add_service(workspace, "lidar", &format!("image: {name}"));
    // Without the login of this machine there is nothing to send.
    let before = MAIN.services();
    let refused = hub.run(workspace, As::Stranger, &DEPLOY).expect_exit(1);
    refused.says(&format!("the image {name} cannot be pulled")).says("`docker login`");
    assert_eq!(MAIN.services(), before);

    hub.run(workspace, As::Member, &DEPLOY).expect_exit(0).says("wrote `images.lock`: commit it");
    assert_eq!(MAIN.file("lidar", "/version"), "first");
    let lock = workspace.read("images.lock");
    assert!(lock.contains(&format!("\"{name}\" = \"sha256:")), "{lock}");

    // Another image has the tag now: deploys take the pinned one, also without the registry.
    publish(&hub, &name, "second");
    let again = hub.while_off(|| workspace.xtask(&DEPLOY).expect_exit(0));
    again.says("nothing changed");
    hub.run(workspace, As::Member, &["pull"]).expect_exit(0).says("newer than before");
    assert_ne!(workspace.read("images.lock"), lock);
    workspace.xtask(&DEPLOY).expect_exit(0);
    assert_eq!(MAIN.file("lidar", "/version"), "second");
    workspace.xtask(&["rollback", "--robot", "main"]).expect_exit(0);
    assert_eq!(MAIN.file("lidar", "/version"), "first");
    workspace.xtask(&["prune", "--robot", "main"]).expect_exit(0);
    workspace.xtask(&DEPLOY).expect_exit(0);
    assert_eq!(MAIN.file("lidar", "/version"), "second");

    // In a bundle, too.
    let bundle = ["deploy", "--robot", "main", "--via", "archive", "--to", "lidar.bundle"];
    workspace.xtask(&bundle).expect_exit(0);
    MAIN.sh(&format!("docker rm --force {PROJECT}-lidar-1"));
    workspace.xtask(&["load-bundle", "lidar.bundle", "--robot", "main"]).expect_exit(0);
    assert_eq!(MAIN.file("lidar", "/version"), "second");
    forget_images(&hub);
    assert_eq!(workspace.temporary_files(), Vec::<std::path::PathBuf>::new());
}

/// Removes what was pulled from this machine.
fn forget_images(hub: &Hub) {
    let pulled = format!("reference={}/team/lidar", hub.address());
    let kept = [format!("label=dev.cargo-xtask.project={PROJECT}"), "reference=xtask-base".to_owned()];
    for filters in [&[pulled][..], &kept] {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let list: Vec<&str> = ["docker", "image", "ls", "--quiet"].into_iter().chain(filters).collect();
        for id in output(&list).lines() {
            output(&["docker", "image", "rm", "--force", id]);
        }
    }
}

pub fn a_dockerfile_of_a_compose_file_is_built(lab: &Lab) {
    let workspace = lab.deployed();
    let build = "build: { context: ../lidar, dockerfile: ../images/lidar, target: run, args: { MODEL: \"${MODEL}\" }, additional_contexts: { shared: ../shared } }";
    add_service(workspace, "lidar", build);
    workspace.write("shared/range.txt", "12 m\n");
    workspace.write(
        "images/lidar",
        format!(
            "FROM {PROJECT}:localization AS run\nARG MODEL\nRUN echo $MODEL >/model\nCOPY driver /driver\n\
             COPY --from=shared range.txt /\n\nFROM run AS test\nRUN false\n"
        ),
    );
    workspace.write("lidar/driver/main.py", "print('1')\n");
    // Another service runs the same image.
    workspace.edit(COMPOSE, "  lidar:\n", "  lidar:\n    image: team/lidar:1\n");
    add_service(workspace, "lidar_rear", "image: team/lidar:1");
    workspace.xtask(&DEPLOY).expect_exit(2).says("`MODEL` (docker/compose.yaml:");
    for robot in ["main", "secondary"] {
        let name = format!("ROBOT_NAME = \"{robot}\"");
        workspace.edit("robots.toml", &name, &format!("{name}, MODEL = \"ld19\""));
    }
    lab.deploy(MAIN);
    assert_eq!(MAIN.file("lidar", "/model"), "ld19");
    assert_eq!(MAIN.file("lidar", "/range.txt"), "12 m");
    assert_eq!(MAIN.file("lidar_rear", "/model"), "ld19");
    workspace.xtask(&DEPLOY).expect_exit(0).says("nothing changed");

    let before = MAIN.services();
    workspace.write("lidar/driver/main.py", "print('2')\n");
    lab.deploy(MAIN);
    assert_eq!(MAIN.file("lidar", "/driver/main.py"), "print('2')");
    let after = MAIN.services();
    let replaced: Vec<&String> = after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert_eq!(replaced, ["lidar", "lidar_rear"]);

    drop(workspace.xtask(&["build-images", "lidar"]).expect_exit(0).says(":lidar-"));

    workspace.edit(COMPOSE, "target: run", "target: run, privileged: true");
    workspace.xtask(&DEPLOY).expect_exit(2).says("`privileged` cannot be built here");
    workspace.edit(COMPOSE, ", privileged: true", "");
    workspace.edit("images/lidar", "COPY driver", "COPY drive");
    workspace.xtask(&DEPLOY).expect_exit(1).says("/drive");
    assert_eq!(MAIN.services(), after);
}

pub fn a_dockerfile_builds_upon_images_of_the_project(lab: &Lab) {
    let workspace = lab.deployed();
    add_service(workspace, "tools", "build: ../tools\n    image: team/tools:latest");
    add_service(workspace, "camera", "build: { context: ../camera, args: { BASE: docker.io/team/tools } }");
    workspace.write("tools/Dockerfile", format!("FROM {PROJECT}:localization\nCOPY tool.py /\n"));
    workspace.write("tools/tool.py", "1");
    workspace.write("camera/Dockerfile", "ARG BASE\nFROM $BASE\nCOPY camera.py /\n");
    workspace.write("camera/camera.py", "1");
    // An image of robots.toml may have a Dockerfile of its own, too.
    add_service(workspace, "lidar", &format!("image: {PROJECT}:lidar"));
    let image = "[images.lidar]\ncontext = \"lidar\"\ndockerfile = \"run.Dockerfile\"\ntarget = \"run\"\nargs = { MODEL = \"ld19\" }\n";
    workspace.write("robots.toml", format!("{}\n{image}", workspace.read("robots.toml")));
    let run = "FROM team/tools AS run\nARG MODEL\nRUN echo $MODEL >/model\nFROM run AS last\nRUN false\n";
    workspace.write("lidar/run.Dockerfile", run);
    lab.deploy(MAIN);
    assert_eq!((MAIN.file("lidar", "/model"), MAIN.file("lidar", "/tool.py")), ("ld19".into(), "1".into()));
    drop(workspace.xtask(&["build-images", "lidar"]).expect_exit(0).says(&format!("{PROJECT}:lidar ")));
    assert_eq!(
        (MAIN.file("camera", "/tool.py"), MAIN.file("camera", "/camera.py")),
        ("1".into(), "1".into())
    );
    lab.deploy(MAIN).says("nothing changed");

    // Each edit arrives in all images that are built upon the edited one.
    let tools = MAIN.services()["tools"].clone();
    workspace.write("camera/camera.py", "2");
    lab.deploy(MAIN);
    assert_eq!((MAIN.file("camera", "/camera.py"), &MAIN.services()["tools"]), ("2".into(), &tools));
    workspace.write("tools/tool.py", "2");
    lab.deploy(MAIN);
    assert_eq!((MAIN.file("camera", "/tool.py"), MAIN.file("tools", "/tool.py")), ("2".into(), "2".into()));
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # below");
    lab.deploy(MAIN);
    assert!(MAIN.file("camera", ODOMETRY_THERE).contains("# below"));

    let before = MAIN.services();
    workspace.write("tools/Dockerfile", "FROM camera\n");
    workspace.edit(COMPOSE, "build: { context: ../camera", "image: camera\n    build: { context: ../camera");
    workspace.xtask(&DEPLOY).expect_exit(2).says("images build upon each other: `camera");
    assert_eq!(MAIN.services(), before);
}

pub fn a_repository_may_have_nothing_but_dockerfiles_and_a_compose_file(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.remove(COMPOSE);
    workspace.write("lidar/Dockerfile", format!("FROM {PROJECT}:localization\nCOPY main.sh /main.sh\n"));
    workspace.write("lidar/main.sh", "sleep 1000\n");
    workspace.write(
        "compose.yaml",
        "services:\n  lidar:\n    build: lidar\n    command: [sh, /main.sh]\n    stop_signal: KILL\n    restart: always\n",
    );
    let dockerfile = format!("FROM {PROJECT}:localization\\nRUN echo inline >/inline\\n");
    let rest = "command: [sleep, \"1000\"]\n    stop_signal: KILL\n";
    let service = format!("  inline:\n    build:\n      dockerfile_inline: \"{dockerfile}\"\n    {rest}");
    workspace.write("compose.yaml", workspace.read("compose.yaml") + &service);
    let robot = "[robots.main]\nsimulated = true\n";
    workspace.write("robots.toml", format!("[project]\nname = \"{PROJECT}\"\n{robot}"));
    lab.deploy(MAIN);
    assert_eq!(MAIN.services().keys().collect::<Vec<_>>(), ["inline", "lidar"]);
    assert_eq!(MAIN.file("inline", "/inline"), "inline");
    assert_eq!(MAIN.file("lidar", "/main.sh"), "sleep 1000");

    // What is saved there is deployed.
    let mut watch = workspace.start(&["watch", "--robot", "main"]);
    watch.until_it_says("waiting for a save");
    workspace.write("lidar/main.sh", "sleep 2000\n");
    watch.until_it_says("lidar/main.sh was saved");
    watch.until("the second deploy to end", |watch| {
        (watch.stderr().matches("waiting for a save").count() == 2).then_some(())
    });
    watch.interrupt();
    watch.wait_for_all().expect_exit(0);
    assert_eq!(MAIN.file("lidar", "/main.sh"), "sleep 2000");
    assert_eq!(workspace.temporary_files(), Vec::<std::path::PathBuf>::new());
}
