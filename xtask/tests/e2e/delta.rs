//! The delta transfer together with other machines, killed runs and failing registries.

use super::harness::{
    AGENT_DIR, Engine, Lab, MAIN, MAP, ODOMETRY, PROJECT, Workspace, eventually, incompressible,
};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

fn edit(workspace: &Workspace, line: &str) {
    workspace.edit(ODOMETRY, "    half = turn / 2", &format!("    half = turn / 2  # {line}"));
}

/// Processes in the container of the robot's registry, besides the registry.
fn agents() -> Vec<String> {
    let table = MAIN.exec(&["docker", "top", "xtask-registry", "-eo", "pid,args"]);
    table.lines().filter(|line| line.contains("python")).map(str::to_owned).collect()
}

/// Runs a Python program in place of the registry, until its container is removed.
fn replace_registry(program: &str) {
    let [image, settings] = MAIN.registry_image_and_settings();
    MAIN.exec(&["docker", "rm", "--force", "xtask-registry"]);
    let run = ["docker", "run", "--detach", "--name", "xtask-registry", "--network", "host"];
    let volume = ["--volume", "xtask-registry:/var/lib/registry", "--entrypoint", "python3"];
    MAIN.exec(&[&run[..], &volume, &["--label", &settings, &image, "-c", program]].concat());
}

pub fn a_killed_run_leaves_nothing_and_the_next_goes_on_where_it_stopped(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    workspace.write(MAP, incompressible(12_000_000));
    for signal in ["INT", "KILL"] {
        let (mut run, there) = (workspace.start(&DEPLOY), MAIN.spooled());
        run.until("bytes to arrive", |_| (MAIN.spooled() > there + 3_000_000).then_some(()));
        run.signal(signal);
        // The processes of this machine end, and the robot's agents end when their input closes.
        drop(run.wait_for_all());
        eventually("the agents to end", || agents().is_empty().then_some(()));
        assert_eq!(MAIN.sh(&format!("ls {AGENT_DIR} | grep -c part || true")), "0");
        assert_eq!(MAIN.services(), before);
        Engine::remove_images(&format!("127.0.0.1:5000/{PROJECT}"));
        workspace.forget_temporary_files();
    }
    let start = MAIN.received();
    let there = MAIN.spooled();
    workspace.xtask(&DEPLOY).expect_exit(0);
    let sent = MAIN.received() - start;
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    assert!(sent < 12_000_000 - there + 2_000_000, "{sent} bytes, with {there} of 12 MB there");
    assert_eq!(MAIN.sh(&format!("ls {AGENT_DIR}")), "lock");
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
}

pub fn a_registry_that_fails_stops_the_delivery_and_nothing_else(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    edit(workspace, "while the registry fails");
    // Each connection needs a thread, because clients open some in advance.
    let failing = "import socket, threading\n\
        def serve(client):\n\
        \x20asked = client.recv(65536)\n\
        \x20status = b'200 OK' if b' /v2/ ' in asked[:40] else b'500 Internal Server Error'\n\
        \x20client.sendall(b'HTTP/1.1 ' + status + b'\\r\\nDocker-Distribution-Api-Version: registry/2.0\\r\\n'\n\
        \x20               b'Content-Length: 0\\r\\nConnection: close\\r\\n\\r\\n'); client.close()\n\
        server = socket.create_server(('127.0.0.1', 5000))\n\
        while True: threading.Thread(target=serve, args=(server.accept()[0],)).start()";
    replace_registry(failing);
    let run = workspace.xtask(&DEPLOY);
    MAIN.exec(&["docker", "rm", "--force", "xtask-registry"]);
    run.expect_exit(1).says("push `localization`").says("500 Internal Server Error");
    assert_eq!(MAIN.services(), before);
    assert_eq!(Engine::temporary_tags(&PROJECT), [""; 0]);
    lab.deploy(MAIN);
    MAIN.assert_has_built("localization");
}

pub fn a_registry_that_is_stopped_for_a_while_is_waited_for(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.xtask(&["sim", "up", "main", "--link", "20mbit"]).expect_exit(0);
    workspace.write(MAP, incompressible(12_000_000));
    let mut run = workspace.start(&DEPLOY);
    run.until("bytes to arrive", |_| (MAIN.spooled() > 3_000_000).then_some(()));
    // Paused in the middle, like a disk that has gone to sleep.
    eventually("the registry to be paused", || {
        MAIN.can(&["docker", "pause", "xtask-registry"]).then_some(())
    });
    run.until_nothing_arrives(MAIN);
    MAIN.exec(&["docker", "unpause", "xtask-registry"]);
    run.wait_for_all().expect_exit(0).never_says("`docker push` sends").never_says("the connection dropped");
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    assert_eq!(MAIN.sh(&format!("ls {AGENT_DIR}")), "lock");
}

pub fn a_registry_that_never_answers_is_given_up(lab: &Lab) {
    let workspace = lab.deployed();
    let before = MAIN.services();
    edit(workspace, "while the registry is silent");
    replace_registry(
        "import socket\n\
         server, silent = socket.create_server(('127.0.0.1', 5000)), []\n\
         while True: silent.append(server.accept())",
    );
    let run = workspace.xtask(&DEPLOY);
    MAIN.exec(&["docker", "rm", "--force", "xtask-registry"]);
    run.expect_exit(1).says("the registry on `main` does not answer").says("docker restart xtask-registry");
    assert_eq!(MAIN.services(), before);
    assert_eq!(Engine::temporary_tags(&PROJECT), [""; 0]);
    lab.deploy(MAIN);
    MAIN.assert_has_built("localization");
}

pub fn layers_of_a_teammates_machine_are_built_upon(lab: &Lab) {
    let workspace = lab.deployed();
    let config = "ros_ws/src/localization/maps";
    for number in 0..8 {
        workspace.write(&format!("{config}/part-{number}.yaml"), incompressible(1_500_000));
    }
    workspace.commit("Maps");
    lab.deploy(MAIN);
    // As on another machine: the layers that the robot has are missing here, and one file differs.
    for dir in ["layers", "indexes", "deltas"] {
        std::fs::remove_dir_all(workspace.path(&format!("target/xtask/{dir}"))).unwrap();
    }
    workspace.write(&format!("{config}/part-3.yaml"), incompressible(100_000));
    let start = MAIN.received();
    lab.deploy(MAIN).never_says("`docker push` sends");
    let sent = MAIN.received() - start;
    for image in ["communication", "localization", "navigation", "behavior_tree"] {
        MAIN.assert_has_built(image);
    }
    assert!(sent < 1_000_000, "{sent} bytes for one file of 100 kB among twelve MB");
}
