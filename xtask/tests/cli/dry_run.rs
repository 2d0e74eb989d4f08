//! `--dry-run`: asks for real, prints the changes as a script, and makes none of them.

use super::host_keys;
use super::lab::{Lab, Ran, in_order, robot, simulated};
use super::registry::Registry;
use super::shell::assert_takes;

/// Commands that change nothing, which a dry run may call.
const READ_ONLY: [&str; 12] = [
    "docker info ",
    "docker image inspect ",
    "docker image ls ",
    "docker container inspect ",
    "docker network ",
    "docker ps ",
    "docker volume ls ",
    "docker compose --file ",
    "docker buildx inspect ",
    "git ",
    "ssh-keygen -F ",
    "ssh-keygen -l ",
];

/// The same on a robot.
const READ_ONLY_THERE: [&str; 10] = [
    "xtask-connection-ready; exec cat",
    "'sh -s -- eurobot 127.0.0.1:5000/eurobot'",
    "'sh -s -- eurobot xtask-registry ",
    " list eurobot ",
    "'docker compose version --short'",
    "PreferredAuthentications=none",
    " config --services",
    " fetch bags",
    "cat >/dev/null; echo done",
    "nuc@main.lab true",
];

/// Releases on a robot, the last of which is current.
const RELEASES: &str = "release\t4\tcurrent\t{\"outcome\":\"healthy\",\"reason\":\"\",\"since\":\"\"}\n\
                        release\t3\tprevious\t{\"outcome\":\"healthy\",\"reason\":\"\",\"since\":\"\"}";

/// Words before the steps that depend on a change.
const FOLLOWS: &str = "what follows depends on the outcome:\n# - ";

/// Last step of a deploy in words.
const START: &str = "; then starting the release, or going back to the old one if it is unhealthy";

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
        let is_read_only = match call.starts_with("ssh ") {
            true => READ_ONLY_THERE.iter().any(|allowed| call.contains(allowed)),
            false => READ_ONLY.iter().any(|allowed| call.starts_with(allowed)),
        };
        assert!(is_read_only, "`{call}` is not read-only");
    }
    assert_takes("sh", &ran.stdout);
    let temporary = lab.dir.join("tmp");
    assert!(!ran.stdout.contains(temporary.as_str()), "a path that vanishes: {}", ran.stdout);
    ran
}

#[test]
fn a_deploy_asks_the_robot_and_shows_the_build_and_in_words_what_depends_on_it() {
    let lab = Lab::new();
    let ran = dry(&lab, &["deploy", "--robot", "main"]);
    let bake = "BUILDX_BAKE_ENTITLEMENTS_FS=0 BUILDX_GIT_INFO=0 docker buildx bake --builder=default --provenance=false --sbom=false --file";
    let layers = "sending the layers that the registry of `main` lacks, and pulling them there";
    in_order(
        &ran.stdout,
        &["ros.Dockerfile' <<'END-OF-INPUT'\n", "bake-", bake, "# main: ", FOLLOWS, layers, START],
    );
    assert!(!ran.stdout.contains("ssh "), "nothing that needs the build: {}", ran.stdout);
    assert!(!ran.stderr.contains('$'), "commands are on stdout: {}", ran.stderr);
    assert_eq!(lab.calls_of("ssh").len(), 2, "a connection and a survey: {:?}", lab.calls_of("ssh"));
    assert!(lab.all_masters_are_gone());
    let ran = dry(&lab, &["deploy", "--no-start"]);
    assert!(ran.stdout.contains(layers) && !ran.stdout.contains(START), "{}", ran.stdout);
    let ran = dry(&lab, &["deploy", "--via", "archive"]);
    in_order(&ran.stdout, &[bake, FOLLOWS, "sending the images that `main` lacks, as an archive", START]);
}

#[test]
fn a_robot_that_does_not_answer_fails_a_dry_run_as_it_fails_a_deploy() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    lab.fails("ssh", "*nuc@second.lab*", 255, "ssh: connect to host second.lab port 22: No route to host");
    let ran = lab.run(&["deploy", "--all", "-n"]).expect(3);
    in_order(&ran.stdout, &["docker buildx bake", "# main: ", FOLLOWS]);
    in_order(&ran.stderr, &["second: `second` (nuc@second.lab) does not answer"]);
    lab.on("ssh", "*'sh -s -- eurobot '*", "cat >/dev/null; printf 'machine\\tarmv7l\\n'");
    lab.run(&["deploy", "--robot", "main", "-n"])
        .expect(2)
        .says(&["`main` is linux/arm/v7, but robots.toml says"]);
}

/// From now on the engine has the images that the registry has.
fn has_built(lab: &Lab, registry: &Registry) {
    let ids =
        ["camera", "navigation"].map(|image| [registry.digest(image), registry.digest(image)].join("\n"));
    lab.says("docker", "'image inspect --format {{.Id}} eurobot/'*", &ids.join("\n"));
}

#[test]
fn what_is_known_is_told_as_by_plan() {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    lab.run(&["deploy"]).expect(0);
    lab.remember_release();
    has_built(&lab, &registry);
    lab.on("ssh", "*'echo done'*", "cat >/dev/null; echo done");
    let ran = dry(&lab, &["deploy"]);
    in_order(
        &ran.stdout,
        &["# main: all 2 images are already on the robot", "# main: would be restarted: camera, navigation"],
    );
    assert!(!ran.stdout.contains("bake"), "{}", ran.stdout);
}

#[test]
fn images_that_no_robot_has_are_named_in_words_and_not_exported() {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    lab.run(&["build-images"]).expect(0);
    has_built(&lab, &registry);
    let lacks = |first: &str| {
        let ran = dry(&lab, &["deploy"]);
        in_order(
            &ran.stdout,
            &[first, "# main: ", FOLLOWS, "sending the layers that the registry of `main` lacks"],
        );
        assert!(!ran.stdout.contains("docker tag") && !ran.stdout.contains("docker save"), "{}", ran.stdout);
    };
    lacks("");
    // Neither has this machine the registry's image yet.
    lab.fails("docker", "'image inspect '*xtask-registry:*", 1, "Error: No such image");
    lacks("docker buildx build --builder=default");
}

#[test]
fn a_fresh_machine_bootstraps_the_base_first() {
    let lab = Lab::new();
    lab.fails("docker", "'image inspect'*", 1, "Error: No such image");
    let ran = dry(&lab, &["deploy"]);
    in_order(
        &ran.stdout,
        &["mmdebstrap ", " | docker import --platform linux/", "docker buildx bake", FOLLOWS],
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
    in_order(&ran.stdout, &["docker buildx bake", "# main: ", FOLLOWS, "# second: ", FOLLOWS]);
}

#[test]
fn a_simulated_robot_is_made_first() {
    let lab = Lab::with(&simulated("main"));
    lab.fails("docker", "'container inspect '*", 1, "Error: No such container: eurobot-sim-main");
    lab.fails("docker", "'network inspect '*", 1, "Error: No such network: eurobot-sim");
    in_order(
        &dry(&lab, &["sim", "up"]).stdout,
        &["ssh-keygen -q -t ed25519", FOLLOWS, "robots that accept this key"],
    );
    lab.write("target/xtask/sim/id_ed25519", "");
    lab.write("target/xtask/sim/id_ed25519.pub", "ssh-ed25519 AAAA x");
    let made = [
        "docker rm --force eurobot-sim-main",
        "docker network create",
        "docker run --detach --privileged --name eurobot-sim-main",
        "ssh-ed25519 AAAA x",
        "docker exec eurobot-sim-main robotctl docker start",
        FOLLOWS,
        "connecting to `main`",
    ];
    let ran = dry(&lab, &["sim", "up"]);
    in_order(&ran.stdout, &made);
    assert!(!ran.stdout.contains("STATE"), "a table that is not true: {}", ran.stdout);
    in_order(
        &dry(&lab, &["deploy"]).stdout,
        &[&["docker buildx bake"], &made[..], &["\n# - sending the layers"]].concat(),
    );
    in_order(&dry(&lab, &["setup-robot"]).stdout, &made);
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
        &[
            "# main: starting the simulated robot\ndocker start eurobot-sim-main\n",
            FOLLOWS,
            "connecting to `main`",
        ],
    );
    lab.says("docker", "'container inspect '*", &format!("true\t{label}\t32768 "));
    assert_eq!(dry(&lab, &["sim", "up"]).stdout, "");
    in_order(&dry(&lab, &["ssh", "--robot", "main"]).stdout, &["-p 32768", "-tt -- robot@127.0.0.1 "]);
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
fn setup_robot_asks_for_the_host_key_and_goes_on_as_far_as_it_is_known() {
    let lab = Lab::with(&robot("fresh"));
    host_keys::can_be_fetched(&lab);
    let ran = dry(&lab, &["setup-robot", "--robot", "fresh"]);
    in_order(
        &ran.stdout,
        &[
            "# fresh: host key SHA256:",
            FOLLOWS,
            "recording the host key in `",
            "robots.known_hosts`",
            "the login",
        ],
    );
    assert!(!ran.stdout.contains("ready"), "{}", ran.stdout);
    let lab = Lab::new();
    lab.says("ssh-keygen", "'-F main '*", "# Host main found: line 1 \nmain ssh-ed25519 AAAA");
    let ran = dry(&lab, &["setup-robot"]);
    in_order(
        &ran.stdout,
        &["'sh -s -- xtask-registry ", FOLLOWS, "sending the registry's image if `main` lacks it"],
    );
    lab.fails("ssh", "*'nuc@main.lab true'", 255, "nuc@main.lab: Permission denied (publickey).");
    in_order(
        &dry(&lab, &["setup-robot"]).stdout,
        &[
            "ssh-keygen -q -t ed25519 -N '' -f ",
            "authorized_keys",
            ".ssh/id_ed25519.pub\n",
            FOLLOWS,
            "the login",
        ],
    );
}

#[test]
fn a_tunnel_is_the_ssh_that_people_know() {
    let lab = Lab::new();
    let ran = dry(&lab, &["tunnel", "--robot", "main", "--port", "5001"]);
    in_order(
        &ran.stdout,
        &[
            "'sh -s -- xtask-registry ",
            FOLLOWS,
            "the registry's image",
            "-L 127.0.0.1:5001:127.0.0.1:5000 -N -- nuc@main.lab",
        ],
    );
    assert!(!ran.stdout.contains("ControlPath"));
}

#[test]
fn ssh_shows_the_command_quoted_for_both_shells() {
    let lab = Lab::new();
    let ran = dry(&lab, &["ssh", "--robot", "main", "--", "echo", "$HOME", "it's"]);
    let words = shell_words::split(&ran.stdout).unwrap();
    let remote = shell_words::split(words.last().unwrap()).unwrap();
    assert_eq!(remote[remote.len() - 3..], ["echo", "$HOME", "it's"]);
}

#[test]
fn without_docker_only_what_installs_it_is_known() {
    let lab = Lab::new();
    for program in ["docker", "mmdebstrap", "git"] {
        lab.remove(program);
    }
    for verb in ["build-images", "deploy"] {
        let ran = lab.run(&[verb, "-n"]);
        let text = ran.stdout + &ran.stderr;
        in_order(&text, &["this machine lacks "]);
        assert!(!text.contains("buildx bake"), "{text}");
    }
}

#[test]
fn verbs_for_robots_ask_and_show_the_change() {
    let lab = Lab::new();
    lab.says("ssh", "*' list eurobot releases'*", RELEASES);
    let rollback = dry(&lab, &["rollback"]).stdout;
    in_order(
        &rollback,
        &["taking the deploy lock", "activating release 3\n", " return eurobot ", " 3 ", FOLLOWS, "healthy"],
    );
    lab.run(&["rollback", "--to", "9", "-n"])
        .expect(1)
        .says(&["`main` has no release 9", "it has releases 4, 3"]);
    in_order(
        &dry(&lab, &["prune"]).stdout,
        &["taking the deploy lock", "prune eurobot ", FOLLOWS, "freed bytes"],
    );
    in_order(&dry(&lab, &["prune", "--local"]).stdout, &["docker image prune", FOLLOWS, "layers and deltas"]);
    lab.says("ssh", "*' config --services'*", "camera\nnavigation");
    let stop = dry(&lab, &["stop", "camera"]).stdout;
    in_order(&stop, &["taking the deploy lock", " stop camera", " stop -- camera"]);
    assert!(!stop.contains("STATE"), "{stop}");
    lab.run(&["stop", "lidar", "-n"]).expect(2).says(&["`main` has no service `lidar`"]);
    lab.says("ssh", "*' fetch bags'*", "d 4096 1700000000 bags\nf 1200 1700000000 bags/a.db3");
    in_order(
        &dry(&lab, &["pull-data", "bags"]).stdout,
        &[FOLLOWS, "copying `bags` to data/main (new files: 1, 1.2 kB)"],
    );
    in_order(&dry(&lab, &["watch"]).stdout, &[" deploy --wait --yes\n", FOLLOWS, "again after each save"]);
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
