//! Unhealthy releases, and faults during an activation: afterwards the robot runs the complete old or the
//! complete new release.

use super::harness::{Lab, MAIN, MAP, PROJECT, Running, SECONDARY, Workspace, eventually, incompressible};
use super::releases::{add_service, assert_runs, current, edit, previous, record};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];

/// A service that has to settle, so that the activation takes a while.
const SLOW: &str =
    "  slow:\n    image: PROJECT:navigation\n    restart: unless-stopped\n    command: [sleep, \"600\"]";

/// Deploys a broken edit, which must fail with exit code 5; the robot keeps the old release, and the next
/// deploy succeeds.
fn taken_back(lab: &Lab, break_it: impl FnOnce(&Workspace), words: &[&str]) {
    let workspace = lab.deployed();
    let (number, before) = (current(), MAIN.services());
    break_it(workspace);
    let ended = workspace.xtask(&DEPLOY).expect_exit(5);
    words.iter().fold(ended, |ended, word| ended.says(word));
    assert_runs(&number);
    let images = |services: std::collections::BTreeMap<String, super::harness::Container>| {
        services.into_iter().map(|(name, container)| (name, container.image)).collect::<Vec<_>>()
    };
    assert_eq!(images(MAIN.services()), images(before));
    the_next_succeeds(lab);
}

/// Deploys another edit and makes it the baseline of later tests, because undoing it would only take time.
pub fn the_next_succeeds(lab: &Lab) {
    lab.workspace.reset();
    edit(&lab.workspace);
    lab.workspace.adopt("The next edit");
    let before = current();
    lab.deploy(MAIN);
    assert_ne!(current(), before);
    assert_runs(&current());
}

pub fn a_node_that_crashes_at_once(lab: &Lab) {
    let wrong = |workspace: &Workspace| {
        let crash = "sh -c 'echo no such node; exit 127'";
        workspace.edit("docker/compose.yaml", "node navigation ${ROBOT_NAME}", crash);
    };
    taken_back(lab, wrong, &["navigation | no such node", "was rolled back: navigation crashes"]);
}

pub fn a_service_that_crashes_while_it_settles(lab: &Lab) {
    let late = "  late:\n    image: PROJECT:navigation\n    restart: unless-stopped\n    command: [\"sh\", \"-c\", \
                \"echo this far; [ -e /ran ] || { touch /ran; sleep 2; }; exit 3\"]";
    taken_back(
        lab,
        |workspace| {
            workspace.edit("robots.toml", "settle = 2", "settle = 6");
            add_service(workspace, late);
        },
        &["late | this far", "late crashes again and again"],
    );
}

/// A service that is healthy by its health check, and crashes on command and at every restart after that.
const LATER: &str = "  late:\n    image: PROJECT:navigation\n    restart: unless-stopped\n    \
                     healthcheck: { test: [\"CMD\", \"true\"] }\n    \
                     command: [\"sh\", \"-c\", \"echo this far; until [ -e /crash ]; do sleep 0.05; done; exit 3\"]";

/// Deploys the service, which succeeds, and waits for this outcome of the release; returns the release's
/// number.
fn crashes_later(lab: &Lab, outcome: &str) -> String {
    let workspace = &lab.workspace;
    workspace.edit("robots.toml", "settle = 2", "settle = 8");
    add_service(workspace, LATER);
    lab.deploy(MAIN);
    // The container may be gone before the command ends.
    MAIN.can(&["docker", "exec", &format!("{PROJECT}-late-1"), "touch", "/crash"]);
    let number = current();
    eventually(outcome, || (record(&number)["outcome"] == outcome).then_some(()));
    until_activation_has_ended();
    let log = MAIN.sh(&format!("tail -n 1 /home/robot/.deploy/{PROJECT}/releases/{number}/late.log"));
    assert_eq!(log, "this far");
    workspace.xtask(&["status", "--robot", "main"]).expect_exit(0).says("after the release became healthy");
    number
}

pub fn a_node_that_is_well_and_crashes_later(lab: &Lab) {
    lab.deployed();
    let before = (current(), previous());
    let number = crashes_later(lab, "restored");
    assert_ne!(number, before.0);
    assert_eq!((current(), previous()), before);
    assert_runs(&before.0);
    the_next_succeeds(lab);
}

pub fn a_first_release_that_crashes_later_is_told_of(lab: &Lab) {
    lab.deployed();
    until_it_stops_watching();
    MAIN.sh(&format!(
        "docker rm --force $(docker ps --all --quiet --filter label=com.docker.compose.project={PROJECT}) && \
         rm -r /home/robot/.deploy/{PROJECT}"
    ));
    let number = crashes_later(lab, "unhealthy");
    assert_eq!(current(), number);
    // There is no release to roll back to: the working services keep running.
    assert!(MAIN.services().len() >= 4);
    the_next_succeeds(lab);
}

/// Returns whether the robot still watches the release that it activated.
fn is_watching() -> bool {
    MAIN.can(&["pgrep", "-f", &format!("^sh .*/activate {PROJECT} switch")])
}

/// Waits until the robot stops watching.
fn until_it_stops_watching() {
    eventually("the robot to stop watching", || (!is_watching()).then_some(()));
}

pub fn a_service_that_was_stopped_has_to_be_well_again(lab: &Lab) {
    let workspace = lab.deployed();
    // The service runs once, and crashes whenever it is started again.
    let once = "  once:\n    image: PROJECT:navigation\n    restart: unless-stopped\n    command: [\"sh\", \"-c\", \
                \"[ ! -e /tmp/ran ] || exit 3; touch /tmp/ran; exec sleep 600\"]";
    add_service(workspace, once);
    lab.deploy(MAIN);
    workspace.xtask(&["stop", "--robot", "main", "once"]).expect_exit(0);
    let again = workspace.xtask(&DEPLOY).expect_exit(1);
    again.says("once crashes again and again").says("which was already active");
    the_next_succeeds(lab);
}

pub fn what_people_stop_is_no_crash(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit("robots.toml", "settle = 2", "settle = 8");
    edit(workspace);
    lab.deploy(MAIN);
    let number = current();
    assert!(is_watching(), "the robot has already stopped watching");
    workspace.xtask(&["stop", "--robot", "main", "navigation"]).expect_exit(0);
    until_it_stops_watching();
    assert_eq!((current(), &record(&number)["outcome"]), (number.clone(), &"healthy".into()));
    assert_eq!(MAIN.services().len(), 3);
    workspace.xtask(&["start", "--robot", "main"]).expect_exit(0);
}

pub fn a_node_that_never_gets_healthy(lab: &Lab) {
    let idle = "  idle:\n    image: PROJECT:navigation\n    command: [sleep, \"600\"]\n    \
                healthcheck: { test: [CMD-SHELL, \"echo no heartbeat; exit 1\"], interval: 1s, retries: 2 }";
    let words = ["idle | health check: no heartbeat", "idle is unhealthy"];
    taken_back(lab, |workspace| add_service(workspace, idle), &words);
}

pub fn a_node_that_ends_without_an_error(lab: &Lab) {
    let brief =
        "  brief:\n    image: PROJECT:navigation\n    restart: unless-stopped\n    command: [\"true\"]";
    let words = ["brief ends again and again", "exit code 0"];
    taken_back(lab, |workspace| add_service(workspace, brief), &words);
}

pub fn a_port_that_is_taken(lab: &Lab) {
    let web = "  web:\n    image: PROJECT:navigation\n    ports: [\"127.0.0.1:5000:80\"]\n    command: [sleep, \"600\"]";
    taken_back(lab, |workspace| add_service(workspace, web), &["5000"]);
}

pub fn a_device_that_is_not_there(lab: &Lab) {
    let board = "  board:\n    image: PROJECT:navigation\n    devices: [\"/dev/no-such-board\"]\n    command: [sleep, \"600\"]";
    taken_back(lab, |workspace| add_service(workspace, board), &["no-such-board"]);
}

pub fn a_job_counts_when_it_has_ended_well(lab: &Lab) {
    let workspace = lab.deployed();
    add_service(workspace, "  job:\n    image: PROJECT:navigation\n    command: [\"true\"]");
    lab.deploy(MAIN);
    let new = current();
    lab.deploy(MAIN).says("nothing changed");
    assert_eq!(current(), new);
    workspace.edit(
        "docker/compose.yaml",
        "command: [\"true\"]",
        "command: [\"sh\", \"-c\", \"echo why; exit 7\"]",
    );
    workspace.xtask(&DEPLOY).expect_exit(5).says("job | why").says("job ended with exit code 7");
    assert_eq!(current(), new);
    the_next_succeeds(lab);
}

pub fn without_rollback_it_stays_to_be_looked_at(lab: &Lab) {
    let workspace = lab.deployed();
    let before = current();
    add_service(workspace, "  job:\n    image: PROJECT:navigation\n    command: [\"false\"]");
    workspace.xtask(&[&DEPLOY[..], &["--no-rollback"]].concat()).expect_exit(1).says("was left running");
    assert_ne!(current(), before);
    assert_eq!(record(&current())["outcome"], "unhealthy");
    workspace.xtask(&["rollback", "--robot", "main"]).expect_exit(0);
    assert_runs(&before);
    the_next_succeeds(lab);
}

pub fn a_file_that_compose_refuses_touches_nothing(lab: &Lab) {
    let workspace = lab.deployed();
    let (number, before) = (current(), MAIN.services());
    add_service(workspace, "  broken:\n    imagine: PROJECT:navigation");
    workspace.xtask(&DEPLOY).expect_exit(2).says("Compose refuses");
    assert_eq!(MAIN.services(), before);
    assert_runs(&number);
    the_next_succeeds(lab);
}

/// Starts an activation that takes seconds; returns the number that the robot gave to the release.
fn activating(workspace: &Workspace) -> (Running, String) {
    edit(workspace);
    add_service(workspace, SLOW);
    workspace.edit("robots.toml", "settle = 2", "settle = 4");
    let mut run = workspace.start(&DEPLOY);
    run.until_it_says("that slow keeps running");
    let going = MAIN.sh(&format!("cut -d ' ' -f 1 /home/robot/.deploy/{PROJECT}/activation"));
    (run, going)
}

/// Waits until the robot has finished its activation.
pub fn until_activation_has_ended() {
    let home = format!("/home/robot/.deploy/{PROJECT}");
    eventually("the robot to end its activation", || {
        (!MAIN.can(&["test", "-e", &format!("{home}/activation")])).then_some(())
    });
    MAIN.exec(&["flock", &format!("{home}/activation.lock"), "true"]);
}

pub fn whoever_leaves_the_robot_goes_on(lab: &Lab) {
    for signal in ["INT", "KILL"] {
        let workspace = lab.deployed();
        let (run, number) = activating(workspace);
        run.signal(signal);
        let ended = run.wait_for_all();
        if signal == "KILL" {
            workspace.forget_temporary_files();
        } else {
            ended
                .expect_exit(130)
                .says(&format!("`main` continues by itself: it activates release {number}"));
        }
        until_activation_has_ended();
        assert_eq!((current(), &record(&number)["outcome"]), (number.clone(), &"healthy".into()), "{signal}");
        workspace
            .xtask(&["status", "--robot", "main"])
            .expect_exit(0)
            .says(&format!("release {number} was activated"));
        assert!(MAIN.can(&["flock", "-n", &format!("/home/robot/.deploy/{PROJECT}/deploy.lock"), "true"]));
    }
    the_next_succeeds(lab);
}

pub fn a_link_that_is_cut_and_comes_back(lab: &Lab) {
    let workspace = lab.deployed();
    let (run, number) = activating(workspace);
    MAIN.exec(&["pkill", "-KILL", "-f", "^sshd-session: robot"]);
    run.wait_for_all().expect_exit(0).says("the robot continues by itself");
    assert_eq!(current(), number);
    the_next_succeeds(lab);
}

pub fn links_that_are_cut_for_good(lab: &Lab) {
    let workspace = lab.deployed();
    lab.deploy(SECONDARY);
    let home = format!("/home/robot/.deploy/{PROJECT}");
    let runs = || (SECONDARY.sh(&format!("readlink {home}/current")), SECONDARY.services());
    let before = runs();
    edit(workspace);
    add_service(workspace, SLOW);
    workspace.write(MAP, incompressible(2_000_000));
    workspace.xtask(&["sim", "up", "secondary", "--link", "1mbit"]).expect_exit(0);
    let mut run = workspace.start(&["deploy", "--robot", "main,secondary", "--yes"]);
    run.until_it_says("secondary sending layers");
    SECONDARY.cut_link();
    run.until_it_says("that slow keeps running");
    let number = MAIN.sh(&format!("cut -d ' ' -f 1 {home}/activation"));
    MAIN.cut_link();
    let ended = run.wait_for_all();
    until_activation_has_ended();
    MAIN.mend_link();
    SECONDARY.mend_link();
    workspace.xtask(&["sim", "up", "secondary", "--link", "off"]).expect_exit(0);
    // One goes on by itself; nothing has become of the other.
    ended.expect_exit(3).says(&format!("`main` continues by itself: it activates release {number}"));
    assert_eq!(current(), number);
    assert_eq!(runs(), before);
    SECONDARY.wait_until_unlocked();
    the_next_succeeds(lab);
    lab.deploy(SECONDARY);
    assert_ne!(runs(), before);
}

pub fn links_that_are_cut_for_good_before_anything_starts(lab: &Lab) {
    let workspace = lab.deployed();
    lab.deploy(SECONDARY);
    let robots = [MAIN, SECONDARY];
    let home = format!("/home/robot/.deploy/{PROJECT}");
    let runs = || robots.map(|robot| (robot.sh(&format!("readlink {home}/current")), robot.services()));
    let before = runs();
    edit(workspace);
    let mut run = workspace.start(&["deploy", "--robot", "main,secondary", "--yes"]);
    // One link is cut while connecting, the other while pulling.
    run.until_it_runs(&["ssh", "HostKeyAlias=secondary"]);
    SECONDARY.cut_link();
    run.until_it_says("main pulling from its registry");
    MAIN.cut_link();
    let ended = run.wait_for_all();
    robots.iter().for_each(|robot| robot.mend_link());
    ended.expect_exit(3).says("`main` ").says("`secondary` ");
    assert_eq!(runs(), before);
    robots.iter().for_each(|robot| robot.wait_until_unlocked());
    the_next_succeeds(lab);
    lab.deploy(SECONDARY);
    assert!(runs().iter().zip(&before).all(|(now, before)| now != before));
}

pub fn a_power_cut_ends_with_the_old_release_by_itself(lab: &Lab) {
    let workspace = lab.deployed();
    let before = current();
    let (run, number) = activating(workspace);
    MAIN.cut_power();
    // Kill xtask, so that the robot has to roll back without it.
    run.signal("KILL");
    drop(run.wait_for_all());
    workspace.forget_temporary_files();
    MAIN.switch_on();
    until_activation_has_ended();
    assert_eq!(record(&number)["outcome"], "broken-off");
    assert_runs(&before);
    workspace.xtask(&["sim", "up", "main"]).expect_exit(0);
    workspace
        .xtask(&["status", "--robot", "main"])
        .expect_exit(0)
        .says(&format!("release {number} was rolled back"));
    the_next_succeeds(lab);
}

/// Kills the robot's engine and starts it again, as the system would.
pub fn engine_is_killed() {
    MAIN.sh("pkill -KILL dockerd; pkill -KILL containerd; \
         while pgrep -x dockerd || pgrep -x containerd; do sleep 0.05; done; \
         rm -f /run/docker.pid; robotctl docker start");
}

pub fn an_engine_that_is_killed_while_activating(lab: &Lab) {
    let workspace = lab.deployed();
    let before = current();
    let (run, number) = activating(workspace);
    engine_is_killed();
    let ended = run.wait_for_all();
    until_activation_has_ended();
    // The services had to settle again, which may or may not have ended in time: either release is fine.
    assert!([&before, &number].contains(&&current()), "{}\n{}", ended.stdout, ended.stderr);
    assert_runs(&current());
    the_next_succeeds(lab);
}

pub fn an_engine_that_stays_away_goes_back_when_it_returns(lab: &Lab) {
    let workspace = lab.deployed();
    let before = current();
    workspace.edit("robots.toml", "settle = 2", "settle = 2\ndeadline = 8");
    let (run, number) = activating(workspace);
    MAIN.exec(&["robotctl", "docker", "stop"]);
    run.wait_for_all().expect_exit(1).says("will be rolled back as soon as Docker on `main` runs again");
    assert_eq!(current(), before);
    MAIN.exec(&["robotctl", "docker", "start"]);
    until_activation_has_ended();
    assert_eq!(record(&number)["outcome"], "broken-off");
    assert_runs(&before);
    workspace
        .xtask(&["status", "--robot", "main"])
        .expect_exit(0)
        .says("was rolled back: Docker did not run");
    the_next_succeeds(lab);
}

pub fn an_activation_that_is_killed_is_ended_by_who_listens(lab: &Lab) {
    let workspace = lab.deployed();
    let before = current();
    let (run, number) = activating(workspace);
    MAIN.exec(&["pkill", "-KILL", "-f", &format!("^sh .*/activate {PROJECT} switch")]);
    run.wait_for_all().expect_exit(5).says("was rolled back").says(&format!("release {before} runs again"));
    assert_eq!(record(&number)["outcome"], "broken-off");
    assert_runs(&before);
    the_next_succeeds(lab);
}

pub fn a_release_directory_that_is_lost_is_made_again(lab: &Lab) {
    let home = format!("/home/robot/.deploy/{PROJECT}");
    for script in
        ["rm -rf CURRENT", "rm CURRENT/compose.json", ": >CURRENT/services", "echo '{' >CURRENT/compose.json"]
    {
        let workspace = lab.deployed();
        MAIN.sh(&script.replace("CURRENT", &format!("$(readlink -f {home}/current)")));
        edit(workspace);
        lab.deploy(MAIN);
        assert_runs(&current());
    }
}

pub fn a_clock_that_is_a_day_off_changes_nothing(lab: &Lab) {
    let workspace = lab.deployed();
    // The kernel's clock is that of this machine, so give the robot's programs a different date.
    MAIN.sh("printf '#!/bin/sh\\nexec /usr/bin/date -d \"1 day ago\" \"$@\"\\n' >/usr/local/bin/date; chmod 755 /usr/local/bin/date");
    edit(workspace);
    let deploy = workspace.xtask(&DEPLOY);
    let status = workspace.xtask(&["status", "--robot", "main"]);
    MAIN.exec(&["rm", "/usr/local/bin/date"]);
    deploy.expect_exit(0);
    status.expect_exit(0).says("24 h behind");
    assert_runs(&current());
}

/// Mounts a nearly full disk over the directory of releases; dropping it restores the old directory.
struct SmallHome;

impl SmallHome {
    fn place() -> String {
        format!("/home/robot/.deploy/{PROJECT}")
    }

    fn new() -> Self {
        let place = Self::place();
        MAIN.sh(&format!(
            "mkdir -p /run/home && cp -a {place}/. /run/home/ && mount -t tmpfs -o size=4m,uid=1000,mode=700 small {place} \
             && cp -a /run/home/. {place}/ && rm -r /run/home"
        ));
        Self
    }

    fn fill(&self) {
        MAIN.sh(&format!("cat /dev/zero >{}/full 2>/dev/null || true", Self::place()));
    }
}

impl Drop for SmallHome {
    fn drop(&mut self) {
        // The log of the activation is on this disk.
        until_it_stops_watching();
        eventually("the disk to be free", || MAIN.can(&["umount", &Self::place()]).then_some(()));
    }
}

pub fn a_full_disk_keeps_a_release_away(lab: &Lab) {
    let workspace = lab.deployed();
    let before = (current(), MAIN.services());
    let disk = SmallHome::new();
    disk.fill();
    edit(workspace);
    workspace.xtask(&DEPLOY).expect_exit(1).says("No space left on device");
    assert_eq!((current(), MAIN.services()), before);
    drop(disk);
    the_next_succeeds(lab);
}

pub fn a_disk_that_fills_up_while_activating(lab: &Lab) {
    let workspace = lab.deployed();
    let before = current();
    let disk = SmallHome::new();
    let (run, number) = activating(workspace);
    disk.fill();
    let ended = run.wait_for_all();
    until_activation_has_ended();
    // Space was reserved for recording the result.
    ended.expect_exit(0);
    assert_eq!((current(), &record(&number)["outcome"]), (number, &"healthy".into()));
    drop(disk);
    // The original directory still has the previous release.
    assert_eq!(current(), before);
    the_next_succeeds(lab);
}
