//! The login of a robot's registry.
//!
//! The registry listens on loopback, which other users and containers of the robot can reach as well. It
//! therefore generates a login when it starts (`images/registry/start.py`) and stores the login where only
//! users of the robot who may use Docker can read it. This machine reads the login over SSH, and the relay
//! adds it to each request.

use std::time::Duration;

use anyhow::Context as _;

use super::{Session, registry};
use crate::error::{Failure, Result, explained};
use crate::process;
use crate::robot_side::Script;

/// Length of a login in base64 without padding: a name of five letters, a colon and 64 hexadecimal digits.
const LENGTH: usize = 94;

/// Time that a freshly started registry may take to generate its login.
const READY: Duration = Duration::from_secs(20);

/// A login in base64, as in HTTP basic authentication. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// Reads the login from the robot, whose registry has to be started before.
    pub fn of(session: &Session) -> Result<Self> {
        let print = session.script(Script::PrintLogin, &[]);
        // `Ok(Err(_))` ends the wait: a lost connection does not come back by waiting.
        let read = || match print.read() {
            Ok(text) => Self::parse(text.lines().next_back().unwrap_or_default())
                .map(Ok)
                .context("the registry has no login yet"),
            Err(error) => Ok(Err(error)),
        };
        let robot = session.robot();
        let answer = process::poll("the registry's login", READY, read).map_err(|error| {
            explained(error, |error| {
                Failure::failed(format!("the registry on `{robot}` does not start"))
                    .hint(format!(
                        "`cargo xtask ssh --robot {robot} -- docker logs {}` shows why",
                        registry::CONTAINER
                    ))
                    .hint(format!(
                        "if its port {} is in use: {}",
                        session.endpoint().registry_port,
                        registry::port_hint(robot)
                    ))
                    .because(error)
                    .into()
            })
        });
        answer?
    }

    fn parse(text: &str) -> Option<Self> {
        let login = text.strip_suffix("==")?;
        let is_login = login.len() == LENGTH && login.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_login.then(|| Self(text.to_owned()))
    }

    /// Value of the header `Authorization`.
    pub fn header(&self) -> String {
        format!("Basic {}", self.0)
    }

    #[cfg(test)]
    pub fn example() -> Self {
        Self(format!("{}==", "A".repeat(LENGTH)))
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Credential(…)")
    }
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
