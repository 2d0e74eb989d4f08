//! Tries to connect to a robot: what a failed one means, and whether another one may succeed.

use std::time::{Duration, Instant};

use super::Endpoint;
use crate::error::{Failure, Result};
use crate::{process, ui};

/// Longest pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Port that `ssh` names if the connection to a jump host, or the one from there to the robot, has failed.
const BEHIND_JUMP_HOST: &str = "UNKNOWN port 65535";

/// Reason for a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    ChangedHostKey,
    UnknownHostKey,
    Denied,
    /// The configuration of `ssh` is wrong.
    Configuration,
    Unresolved,
    /// Nothing listens on the port: the robot may be starting.
    Refused,
    /// The other end has closed the connection: sshd may be restarting, or has too many connections.
    Closed,
    Silent,
    /// The connection had been made and was lost.
    Lost,
    /// The login shell does not answer.
    Hanging,
    Other,
}

/// A try that failed.
#[derive(Debug)]
pub(super) struct Refusal {
    pub cause: Cause,
    pub error: anyhow::Error,
}

impl Cause {
    /// Finds the cause in the messages of `ssh`.
    fn of(stderr: &str) -> Self {
        let causes: [(&[&str], Self); 9] = [
            (&["REMOTE HOST IDENTIFICATION HAS CHANGED"], Self::ChangedHostKey),
            (&["host key is known for"], Self::UnknownHostKey),
            (
                &["Bad configuration option", "Bad owner or permissions", "configuration options"],
                Self::Configuration,
            ),
            (&["Permission denied", "Too many authentication failures"], Self::Denied),
            (&["Could not resolve"], Self::Unresolved),
            (&["client_loop:", "Timeout, server"], Self::Lost),
            (&["Connection refused"], Self::Refused),
            (&["timed out", "No route to host", "is unreachable", "Host is down"], Self::Silent),
            (
                &["Connection reset", "Connection closed", "closed by remote host", "Broken pipe"],
                Self::Closed,
            ),
        ];
        let found = causes.into_iter().find(|(words, _)| words.iter().any(|word| stderr.contains(word)));
        found.map_or(Self::Other, |(_, cause)| cause)
    }

    /// Returns whether the cause may end by itself.
    pub(super) fn may_pass(self) -> bool {
        use Cause::{Closed, Lost, Other, Refused, Silent, Unresolved};
        matches!(self, Unresolved | Refused | Closed | Silent | Lost | Other)
    }

    /// Returns whether the cause may end by itself, and the robot is not off, as far as one can know.
    pub(super) fn may_pass_on_a_robot_that_is_on(self) -> bool {
        self.may_pass() && !matches!(self, Self::Unresolved | Self::Silent)
    }
}

/// Tries to connect until the robot has been unreachable for `reconnect`, or for a cause that is not worth
/// waiting.
pub(super) fn keep_trying<T>(
    endpoint: &Endpoint,
    is_worth_waiting: fn(Cause) -> bool,
    mut connect: impl FnMut() -> Result<T, Refusal>,
) -> Result<T> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(100);
    let mut is_told = false;
    loop {
        let Refusal { cause, error } = match connect() {
            Ok(connected) => return Ok(connected),
            Err(refusal) => refusal,
        };
        process::check_interrupted()?;
        let left = endpoint.reconnect.saturating_sub(begin.elapsed());
        if left.is_zero() || !is_worth_waiting(cause) {
            return Err(error);
        }
        if !is_told {
            ui::step(&endpoint.robot, &format!("{error}; trying again for {} s", left.as_secs().max(1)));
            is_told = true;
        }
        process::pause(pause.min(left))?;
        pause = (2 * pause).min(PAUSE);
    }
}

/// Returns whether a robot accepts a login without a password. Waits for a robot that does not answer yet.
pub(crate) fn accepts_key(endpoint: &Endpoint) -> Result<bool> {
    let log_in = || match endpoint.command(["true"]).read() {
        Ok(_) => Ok(true),
        Err(error) => match explain(endpoint, &error) {
            Refusal { cause: Cause::Denied, .. } => Ok(false),
            refusal => Err(refusal),
        },
    };
    keep_trying(endpoint, Cause::may_pass, log_in)
}

/// Turns the error of `ssh` into one for people.
pub(super) fn explain(endpoint: &Endpoint, reason: &anyhow::Error) -> Refusal {
    let stderr = format!("{reason:#}");
    let cause = Cause::of(&stderr);
    let (robot, destination) = (&endpoint.robot, &endpoint.destination);
    let is_behind = stderr.contains(BEHIND_JUMP_HOST);
    let whose = if is_behind { "the jump host on the way to " } else { "" };
    let it = format!("{whose}`{robot}` ({destination})");
    let presented = stderr
        .lines()
        .map(|line| line.trim().trim_end_matches('.'))
        .rfind(|line| line.starts_with("SHA256:"));
    let other = presented.and_then(|key| endpoint.other_with_key(key));
    let failure = match cause {
        Cause::ChangedHostKey if other.is_some() => {
            let other = other.unwrap_or_default();
            Failure::unreachable(format!("`{other}` answers at `{destination}`, not `{robot}`"))
                .hint(format!("connect this machine to the network of `{robot}`, or switch `{other}` off"))
        }
        Cause::ChangedHostKey => Failure::unreachable(format!(
            "the host key of `{robot}` is not the one in `{}`",
            endpoint.known_hosts
        ))
        .hint(format!("if {robot} was re-flashed: `cargo xtask setup-robot --robot {robot} --new-host-key`"))
        .hint(format!("if it was not, another machine answers at `{destination}`: check the address")),
        Cause::UnknownHostKey if !is_behind => {
            Failure::unreachable(format!("the host key of `{robot}` has not been recorded")).hint(format!(
                "`cargo xtask setup-robot --robot {robot}` shows it, records it, and sets the robot up"
            ))
        }
        Cause::UnknownHostKey => Failure::unreachable(format!("the host key of {it} is not known"))
            .hint("`ssh` to the jump host by hand records it, in ~/.ssh/known_hosts"),
        Cause::Configuration => Failure::config("ssh does not accept its configuration")
            .hint("it is read from ~/.ssh/config and /etc/ssh/ssh_config"),
        Cause::Denied if is_behind => Failure::unreachable(format!("{it} does not accept your SSH key"))
            .hint("`ssh` to the jump host by hand shows more"),
        Cause::Denied => Failure::unreachable(format!("{it} does not accept your SSH key"))
            .hint(format!("`cargo xtask setup-robot --robot {robot}` installs it"))
            .hint("a key with a passphrase has to be in the agent: `ssh-add`"),
        Cause::Unresolved => Failure::unreachable(match is_behind {
            true => format!("cannot resolve the host name of {it}"),
            false => format!("`{robot}`: cannot resolve the host name of `{destination}`"),
        })
        .hint(format!("check `host` of [robots.{robot}] in robots.toml; an IP address always works")),
        Cause::Refused => Failure::unreachable(format!("{it} refuses the connection"))
            .hint("it may still be starting; check that its SSH server runs, and on which port"),
        Cause::Closed => Failure::unreachable(format!("{it} closes the connection before the login"))
            .hint("its SSH server may be restarting, or have too many connections"),
        Cause::Lost => Failure::unreachable(format!("the connection to {it} was lost")),
        Cause::Silent | Cause::Hanging => Failure::unreachable(format!("{it} does not answer"))
            .hint("check that the robot is switched on and that this machine is in the robot's network")
            .hint(format!("`cargo xtask doctor --robot {robot}` checks the robot")),
        Cause::Other => Failure::unreachable(format!("cannot connect to {it}"))
            .hint(format!("`cargo xtask doctor --robot {robot}` checks the robot")),
    };
    let words = words_that_help(cause, &reason.root_cause().to_string());
    let error =
        if words.is_empty() { failure.into() } else { failure.because(anyhow::anyhow!(words)).into() };
    Refusal { cause, error }
}

/// The lines of `ssh` that tell more than our own message, and do not contradict it.
fn words_that_help(cause: Cause, stderr: &str) -> String {
    let helps = |line: &&str| match cause {
        Cause::ChangedHostKey | Cause::UnknownHostKey => line.starts_with("SHA256:"),
        _ => !line.starts_with('@') && !line.contains(BEHIND_JUMP_HOST),
    };
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(helps).collect();
    let fingerprint = |line: &str| format!("the key that was presented: {}", line.trim_end_matches('.'));
    match (cause, lines.last()) {
        (Cause::ChangedHostKey, Some(line)) => fingerprint(line),
        _ => lines[lines.len().saturating_sub(4)..].join("\n"),
    }
}

/// Refusal of a robot whose login shell has not answered for `seconds`.
pub(super) fn hanging(endpoint: &Endpoint, seconds: u64) -> Refusal {
    let Endpoint { robot, destination, .. } = endpoint;
    let failure = Failure::unreachable(format!(
        "`{robot}` ({destination}) accepts the connection, but its shell does not answer within {seconds} s"
    ));
    let hint = "a command in its `~/.profile` or `~/.bashrc` may hang, or its disk: look at the robot's console, or restart the robot";
    Refusal { cause: Cause::Hanging, error: failure.hint(hint).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_of, hints_of};
    use crate::robot::endpoint::testing::endpoint;

    fn explained(stderr: &str) -> Refusal {
        explain(&endpoint(), &anyhow::anyhow!(stderr.to_owned()))
    }

    #[test]
    fn every_refusal_has_its_own_message_and_remedy() {
        let cases = [
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "is not the one in", "--new-host-key"),
            ("No ED25519 host key is known for main", "has not been recorded", "setup-robot --robot main"),
            ("nuc@10.0.0.1: Permission denied (publickey).", "does not accept your SSH key", "installs it"),
            ("ssh: Could not resolve hostname nuc: unknown", "cannot resolve the host name", "robots.toml"),
            ("ssh: connect to host 10.0.0.1 port 22: No route to host", "does not answer", "switched on"),
            ("ssh: connect to host 10.0.0.1 port 22: Connection timed out", "does not answer", "switched on"),
            (
                "ssh: connect to host 10.0.0.1 port 22: Connection refused",
                "refuses the connection",
                "starting",
            ),
            (
                "kex_exchange_identification: read: Connection reset by peer",
                "closes the connection",
                "restarting",
            ),
            (
                "jump@j: Permission denied (publickey).\nConnection closed by UNKNOWN port 65535",
                "jump host",
                "by hand",
            ),
            (
                "ssh: Could not resolve hostname j: x\nConnection closed by UNKNOWN port 65535",
                "jump host",
                "host",
            ),
            ("something new", "cannot connect to `main`", "doctor"),
        ];
        for (stderr, message, hint) in cases {
            let Refusal { error, .. } = explained(stderr);
            assert!(error.to_string().contains(message), "{error}");
            assert!(hints_of(&error).concat().contains(hint), "{:?}", hints_of(&error));
            assert_eq!(exit_of(&error), Exit::Unreachable);
            assert!(!format!("{error:#}").contains("UNKNOWN"), "{error:#}");
        }
    }

    #[test]
    fn the_advice_of_ssh_about_a_changed_key_is_not_repeated() {
        let stderr = "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@\nThe fingerprint for the \
                      ED25519 key sent by the remote host is\nSHA256:abc.\nPlease contact your system administrator.\n  \
                      remove with:\n  ssh-keygen -f known_hosts -R main\nHost key verification failed.";
        let text = format!("{:#}", explained(stderr).error);
        assert!(text.contains("SHA256:abc") && !text.contains("ssh-keygen"), "{text}");
    }

    #[test]
    fn what_may_pass_is_waited_for() {
        let tried = |stderr: &str, is_worth_waiting| {
            let mut tries = 0;
            let endpoint = Endpoint { reconnect: Duration::from_secs(20), ..endpoint() };
            let connected = keep_trying(&endpoint, is_worth_waiting, || {
                tries += 1;
                if tries == 3 { Ok(()) } else { Err(explain(&endpoint, &anyhow::anyhow!(stderr.to_owned()))) }
            });
            (connected.is_ok(), tries)
        };
        for stderr in
            ["Connection refused", "Connection reset by peer", "No route to host", "Could not resolve x"]
        {
            assert_eq!(tried(stderr, Cause::may_pass), (true, 3), "{stderr}");
        }
        for stderr in ["Permission denied (publickey).", "REMOTE HOST IDENTIFICATION HAS CHANGED"] {
            assert_eq!(tried(stderr, Cause::may_pass), (false, 1), "{stderr}");
            assert_eq!(tried(stderr, |_| true), (true, 3), "a robot that was there before: {stderr}");
        }
        assert_eq!(tried("Connection timed out", Cause::may_pass_on_a_robot_that_is_on), (false, 1));
        assert_eq!(tried("Connection refused", Cause::may_pass_on_a_robot_that_is_on), (true, 3));
    }
}
