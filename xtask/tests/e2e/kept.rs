//! Connections that a run keeps for the next one.

use super::harness::{Lab, MAIN, ODOMETRY, Runtime, eventually, kill};

const DEPLOY: [&str; 4] = ["deploy", "--robot", "main", "--yes"];
const STATUS: [&str; 4] = ["status", "--robot", "main", "--json"];

/// Waits until no run has a login of its own; returns those that are kept.
fn kept_logins(runtime: &Runtime<'_>) -> Vec<String> {
    eventually("logins to end", || {
        let logins = Runtime::logins();
        (logins.len() <= runtime.kept().len()).then_some(logins)
    })
}

pub fn one_login_serves_several_runs(lab: &Lab) {
    let workspace = lab.deployed();
    let runtime = Runtime::of(workspace);
    drop(runtime.xtask(&STATUS).expect_exit(0));
    let login = kept_logins(&runtime);
    assert_eq!((login.len(), runtime.sockets()), (1, 1));
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # over a kept connection");
    for args in [&DEPLOY[..], &["rollback", "--robot", "main"], &DEPLOY, &STATUS] {
        drop(runtime.xtask(args).expect_exit(0).never_says("dropped"));
        assert_eq!(kept_logins(&runtime), login, "{args:?}");
    }
    MAIN.assert_has_built("localization");
    // The tunnels to the registry have ended with their runs.
    let listening = std::fs::read_to_string("/proc/net/unix").unwrap();
    let ours = workspace.tmp().display().to_string();
    let left: Vec<&str> = listening.lines().filter(|line| line.contains(&ours)).collect();
    assert!(left.is_empty(), "{left:#?}");
}

pub fn a_kept_connection_that_is_lost_costs_a_login(lab: &Lab) {
    let workspace = lab.deployed();
    let runtime = Runtime::of(workspace);
    drop(runtime.xtask(&STATUS).expect_exit(0));
    runtime.kept().into_iter().for_each(kill);
    drop(runtime.xtask(&DEPLOY).expect_exit(0).never_says("dropped"));
    let login = kept_logins(&runtime);
    assert_eq!(login.len(), 1);

    // At the other end, at both ends without a word, and at both ends with the robot.
    MAIN.sh("pkill -KILL -f '^sshd-session: robot'");
    drop(runtime.xtask(&STATUS).expect_exit(0).never_says("dropped"));
    MAIN.cut_link();
    let away = runtime.xtask(&STATUS);
    MAIN.mend_link();
    assert!(away.stdout.contains("does not answer"), "{}", away.stdout);
    let back = runtime.xtask(&STATUS).expect_exit(0);
    assert!(!back.stdout.contains("does not answer"), "{}", back.stdout);
    MAIN.cut_power();
    MAIN.switch_on();
    drop(runtime.xtask(&DEPLOY).expect_exit(0));
    MAIN.wait_until_healthy();
}

pub fn what_a_login_may_do_is_asked_again(lab: &Lab) {
    let workspace = lab.deployed();
    let runtime = Runtime::of(workspace);
    drop(runtime.xtask(&STATUS).expect_exit(0));
    let login = kept_logins(&runtime);
    drop(runtime.xtask(&["setup-robot", "--robot", "main", "--yes"]).expect_exit(0));
    let second = kept_logins(&runtime);
    assert_ne!(second, login, "`setup-robot` does not log in");
    // The groups of a user are those of its login.
    MAIN.exec(&["gpasswd", "--delete", "robot", "docker"]);
    let checked = runtime.xtask(&["doctor", "--robot", "main"]);
    let refused = runtime.xtask(&DEPLOY);
    MAIN.exec(&["gpasswd", "--add", "robot", "docker"]);
    let deployed = runtime.xtask(&DEPLOY);
    assert!(checked.stdout.contains("may not use Docker"), "{}", checked.stdout);
    drop(refused.expect_exit(1).says("may not use Docker"));
    drop(deployed.expect_exit(0));
    drop(runtime.xtask(&["doctor", "--robot", "main"]).expect_exit(0));
}

pub fn connections_are_kept_where_and_while_they_may_be(lab: &Lab) {
    let workspace = lab.deployed();
    let runtime = Runtime::of(workspace);
    let nothing_is_kept = || {
        drop(runtime.xtask(&STATUS).expect_exit(0));
        eventually("the login to end", || Runtime::logins().is_empty().then_some(()));
        assert_eq!((runtime.kept().len(), runtime.sockets()), (0, 0));
    };
    // Others could use a socket in this directory.
    runtime.set_mode(0o755);
    nothing_is_kept();
    runtime.set_mode(0o700);
    workspace.edit("robots.toml", "[robots.main]\n", "[robots.main]\nkeep_connection = 0\n");
    nothing_is_kept();
    workspace.edit("robots.toml", "keep_connection = 0", "keep_connection = 1");
    drop(runtime.xtask(&STATUS).expect_exit(0));
    eventually("the connection to end", || (runtime.kept().len() + runtime.sockets() == 0).then_some(()));
    workspace.reset();

    // Another recorded key makes another connection.
    drop(runtime.xtask(&STATUS).expect_exit(0));
    let known = workspace.path("target/xtask/sim/known_hosts");
    let text = std::fs::read_to_string(known).unwrap();
    std::fs::write(known, "").unwrap();
    let refused = runtime.xtask(&STATUS);
    std::fs::write(known, text).unwrap();
    assert!(refused.stdout.contains("has not been recorded"), "{}", refused.stdout);
}
