//! `--dry-run`: prints the commands as a script, and changes nothing.

use super::lab::{Lab, Ran, in_order, robot, simulated};
use super::shell::assert_takes;

/// Read-only commands, which a dry run may call.
const READ_ONLY: [&str; 10] = [
    "docker info ",
    "docker image inspect ",
    "docker container inspect ",
    "docker network ",
    "docker ps ",
    "docker volume ls ",
    "docker compose --file ",
    "docker buildx inspect ",
    "git ",
    "ssh-keygen -F ",
];

/// Runs with `--dry-run`; fails unless nothing changed, only read-only commands ran, and a shell can read the
/// script.
#[track_caller]
fn dry(lab: &Lab, args: &[&str]) -> Ran {
    let before = lab.files();
    let asked = lab.calls().len();
    let ran = lab.run(&[&["--dry-run"], args].concat()).expect(0);
    let after = lab.files();
    assert!(before == after, "before: {before:#?}\nafter: {after:#?}");
    for call in &lab.calls()[asked..] {
        assert!(READ_ONLY.iter().any(|allowed| call.starts_with(allowed)), "`{call}` is not read-only");
    }
    assert_takes("sh", &ran.stdout);
    let temporary = lab.dir.join("tmp");
    assert!(!ran.stdout.contains(temporary.as_str()), "a path that vanishes: {}", ran.stdout);
    ran
}

/// Steps of a whole deploy to `robot`, from the registry on.
const DELIVERY: [&str; 16] = [
    "docker save xtask-registry:",
    " | ssh ",
    "'docker load --quiet'",
    "'sh -s -- xtask-registry xtask-registry:",
    " -L 127.0.0.1:5000:127.0.0.1:5000 -f -N -- ",
    " | docker login --username xtask --password-stdin 127.0.0.1:5000\n",
    "\ndocker tag eurobot:camera 127.0.0.1:5000/eurobot:camera\n",
    "docker push 127.0.0.1:5000/eurobot:camera\n",
    "docker image rm 127.0.0.1:5000/eurobot:camera\n",
    "docker push 127.0.0.1:5000/eurobot:navigation\n",
    "sh -s -- 127.0.0.1:5000/eurobot@sha256:DIGEST-OF-camera 127.0.0.1:5000/eurobot:camera eurobot:camera \
     127.0.0.1:5000/eurobot@sha256:DIGEST-OF-navigation",
    "docker pull --quiet",
    "docker logout 127.0.0.1:5000\n",
    " -O exit -- ",
    "launch eurobot RELEASE-ID ",
    "' < release.tar.gz\n",
];

#[test]
fn a_deploy_to_a_real_robot_shows_all_steps_in_order_and_connects_nowhere() {
    let lab = Lab::new();
    let ran = dry(&lab, &["deploy", "--robot", "main"]);
    let bake = "BUILDX_BAKE_ENTITLEMENTS_FS=0 docker buildx bake --builder=default --provenance=false --sbom=false --file";
    in_order(&ran.stdout, &["ros.Dockerfile' <<'END-OF-INPUT'\n", "bake-", bake]);
    in_order(&ran.stdout, &[&[bake][..], &DELIVERY].concat());
    assert!(!ran.stdout.contains("BatchMode=yes -o Control"), "no session, no control socket");
    assert!(!ran.stderr.contains('$'), "commands are on stdout: {}", ran.stderr);
    assert!(lab.calls_of("ssh").is_empty());
}

#[test]
fn an_archive_goes_from_engine_to_engine() {
    let lab = Lab::new();
    let ran = dry(&lab, &["deploy", "--via", "archive"]);
    let steps = [
        "docker buildx bake",
        "\ndocker save ",
        " | ssh ",
        "'docker load'\n",
        "eurobot:camera-",
        "launch eurobot ",
    ];
    in_order(&ran.stdout, &steps);
    assert!(!ran.stdout.contains("xtask-registry") && !ran.stdout.contains(" -L "), "{}", ran.stdout);
}

#[test]
fn a_fresh_machine_bootstraps_the_base_and_the_registry_first() {
    let lab = Lab::new();
    lab.fails("docker", "'image inspect'*", 1, "Error: No such image");
    let ran = dry(&lab, &["deploy"]);
    in_order(
        &ran.stdout,
        &[
            "mmdebstrap ",
            " | docker import --platform linux/",
            "docker buildx bake",
            "--variant=extract",
            "docker buildx build --builder=default",
            "docker save xtask-registry:",
        ],
    );
}

#[test]
fn what_is_generated_already_is_not_printed_again() {
    let lab = Lab::new();
    let script = dry(&lab, &["build-images"]).stdout;
    assert_eq!(script.matches("mkdir -p").count(), 1, "{script}");
    let (files, bake) = script.rsplit_once("\nBUILDX").unwrap();
    lab.run_script(files);
    assert_eq!(dry(&lab, &["build-images"]).stdout, format!("BUILDX{bake}"));
}

#[test]
fn robots_are_shown_one_after_another() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let ran = dry(&lab, &["deploy", "--all"]);
    in_order(&ran.stdout, &[&DELIVERY[..], &["HostKeyAlias=second"], &DELIVERY[3..]].concat());
}

#[test]
fn a_simulated_robot_is_made_first() {
    let lab = Lab::with(&simulated("main"));
    lab.fails("docker", "'container inspect '*", 1, "Error: No such container: eurobot-sim-main");
    lab.fails("docker", "'network inspect '*", 1, "Error: No such network: eurobot-sim");
    let made = [
        "ssh-keygen -q -t ed25519",
        "docker rm --force eurobot-sim-main",
        "docker volume create",
        "docker network create",
        "docker run --detach --privileged --name eurobot-sim-main",
        "docker exec eurobot-sim-main robotctl docker start",
        "StrictHostKeyChecking=accept-new",
        "ssh://robot@127.0.0.1:PORT",
    ];
    in_order(&dry(&lab, &["sim", "up"]).stdout, &made);
    in_order(&dry(&lab, &["deploy"]).stdout, &[&["docker buildx bake"], &made[..], &DELIVERY].concat());
    in_order(&dry(&lab, &["setup-robot"]).stdout, &[&made[..], &DELIVERY[..4]].concat());
}

#[test]
fn a_simulated_robot_that_is_there_is_only_switched_on() {
    let lab = Lab::with(&simulated("main"));
    lab.write("target/xtask/sim/id_ed25519", "");
    lab.write("target/xtask/sim/id_ed25519.pub", "ssh-ed25519 AAAA x");
    lab.fails("docker", "'container inspect '*", 1, "Error: No such container: eurobot-sim-main");
    let image = dry(&lab, &["sim", "up"])
        .stdout
        .split_whitespace()
        .find(|word| word.starts_with("xtask-sim:"))
        .map(str::to_owned);
    let label = format!("{} containerd ssh-ed25519 AAAA x", image.unwrap());
    lab.says("docker", "'container inspect '*", &format!("false\t{label}\t"));
    in_order(
        &dry(&lab, &["sim", "up"]).stdout,
        &["# main: starting the simulated robot\ndocker start eurobot-sim-main\n"],
    );
    lab.says("docker", "'container inspect '*", &format!("true\t{label}\t32768 "));
    assert_eq!(dry(&lab, &["sim", "up"]).stdout, "");
    in_order(&dry(&lab, &["ssh", "--robot", "main"]).stdout, &["-p 32768", "-tt -- robot@127.0.0.1\n"]);
}

#[test]
fn sim_down_names_what_it_would_remove() {
    let lab = Lab::with(&simulated("main"));
    lab.write("target/xtask/sim/id_ed25519", "");
    lab.says("docker", "'ps '*", "eurobot-sim-main");
    lab.says("docker", "'volume ls '*", "eurobot-sim-main");
    let ran = dry(&lab, &["sim", "down"]);
    in_order(
        &ran.stdout,
        &["docker rm --force --volumes eurobot-sim-main\n", "docker volume rm eurobot-sim-main\n"],
    );
    assert!(ran.stdout.trim_end().ends_with("/work space/target/xtask/sim'"), "{}", ran.stdout);
}

#[test]
fn setup_robot_shows_host_key_login_and_registry() {
    let lab = Lab::with(&robot("fresh"));
    let ran = dry(&lab, &["setup-robot", "--robot", "fresh"]);
    in_order(
        &ran.stdout,
        &[
            "ssh -o StrictHostKeyChecking=accept-new ",
            "work space/robots.known_hosts",
            "ssh-keygen -q -t ed25519 -N '' -f ",
            "authorized_keys",
            &format!(" < {}/.ssh/id_ed25519.pub\n", lab.home),
            "nuc@fresh.lab true\n",
            "docker save xtask-registry:",
        ],
    );
    let lab = Lab::new();
    lab.says("ssh-keygen", "'-F main '*", "# Host main found: line 1 \nmain ssh-ed25519 AAAA");
    let ran = dry(&lab, &["setup-robot", "--new-host-key"]);
    in_order(&ran.stdout, &["ssh-keygen -R main -f ", "accept-new"]);
}

#[test]
fn a_tunnel_is_the_ssh_that_people_know() {
    let lab = Lab::new();
    let ran = dry(&lab, &["tunnel", "--robot", "main", "--port", "5001"]);
    in_order(&ran.stdout, &["-L 127.0.0.1:5001:127.0.0.1:5000 -N -- nuc@main.lab\n", " | docker login "]);
    assert!(!ran.stdout.contains("ControlPath"));
}

#[test]
fn ssh_shows_the_command_quoted_for_both_shells() {
    let lab = Lab::new();
    let ran = dry(&lab, &["ssh", "--robot", "main", "--", "echo", "$HOME", "it's"]);
    let words = shell_words::split(&ran.stdout).unwrap();
    let remote = shell_words::split(words.last().unwrap()).unwrap();
    assert_eq!(remote, ["echo", "$HOME", "it's"]);
}

#[test]
fn build_images_needs_no_docker_to_tell_what_it_would_do() {
    let lab = Lab::new();
    for program in ["docker", "mmdebstrap", "git"] {
        lab.remove(program);
    }
    let ran = dry(&lab, &["build-images", "navigation"]);
    in_order(&ran.stdout, &["mmdebstrap ", " | docker import", "docker buildx bake"]);
    let ran = dry(&lab, &["deploy"]);
    in_order(&ran.stdout, &DELIVERY);
    assert!(ran.stderr.contains("`docker/compose.yaml` cannot be read without Compose"), "{}", ran.stderr);
}

#[test]
fn completions_and_questions_are_what_they_always_are() {
    let lab = Lab::new();
    let same = |args: &[&str]| {
        let usual = lab.run(args).expect(0);
        assert_eq!(lab.run(&[&["-n"], args].concat()).expect(0).stdout, usual.stdout);
    };
    same(&["completions", "bash"]);
    same(&["build-images", "--print-dockerfile"]);
    assert!(lab.calls().is_empty());
}

#[test]
fn verbs_that_change_nothing_have_no_dry_run() {
    let lab = Lab::new();
    for verb in [&["status"][..], &["releases"], &["history"], &["doctor"], &["logs"], &["sim", "status"]] {
        lab.run(&[&["--dry-run"], verb].concat())
            .expect(2)
            .says(&["it has no dry run", "without `--dry-run`"]);
    }
    assert!(lab.calls().is_empty());
}

#[test]
fn checks_and_a_benchmark_say_what_they_would_do() {
    let lab = Lab::with(&simulated("main"));
    dry(&lab, &["test", "--fast"]).shows(&[
        "cargo fmt --all --check",
        "cargo clippy",
        "cargo test --workspace",
    ]);
    dry(&lab, &["test", "--only", "unit,e2e", "--keep", "--lanes", "1", "--shuffle=7", "locks::"]).shows(&[
        "cargo test --workspace -- locks::",
        "cargo test --package xtask --test e2e -- --lanes=1 --shuffle=7 --keep locks::",
    ]);
    let before = lab.files();
    dry(&lab, &["bench", "nothing"]).shows(&["deploy-bench/Cargo.toml -- --xtask", " nothing"]);
    assert!(before == lab.files());
}
