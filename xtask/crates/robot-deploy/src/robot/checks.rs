//! The checks of `cargo xtask doctor` on a robot.

use std::time::{Duration, SystemTime};

use super::registry::CONTAINER;
use super::survey::no_docker;
use super::{Endpoint, Session};
use crate::config::{Platform, Robot};
use crate::doctor::{Check, Outcome};
use crate::number;
use crate::robot_side::Script;
use crate::robot_side::lines::{self, examine as word};

/// Free bytes that an edit needs at most, and that a robot should have: two generations of a typical workspace's
/// images, and room for its own data.
const SPACE: [u64; 2] = [500_000_000, 3_000_000_000];

/// Seconds of clock difference beyond which times in logs and bags of two machines cannot be compared.
const SKEW: u64 = 2;

/// First major version of Docker Engine that can read layers compressed with zstd.
const FIRST_ENGINE: u32 = 23;

/// Checks a robot. An error that prevents further checks is the last one of the list.
pub fn examine(robot: &Robot, endpoint: Endpoint) -> Vec<Check> {
    let check = |name, outcome| Check::new(&robot.name, name, outcome);
    let endpoint = Endpoint { reconnect: Duration::ZERO, ..endpoint };
    let session = match Session::open_by_login(endpoint) {
        Ok(session) => session,
        Err(error) => return vec![check("reachable", Outcome::error(&error))],
    };
    let mut checks = vec![check("reachable", Outcome::good("over SSH, with the recorded host key"))];
    let script = session.script(Script::Examine, &[CONTAINER]).deadline(Duration::from_secs(20));
    let asked = SystemTime::now();
    match script.read() {
        Ok(text) => {
            let outcomes = lines::read(&text).flat_map(|line| findings(robot, &line, asked));
            checks.extend(outcomes.map(|(name, outcome)| check(name, outcome)));
        }
        Err(error) => checks.push(check("shell", Outcome::error(&error))),
    }
    checks
}

/// Check results from one line that the script printed. `asked` is the time at which the script was started.
fn findings(robot: &Robot, line: &[&str], asked: SystemTime) -> Vec<(&'static str, Outcome)> {
    match *line {
        [word::MACHINE, machine] => vec![("architecture", architecture(robot, machine))],
        [word::CLOCK, seconds] => vec![("clock", clock(seconds, asked, SystemTime::now()))],
        [word::DOCKER_ERROR, reason] => vec![("docker", Outcome::error(&no_docker(&robot.name, reason)))],
        [word::DOCKER, version, status, _] => vec![("docker", engine(version, status))],
        [word::FREE, kilobytes] => vec![("disk", disk(&robot.name, kilobytes))],
        [word::COMPOSE, version] => vec![("compose", compose(version))],
        [word::REGISTRY, state] => vec![("registry", registry(&robot.name, state))],
        _ => Vec::new(),
    }
}

fn architecture(robot: &Robot, machine: &str) -> Outcome {
    let found = Platform::from_machine(machine);
    if found.arch == robot.platform.arch {
        return Outcome::good(format!("{machine}, as `platform` in robots.toml says"));
    }
    Outcome::bad(
        format!("{found}, but robots.toml says {}", robot.platform),
        format!("in [robots.{}]: platform = \"{found}\"", robot.name),
    )
}

/// Compares the robot's clock with this machine's. The robot read its clock at some time between `asked` and
/// `answered`, which are seconds apart on a slow robot.
fn clock(seconds: &str, asked: SystemTime, answered: SystemTime) -> Outcome {
    let [asked, answered] = [asked, answered]
        .map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs());
    let there = number::said(seconds).unwrap_or_default();
    let here = there.clamp(asked.min(answered), answered);
    match here.abs_diff(there) {
        skew @ 0..=SKEW => Outcome::good(format!("differs from this machine's clock by {skew} s")),
        skew => Outcome::bad(
            format!("{skew} s {} this machine's clock", if there > here { "ahead of" } else { "behind" }),
            format!(
                "on the robot: `sudo date --set=@{answered}`; with a network, `sudo timedatectl set-ntp true`"
            ),
        ),
    }
}

fn engine(version: &str, status: &str) -> Outcome {
    let store =
        if status.contains("io.containerd.snapshotter") { "containerd store" } else { "classic store" };
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(FIRST_ENGINE);
    if major < FIRST_ENGINE {
        return Outcome::bad(
            format!("Docker {version} cannot read layers compressed with zstd"),
            "install a newer Docker on the robot: 23 or later",
        );
    }
    Outcome::good(format!("{version}, without sudo ({store})"))
}

fn disk(robot: &str, kilobytes: &str) -> Outcome {
    let Some(free) = number::kibibytes(kilobytes) else {
        return Outcome::note("free space unknown");
    };
    let remedy = format!(
        "`cargo xtask ssh --robot {robot} -- docker system df` shows what uses the disk, `docker image prune` there frees space"
    );
    Outcome::space(free, "for images", SPACE, remedy)
}

fn compose(version: &str) -> Outcome {
    if version.trim_start_matches('v').starts_with(|first: char| first >= '2' && first.is_ascii_digit()) {
        return Outcome::good(version.trim());
    }
    Outcome::bad(
        "no Compose v2",
        "on the robot: `sudo apt install docker-compose-v2` (Ubuntu), `docker-compose` (Debian 13) or `docker-compose-plugin` (Docker's own packages)",
    )
}

fn registry(robot: &str, state: &str) -> Outcome {
    match state {
        "running" => Outcome::good("running"),
        "" => Outcome::note("not installed yet: the first deploy installs it"),
        state => Outcome::bad(
            format!("its container is {state}"),
            format!("`cargo xtask setup-robot --robot {robot}` starts it again and keeps its data"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    fn bad(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Bad { .. })
    }

    #[test]
    fn fuzzed_examinations_are_read() {
        let examined = b"machine\tx86_64\nclock\t1700000000\ndocker\t26.1.5\tio.containerd.snapshotter\t/\n\
            docker-error\tnot installed\nfree\t9000000\ncompose\t2.26.1\nregistry\trunning";
        fuzz("doctor", 500, &[examined, b"free\t18446744073709551615"], |bytes| {
            for line in lines::read(&text(bytes)) {
                let _outcome = match line[..] {
                    [word::CLOCK, seconds] => clock(seconds, SystemTime::now(), SystemTime::now()),
                    [word::DOCKER, version, status, _] => engine(version, status),
                    [word::FREE, kilobytes] => disk("main", kilobytes),
                    [word::COMPOSE, version] => compose(version),
                    [_, state] => registry("main", state),
                    _ => continue,
                };
            }
        });
    }

    #[test]
    fn clocks_that_differ_are_bad_and_the_remedy_sets_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert!(!bad(&clock("1000001", now, now)));
        assert!(!bad(&clock("999990", now - Duration::from_secs(12), now)), "a slow answer");
        let outcome = clock("913600", now, now);
        assert!(matches!(&outcome, Outcome::Bad { problem, remedy }
            if problem.starts_with("86400 s behind") && remedy.contains("date --set=@1000000")));
    }

    #[test]
    fn what_is_too_old_or_too_full_is_bad() {
        assert!(bad(&engine("20.10.24", "[]")) && !bad(&engine("26.1.5+dfsg1", "[]")));
        assert!(bad(&compose("1.29.2")) && bad(&compose("docker: 'compose' is not a docker command.")));
        assert!(!bad(&compose("2.26.1-4")) && !bad(&compose("v2.39.1")) && !bad(&compose("5.0.1")));
        assert!(bad(&disk("main", "400000")) && !bad(&disk("main", "90000000")));
        assert!(bad(&registry("main", "exited")) && !bad(&registry("main", "")));
    }
}
