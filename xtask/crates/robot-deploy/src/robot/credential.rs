//! The login at a robot's own registry.
//!
//! Loopback is not a person: other users and containers of the robot reach the registry, too. It makes up a login where
//! it starts (docker/registry/start.py) and leaves it where only those can read it who may use Docker there. This machine
//! reads it over SSH, and the relay adds it to what goes to the registry.

use std::time::Duration;

use anyhow::Context as _;

use super::{Session, registry};
use crate::cmd;
use crate::error::{Failure, Result, explained};
use crate::process;

/// The robot's part. A container that has just been started has no login yet.
const TELL: &str = concat!(include_str!("scripts/credential.sh"), "credential || echo none\n");

/// The user, and the robot's part where `docker login` reads the password alone.
const USER: &str = "xtask";
const TELL_PASSWORD: &str =
    concat!(include_str!("scripts/credential.sh"), "credential | base64 -d | cut -d : -f 2");

/// Digits of a login: a name of five letters, a colon and 64 hexadecimal digits in base64.
const DIGITS: usize = 94;

/// Time that a registry which has just been started may take until it has a login.
const READY: Duration = Duration::from_secs(20);

/// See the module. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// Asks the robot, whose registry has been started.
    ///
    /// # Errors
    /// Fails when the connection is gone, or when the registry does not come to having a login.
    pub fn of(session: &Session) -> Result<Self> {
        let ask = session.script(TELL, &[]);
        // A connection that is gone is not waited for.
        let read = || match ask.read() {
            Ok(text) => {
                Self::parse(text.lines().next_back().unwrap_or_default()).map(Ok).context("it has no login")
            }
            Err(error) => Ok(Err(error)),
        };
        let robot = session.robot();
        let answer = process::poll("the registry's login", READY, read).map_err(|error| {
            explained(error, |error| {
                Failure::failed(format!("the registry on `{robot}` does not start"))
                    .hint(format!(
                        "`cargo xtask ssh --robot {robot} -- docker logs {}` says why; something else may listen on \
                         port 5000 there: `sudo ss -ltnp` shows it",
                        registry::CONTAINER
                    ))
                    .because(error)
                    .into()
            })
        });
        answer?
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix("==")?;
        let is_login = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
        is_login.then(|| Self(text.to_owned()))
    }

    /// The value of the header `Authorization`.
    pub fn header(&self) -> String {
        format!("Basic {}", self.0)
    }

    /// One for tests.
    #[cfg(test)]
    pub fn example() -> Self {
        Self(format!("{}==", "A".repeat(DIGITS)))
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Credential(…)")
    }
}

/// Has this machine's Docker log in at the registry behind a port, where no relay adds the login: for scripts.
///
/// # Errors
/// Fails when the robot does not tell its login or Docker does not take it.
pub fn log_in(session: &Session, host: &str) -> Result<()> {
    let tell = session.command(["sh", "-c", TELL_PASSWORD]);
    cmd!("docker login --username {USER} --password-stdin {host}")?.feed(&tell).map(drop)
}

/// Undoes that.
pub fn log_out(host: &str) {
    process::Cmd::new("docker").args(["logout", host]).clean_up();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_nothing_else_and_is_never_shown() {
        let login = Credential::example();
        assert_eq!(Credential::parse(&login.0), Some(login.clone()));
        assert_eq!(format!("{login:?}"), "Credential(…)");
        let short = login.0.replacen('A', "", 1);
        let odd = login.0.replacen("AA", "A\n", 1);
        let header = login.0.replacen("AA", "\r\n", 1);
        for text in ["", "==", &short, &odd, &header, &format!("{}A", login.0)] {
            assert_eq!(Credential::parse(text), None, "{text:?}");
        }
    }
}
