//! Links that fail at random moments of verbs: whoever waits gets there, and the robot stays whole.

use std::time::Duration;

use fastrand::Rng;
use sha2::{Digest as _, Sha256};

use super::harness::{Finished, Lab, MAIN, ODOMETRY, Running, Runtime, eventually, note, succeeds};
use super::releases::{assert_runs, current};

/// Ways in which a link fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The robot refuses connections, and resets those that there are.
    Refused,
    /// Packets get lost; neither end is notified.
    Silent,
    /// The server's processes stand still.
    Paused,
    /// The server ends all connections.
    Ended,
    /// The connection on this machine is killed.
    Killed,
}

const FAULTS: [Fault; 5] = [Fault::Refused, Fault::Silent, Fault::Paused, Fault::Ended, Fault::Killed];

/// Rule of iptables(8) that refuses connections and resets those that there are.
const REFUSE: &str = "INPUT -i eth0 -p tcp -j REJECT --reject-with tcp-reset";

impl Fault {
    fn begin(self, run: &Running, runtime: Option<&Runtime<'_>>) {
        match self {
            Self::Refused => drop(MAIN.sh(&format!("iptables -I {REFUSE}"))),
            Self::Silent => MAIN.cut_link(),
            Self::Paused => drop(MAIN.sh("pkill -STOP sshd || true")),
            Self::Ended => drop(MAIN.sh("pkill -KILL -f '^sshd-session: robot' || true")),
            Self::Killed => {
                let is_master = |line: &str| line.starts_with("ssh ") && line.contains("ControlMaster=yes");
                let own = run.processes().into_iter().filter(|(_, line)| is_master(line)).map(|(pid, _)| pid);
                for pid in own.chain(runtime.map(Runtime::kept).unwrap_or_default()) {
                    // It may just have ended.
                    succeeds(&["kill", "-KILL", &pid.to_string()]);
                }
            }
        }
    }

    fn end(self) {
        match self {
            Self::Refused => drop(MAIN.sh(&format!("iptables -D {REFUSE}"))),
            Self::Silent => MAIN.mend_link(),
            // A command that the server was just starting was paused with it, and has a name of its own by now.
            Self::Paused => drop(MAIN.sh("pkill -CONT sshd; pkill -CONT -u robot || true")),
            Self::Ended | Self::Killed => {}
        }
    }
}

/// Numbers of a test, whose seed is printed if it fails; `XTASK_LINKS_SEED` repeats it.
fn rng(test: &str) -> Rng {
    let seed = std::env::var("XTASK_LINKS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    note(format!("{test}: XTASK_LINKS_SEED={seed}"));
    Rng::with_seed(seed)
}

/// Runs a verb, perhaps over a connection of the one before, whose link fails at a random moment of its first `span` seconds, for up to four seconds.
fn disturbed(runtime: &Runtime<'_>, rng: &mut Rng, args: &[&str], span: f64) -> Finished {
    let fault = FAULTS[rng.usize(..FAULTS.len())];
    let moment = Duration::from_secs_f64(rng.f64() * span);
    let outage = Duration::from_secs_f64(0.2 + 3.8 * rng.f64());
    note(format!("{args:?}: {fault:?} after {moment:.2?} for {outage:.2?}"));
    let run = runtime.start(args);
    std::thread::sleep(moment);
    fault.begin(&run, Some(runtime));
    std::thread::sleep(outage);
    fault.end();
    run.wait_for_all()
}

pub fn deploys_arrive_whenever_the_link_fails(lab: &Lab) {
    let workspace = lab.deployed();
    let (mut rng, runtime) = (rng("deploys"), Runtime::of(workspace));
    for number in 0..12 {
        workspace.edit(ODOMETRY, "    half = turn / 2", &format!("    half = turn / 2  # {number}"));
        disturbed(&runtime, &mut rng, &["deploy", "--robot", "main", "--yes"], 4.0).expect_exit(0);
        MAIN.assert_has_built("localization");
        assert_runs(&current());
        workspace.reset();
    }
}

pub fn releases_change_whenever_the_link_fails(lab: &Lab) {
    let workspace = lab.deployed();
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # another release");
    lab.deploy(MAIN);
    let (mut rng, runtime) = (rng("releases"), Runtime::of(workspace));
    for number in 0..6 {
        let before = current();
        disturbed(&runtime, &mut rng, &["rollback", "--robot", "main"], 2.0).expect_exit(0);
        assert_ne!(current(), before);
        assert_runs(&current());
        let (old, new) =
            (format!("ROS_DOMAIN_ID = \"{}\"", 20 + number), format!("ROS_DOMAIN_ID = \"{}\"", 21 + number));
        let old = if number == 0 { "ROS_DOMAIN_ID = \"7\"".to_owned() } else { old };
        workspace.edit("robots.toml", &old, &new);
        disturbed(&runtime, &mut rng, &["env", "--robot", "main"], 2.0).expect_exit(0);
        assert_runs(&current());
        let there = MAIN
            .sh("docker inspect --format '{{.Config.Env}}' $(docker ps --quiet --filter name=-navigation-)");
        assert!(there.contains(&format!("ROS_DOMAIN_ID={}", 21 + number)), "{there}");
    }
    workspace.reset();
    lab.deploy(MAIN);
}

pub fn data_and_answers_arrive_whenever_the_link_fails(lab: &Lab) {
    let workspace = lab.deployed();
    MAIN.sh("mkdir -p /home/robot/bags && cd /home/robot/bags && chown robot . && \
             for one in a b c; do head -c 3000000 /dev/urandom >$one; done");
    let there = MAIN.sh("cd /home/robot/bags && sha256sum a b c");
    let (mut rng, runtime) = (rng("data"), Runtime::of(workspace));
    workspace.xtask(&["sim", "up", "main", "--link", "50mbit"]).expect_exit(0);
    for _ in 0..6 {
        disturbed(&runtime, &mut rng, &["pull-data", "--robot", "main", "bags"], 2.5).expect_exit(0);
        let sum = |name: &str| {
            let bytes = std::fs::read(workspace.path(&format!("data/main/bags/{name}"))).unwrap();
            format!("{:x}  {name}", Sha256::digest(bytes))
        };
        assert_eq!(there, ["a", "b", "c"].map(sum).join("\n"));
        std::fs::remove_dir_all(workspace.path("data")).unwrap();
        let status =
            disturbed(&runtime, &mut rng, &["status", "--robot", "main", "--json"], 1.0).expect_exit(0);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        // A robot that gives no sign of life from the beginning is off, as far as one can know.
        let error = status["main"]["error"].as_str().unwrap_or("does not answer");
        assert!(error.contains("does not answer"), "{status}");
    }
    workspace.xtask(&["sim", "up", "main", "--link", "off"]).expect_exit(0);
    MAIN.exec(&["rm", "-r", "/home/robot/bags"]);
}

pub fn a_robot_that_is_starting_is_waited_for(lab: &Lab) {
    let workspace = lab.deployed();
    Fault::Refused.begin(&workspace.start(&["sim", "list"]), None);
    let mut run = workspace.start(&["deploy", "--robot", "main", "--yes"]);
    run.until_it_says("; trying again for");
    Fault::Refused.end();
    run.wait_for_all().expect_exit(0).says("nothing changed");
}

pub fn a_robot_that_stays_away_is_told_of_in_one_sentence(lab: &Lab) {
    let workspace = lab.deployed();
    for fault in [Fault::Refused, Fault::Silent] {
        // A command of an earlier run may still be there: its server has not noticed the lost connection.
        let seconds = fastrand::u32(1_000..1_000_000).to_string();
        let sleeping = workspace.start(&["ssh", "--robot", "main", "--", "sleep", &seconds]);
        let there = format!("^sleep {seconds}");
        eventually("the command", || MAIN.can(&["pgrep", "-f", &there]).then_some(()));
        let mut waiting = workspace.start(&["logs", "--robot", "main", "--follow"]);
        waiting.until_it_runs(&["docker compose", "--follow"]);
        fault.begin(&waiting, None);
        let asking = workspace.start(&["releases", "--robot", "main"]);
        let mut ended = workspace.start(&["history", "--robot", "main"]);
        ended.until_it_says("trying again for");
        ended.signal("TERM");
        ended.wait_for_all().expect_exit(130).never_says("ssh -o");
        let asked = asking.wait_for_all().expect_exit(3).never_says("exit status").never_says("ssh -o");
        let lost = waiting.wait_for_all().expect_exit(3).never_says("exit status").never_says("ssh -o");
        let cut = sleeping.wait_for_all().expect_exit(3).never_says("exit status").never_says("ssh -o");
        fault.end();
        drop(cut.says("the connection to `main` was lost").never_says("closed by"));
        // The engine of this machine accepts connections for the container in which the robot is simulated.
        let reason = if matches!(fault, Fault::Refused) { "closes the connection" } else { "`main` (" };
        drop(asked.says(reason));
        drop(lost.says("`main` did not come back within 20 s"));
    }
}

pub fn the_limits_of_a_server_are_waited_for(lab: &Lab) {
    let workspace = lab.deployed();
    // The server shows its second limit in its title, once it has read the file.
    let configure = |sessions: u32, startups: &str| {
        MAIN.sh(&format!(
            "cd /etc/ssh && sed -i /^MaxS/d sshd_config && echo MaxSessions {sessions} >>sshd_config && \
             echo MaxStartups {startups} >>sshd_config && pkill -HUP -o sshd"
        ));
        let limits: Vec<&str> = startups.split(':').collect();
        let title = format!("of {}-{} startups", limits[0], limits[2]);
        eventually("the server's limits", || MAIN.can(&["pgrep", "-f", &title]).then_some(()));
    };
    // One session at a time: the connection takes no other command, so each makes one of its own.
    configure(1, "50:30:100");
    workspace.edit(ODOMETRY, "    half = turn / 2", "    half = turn / 2  # one session");
    lab.deploy(MAIN);
    MAIN.assert_has_built("localization");
    workspace.xtask(&["exec", "--robot", "main", "navigation", "--", "true"]).expect_exit(0);

    // One login at a time, and one that takes its time.
    configure(10, "1:100:1");
    let mut slow = std::net::TcpStream::connect(MAIN.ssh_address()).unwrap();
    // The server counts it when it greets.
    std::io::Read::read_exact(&mut slow, &mut [0; 4]).unwrap();
    let mut run = workspace.start(&["status", "--robot", "main"]);
    run.until_it_says("closes the connection before the login; trying again for");
    drop(slow);
    run.wait_for_all().expect_exit(0).says("localization");
    configure(10, "100:30:200");
    workspace.reset();
}
