//! A `deploy` without problems: its commands, their order, and its output.

use std::io::Read as _;

use super::answers;
use super::lab::{Lab, in_order, robot};
use super::registry::Registry;

#[test]
fn a_first_deploy_builds_brings_the_registry_pushes_pulls_and_starts() {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    lab.on(
        "ssh",
        "*'sh -s -- xtask-registry '*",
        "cat >/dev/null; [ -e \"$lab/loaded\" ] && echo started || echo 'image missing'",
    );
    lab.on("ssh", "*'docker load --quiet'*", "cat >/dev/null; : >\"$lab/loaded\"");
    let ran = lab.run(&["deploy"]).expect(0);
    in_order(&ran.stdout, &["ROBOT  SERVICE", "main   camera", "main   navigation"]);
    let port = registry.port_seen(&lab);
    // Commands that run at the same time, on this machine and on the robot, may come in any order.
    let here: Vec<String> = lab.calls().into_iter().filter(|call| !call.starts_with("ssh ")).collect();
    in_order(
        &here.join("\n"),
        &[
            "docker compose --file",
            "docker image inspect --format {{.Id}} xtask-base:trixie-",
            "docker buildx bake '--builder=default' '--provenance=false' '--sbom=false' --file",
            "--progress=plain' --metadata-file",
            &format!("docker tag {} 127.0.0.1:{port}/eurobot:camera\n", lab.own_name("camera")),
            &format!("docker push 127.0.0.1:{port}/eurobot:camera\n"),
            &format!("docker image rm 127.0.0.1:{port}/eurobot:camera\n"),
            &format!("docker tag {} 127.0.0.1:{port}/eurobot:navigation\n", lab.own_name("navigation")),
            &format!("docker push 127.0.0.1:{port}/eurobot:navigation\n"),
            &format!("docker image rm 127.0.0.1:{port}/eurobot:navigation"),
        ],
    );
    let there = lab.calls_of("ssh ").join("\n");
    in_order(
        &there,
        &[
            "'ControlMaster=yes' -o 'ControlPath=",
            "-- nuc@main.lab 'echo xtask-connection-ready; exec cat >/dev/null'\n",
            "'sh -s -- eurobot 127.0.0.1:5000/eurobot'\n",
            "'sh -s -- xtask-registry xtask-registry:",
            "'docker load --quiet'\n",
            "'sh -s -- xtask-registry xtask-registry:",
            "-O forward -L ",
            &format!(
                "'sh -s -- 127.0.0.1:5000/eurobot@{} 127.0.0.1:5000/eurobot:camera eurobot:camera ",
                registry.digest("camera")
            ),
            "launch eurobot ",
            "'sh -s -- eurobot '",
        ],
    );
    assert!(lab.all_masters_are_gone());
}

#[test]
fn a_second_deploy_of_the_same_asks_two_things_of_the_robot_and_changes_nothing() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.run(&["deploy"]).expect(0);
    lab.remember_release();
    let before = lab.calls().len();
    let ran = lab.run(&["deploy"]).expect(0);
    assert!(ran.stderr.contains("nothing changed"), "{}", ran.stderr);
    let calls = &lab.calls()[before..];
    assert!(!calls.iter().any(|call| call.contains("push") || call.contains("docker load")), "{calls:#?}");
    let there: Vec<_> = calls.iter().filter(|call| call.starts_with("ssh ")).collect();
    assert_eq!(there.len(), 2, "the connection and one survey: {there:#?}");
}

#[test]
fn no_start_delivers_only() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.run(&["deploy", "--no-start"]).expect(0);
    assert!(lab.calls().iter().all(|call| !call.contains("launch eurobot")));
    assert!(lab.calls().iter().any(|call| call.starts_with("docker push")));
}

#[test]
fn secrets_are_on_no_command_line_and_in_no_output() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let ran = lab.run(&["deploy", "--verbose"]).expect(0);
    let mut release = Vec::new();
    flate2::read::GzDecoder::new(&*lab.bytes("release.tar.gz")).read_to_end(&mut release).unwrap();
    assert!(release.windows(9).any(|bytes| bytes == b"swordfish"), "the robot got it");
    for text in [&lab.calls().join("\n"), &ran.stdout, &ran.stderr] {
        assert!(!text.contains("swordfish"), "{text}");
    }
    in_order(&ran.stderr, &[" API_TOKEN=\"$API_TOKEN\" ROS_DOMAIN_ID=\"$ROS_DOMAIN_ID\" docker compose"]);
    assert!(ran.stderr.contains(" < release.tar.gz\n"));
    let dry = lab.run(&["deploy", "-nv"]).expect(0);
    assert!(!(dry.stdout + &dry.stderr).contains("swordfish"));
}

#[test]
fn verbose_echoes_what_runs_ready_to_paste() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let ran = lab.run(&["deploy", "-v"]).expect(0);
    let script: String = echoed(&ran.stderr);
    super::shell::assert_takes("sh", &script);
    for call in lab.calls().iter().filter(|call| !call.starts_with("ssh ")) {
        let words = without_metadata_file(shell_words::split(call).unwrap());
        let echo = script.lines().filter_map(|line| shell_words::split(line).ok());
        let mut echo =
            echo.map(|line| line.into_iter().skip_while(|word| *word != words[0]).collect::<Vec<_>>());
        assert!(echo.any(|line| line == words), "`{call}` was not echoed in\n{script}");
    }
    assert!(!ran.stdout.contains('$'), "progress is no result: {}", ran.stdout);
}

/// Without the file by which BuildKit answers, and which is not printed.
fn without_metadata_file(mut words: Vec<String>) -> Vec<String> {
    if let Some(at) = words.iter().position(|word| word == "--metadata-file") {
        words.drain(at..at + 2);
    }
    words
}

/// Commands that verbose mode printed, with their here-documents and without the rest of stderr.
fn echoed(stderr: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in stderr.lines() {
        let command = line.strip_prefix("$ ");
        if let Some(line) = command.or(inside.then_some(line)) {
            script.push_str(line);
            script.push('\n');
            inside = (inside || line.contains("<<'END-OF-INPUT'")) && line != "END-OF-INPUT";
            // The script that starts containers is a multi-line argument.
            inside |= command.is_some() && line.contains("sh -c '") && !line.ends_with("release.tar.gz");
            inside &= !line.ends_with("< release.tar.gz");
        }
    }
    script
}

#[test]
fn two_robots_are_served_at_once_through_ports_of_their_own() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let _registry = Registry::start(&lab);
    // Each robot's first push waits until the other robot's push has started.
    lab.on(
        "docker",
        "'push '*camera",
        "echo x >>\"$lab/pushes\"
         until { read -r _ && read -r _; } <\"$lab/pushes\"; do :; done",
    );
    lab.run(&["deploy", "--all"]).expect(0);
    let pushed = lab.calls_of("docker push ");
    assert_eq!(pushed.len(), 4, "{pushed:#?}");
    let ports: std::collections::BTreeSet<_> =
        pushed.iter().map(|call| call.split(['/', ':']).nth(1).map(str::to_owned)).collect();
    assert_eq!(ports.len(), 2, "{pushed:#?}");
}

#[test]
fn timings_are_written_where_one_wants_them_and_only_if_asked_for() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.run(&["deploy"]).expect(0);
    assert!(!lab.exists("work space/target/xtask/timings.html"));
    lab.run(&["deploy", "--timings", "-n"]).expect(0);
    assert!(!lab.exists("work space/target/xtask/timings.html"));

    lab.run(&["deploy", "--timings"]).expect(0).says(&["target/xtask/timings.html"]);
    let page = String::from_utf8(lab.bytes("work space/target/xtask/timings.html")).unwrap();
    in_order(&page, &["<title>deploy eurobot</title>", "<dd>done</dd>", "data-lane=\"main\"", "connect"]);
    lab.run(&["build-images", "camera", "--timings=pages/build.html"]).expect(0).says(&["pages/build.html"]);
    let page = String::from_utf8(lab.bytes("work space/pages/build.html")).unwrap();
    in_order(&page, &["<title>build-images eurobot</title>", "data-lane=\"build\"", "build of camera"]);
}

/// A lab whose build prints the stored digests, waits until the robot has the images, and then ends with
/// `end`.
fn unpacking_while_it_is_delivered(end: &str) -> (Lab, Registry) {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    let stored = |image| {
        let (digest, own) = (registry.digest(image), lab.own_name(image));
        format!(
            "echo '#5 [{image}] exporting to image'
             echo '#5 exporting manifest {digest} done'
             echo '#5 naming to docker.io/library/eurobot:{image} done'
             echo '#5 naming to docker.io/{own} done'
             echo '#5 unpacking to docker.io/library/eurobot:{image}'\n"
        )
    };
    let until_delivered = "n=0; until [ -e \"$lab/pulled\" ]; do
        sleep 0.01; n=$((n + 1)); [ $n -lt 2000 ] || exit 9
    done\n";
    let bake = ["camera", "navigation"].map(stored).concat() + until_delivered + end;
    lab.on("docker", "'buildx bake '*", &bake);
    (lab, registry)
}

#[test]
fn images_are_delivered_while_buildkit_unpacks_them() {
    let (lab, _registry) = unpacking_while_it_is_delivered(answers::BAKE);
    lab.run(&["deploy"]).expect(0).says(&["main sent"]);
    assert!(lab.exists("running"));
}

#[test]
fn nothing_is_started_of_a_build_that_fails_in_the_end() {
    let (lab, _registry) = unpacking_while_it_is_delivered("echo 'ERROR: no space left on device'; exit 17");
    lab.run(&["deploy"]).expect(1).says(&["no space left on device", "exit status: 17"]);
    assert!(lab.exists("pulled") && !lab.exists("running"));
    assert!(lab.all_masters_are_gone());
}

#[test]
fn nothing_is_delivered_of_a_build_that_lacks_an_image() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let bake =
        "echo '#5 exporting manifest sha256:aa done'; echo '#5 naming to eurobot:camera done'; exit 17";
    lab.on("docker", "'buildx bake '*", bake);
    lab.run(&["deploy"]).expect(1).says(&["exit status: 17"]);
    assert!(lab.calls_of("docker push").is_empty() && !lab.exists("pulled"));
}

#[test]
fn timings_are_written_of_what_failed() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let _registry = Registry::start(&lab);
    lab.on(
        "docker",
        "'buildx bake '*",
        "echo '#5 [camera build-camera 2/2] RUN build-package <camera>'; echo '#5 DONE 2.5s'
         echo '#6 [camera build-msgs 2/2] RUN build-package msgs'; echo '#6 ERROR: exit code: 3'; exit 17",
    );
    lab.run(&["deploy", "--all", "--timings", "page.html"]).expect(1).says(&["page.html", "error:"]);
    let page = String::from_utf8(lab.bytes("work space/page.html")).unwrap();
    in_order(
        &page,
        &[
            "<p class=\"failure\">",
            "building `msgs` failed",
            "<dd>failed</dd>",
            "data-lane=\"second\"",
            "build-camera: RUN build-package &lt;camera&gt;",
        ],
    );
}

#[test]
fn an_archive_needs_no_registry_and_names_what_it_loaded_by_its_content() {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    registry.save(&lab);
    let [camera, navigation] = ["camera", "navigation"].map(|image| registry.digest(image)[7..19].to_owned());

    let ran = lab.run(&["deploy", "--via", "archive"]).expect(0);
    in_order(&ran.stdout, &[&format!("camera      {camera}"), &format!("navigation  {navigation}")]);
    let calls = lab.calls().join("\n");
    assert!(!calls.contains("xtask-registry") && !calls.contains("docker push"), "{calls}");
    in_order(&calls, &["docker save sha256:", "launch eurobot "]);
    let loaded = zstd::decode_all(lab.bytes("loaded.tar.zst").as_slice()).unwrap();
    assert_eq!(loaded, registry.saved());

    let before = lab.calls().len();
    lab.remember_release();
    let again = lab.run(&["deploy", "--via", "archive"]).expect(0);
    assert!(again.stderr.contains("nothing changed; nothing sent"), "{}", again.stderr);
    let there = lab.calls()[before..].iter().filter(|call| call.starts_with("ssh ")).count();
    assert_eq!(there, 2, "the connection and one survey");
}

#[test]
fn an_archive_that_a_robot_cannot_load_is_explained_by_the_robot() {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    std::fs::write(lab.dir.join("saved.tar"), registry.saved()).unwrap();
    lab.on("docker", "'save '*", "cat \"$lab/saved.tar\"");
    lab.fails("ssh", "*'docker load'", 1, "write /blobs: no space left on device");
    lab.run(&["deploy", "--via", "archive"])
        .expect(1)
        .says(&["load images on `main`", "no space left on device"]);
    lab.fails("docker", "'save '*", 1, "Error response from daemon: No such image");
    lab.on("ssh", "*'docker load'", "cat >/dev/null");
    lab.run(&["deploy", "--via", "archive"]).expect(1).says(&["docker save", "No such image"]);
    assert!(lab.calls().iter().all(|call| !call.contains("launch eurobot")));
    assert!(lab.all_masters_are_gone() && lab.temporary_files().is_empty());
}

#[test]
fn packages_in_no_image_and_images_in_no_service_are_told_once() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.write("ros_ws/src/lidar/package.xml", "<package format=\"3\"><name>lidar</name></package>");
    let toml = String::from_utf8(lab.bytes("work space/robots.toml")).unwrap();
    lab.write("robots.toml", &format!("{toml}\n[images.idle]\npackages = [\"camera\"]\n"));
    let package = "package `lidar` is in no image: add it to `packages` of an image in robots.toml";
    let image = "image `idle` is in no service: `image: eurobot:NAME` in a Compose file runs it";
    lab.run(&["deploy", "-n"]).expect(0).says(&[package, image]);
    lab.run(&["build-images", "camera"]).expect(0).says(&[package]);
    let ran = lab.run(&["deploy"]).expect(0).says(&[image]);
    assert!(!ran.stderr.contains(package), "{}", ran.stderr);
    let again = lab.run(&["deploy"]).expect(0);
    assert!(!again.stderr.contains("is in no"), "{}", again.stderr);
    lab.write("ros_ws/src/radar/package.xml", "<package format=\"3\"><name>radar</name></package>");
    lab.run(&["deploy"]).expect(0).says(&["packages `lidar`, `radar` are in no image"]);
}

#[test]
fn a_repository_without_a_commit_is_deployed() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.fails("git", "*'log -1'*", 128, "fatal: your current branch 'main' does not have any commits yet");
    lab.run(&["deploy"]).expect(0);
}
