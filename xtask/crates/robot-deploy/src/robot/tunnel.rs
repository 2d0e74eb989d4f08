//! The tunnel to a robot's registry: an SSH port forwarding between the loopback interfaces of both machines.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::credential::Credential;
use super::registry::{self, RegistryClient};
use super::relay::{Relay, Traffic, Watch};
use super::{Endpoint, Session};
use crate::error::{Failure, Result, explained};
use crate::process::{self, Cmd};
use crate::ui::Progress;

/// Preferred local port. If it is in use, the next free port is taken.
pub const PORT: u16 = 5000;

/// Hint for a delivery whose connection is lost.
pub(crate) const KEPT_HINT: &str = "what arrived is kept on the robot: the next deploy sends the rest";

/// Time that a freshly started registry may take to answer.
const READY: Duration = Duration::from_secs(30);

/// Time that a robot's SSH server may take to say that it forwards nothing.
const ANSWER: Duration = Duration::from_secs(10);

/// An open tunnel. Dropping it closes the tunnel.
#[derive(Debug)]
pub struct Tunnel<'a> {
    session: &'a Session,
    relay: Relay,
    forwards: Cell<u32>,
    /// Connection that has the forwarding, by the time at which it was made.
    forwarded: Cell<Option<Instant>>,
}

impl<'a> Tunnel<'a> {
    /// Opens a tunnel on local port `requested` or the next free one, and waits until the registry answers.
    pub fn open(session: &'a Session, requested: u16) -> Result<Self> {
        let login = Credential::of(session)?;
        let relay = Relay::listen(requested, session.socket_path("registry-0"), login)?;
        let tunnel = Self { session, relay, forwards: Cell::new(0), forwarded: Cell::new(None) };
        tunnel.forward()?;
        tunnel.wait_until_ready()?;
        Ok(tunnel)
    }

    pub(crate) fn robot(&self) -> &str {
        self.session.robot()
    }

    /// Local port that leads to the robot's registry.
    pub fn port(&self) -> u16 {
        self.relay.port()
    }

    pub fn traffic(&self) -> Traffic {
        self.relay.traffic()
    }

    /// Counts the bytes sent to the robot in `progress` until the guard is dropped.
    pub fn watched_by(&self, progress: &Progress) -> Watch<'_> {
        self.relay.watched_by(progress)
    }

    pub fn registry(&self) -> RegistryClient {
        RegistryClient::on_port(self.port())
    }

    /// Opens the tunnel again, on the same port, if the connection has dropped. Returns whether it had
    /// dropped.
    pub fn ensure_open(&self) -> Result<bool> {
        let before = self.forwards.get();
        process::poll("the connection to come back", self.session.endpoint().reconnect, || self.knock())?;
        Ok(self.forwards.get() != before)
    }

    /// Asks the registry whether it is one: `ssh` notices a cut link only after a while, and an answer proves that the
    /// link works. Makes one try to connect if the connection has ended, and forwards again if the forwarding was lost
    /// with a connection, whoever made the new one.
    fn knock(&self) -> Result<bool> {
        self.session.ensure_connected()?;
        if self.forwarded.get() != self.session.connected_since() {
            self.forward()?;
        }
        self.registry().ping()
    }

    /// Like [`Tunnel::ensure_open`], for deliveries.
    ///
    /// # Errors
    /// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when the robot or its registry does
    /// not come back in time.
    pub(crate) fn reopen(&self) -> Result<bool> {
        let robot = self.session.robot();
        let gone = format!("`{robot}` did not come back, or its registry does not answer any more");
        self.ensure_open().map_err(|error| Failure::unreachable(gone).caused_by(error))
    }

    fn forward(&self) -> Result<()> {
        let connection = self.session.connected_since();
        self.forwards.set(self.forwards.get() + 1);
        let socket = self.session.socket_path(&format!("registry-{}", self.forwards.get()));
        self.session.forward(socket.as_str(), &registry::address(self.session.endpoint().registry_port))?;
        self.relay.redirect(socket);
        self.forwarded.set(connection);
        Ok(())
    }

    fn wait_until_ready(&self) -> Result<()> {
        let robot = self.session.robot();
        let deadline = READY.max(self.session.endpoint().reconnect);
        // `Ok(Err(_))` ends the wait: a server that forwards nothing does not change its mind.
        let mut asked = false;
        let knock = || match self.knock() {
            Err(_) if !std::mem::replace(&mut asked, true) && forwards_nothing(self.session.endpoint()) => {
                self.session.leave();
                Ok(Err(no_forwarding(robot)))
            }
            answer => answer.map(Ok),
        };
        let is_registry = process::poll("the registry to answer", deadline, knock)
            .map_err(|error| silent(robot, error))??;
        if is_registry {
            return Ok(());
        }
        let port = self.session.endpoint().registry_port;
        Err(Failure::failed(format!("port {port} on `{robot}` is used by something that is not a registry"))
            .hint(registry::port_hint(robot))
            .into())
    }
}

/// Asks the robot's SSH server if it refuses to forward ports, on a connection of its own: through a master, only that says why.
/// The words are those of OpenSSH for SSH_OPEN_ADMINISTRATIVELY_PROHIBITED (RFC 4254, section 5.1).
fn forwards_nothing(endpoint: &Endpoint) -> bool {
    let forward = ["-o", "BatchMode=yes", "-W", &registry::address(endpoint.registry_port), "--"];
    let tried = endpoint.ssh_that_forwards().args(forward).arg(&endpoint.destination).stderr_within(ANSWER);
    tried.is_ok_and(|said| said.is_some_and(|said| said.contains("administratively prohibited")))
}

fn no_forwarding(robot: &str) -> anyhow::Error {
    Failure::failed(format!("the SSH server of `{robot}` forwards no ports, which the tunnel to its registry needs"))
        .hint(format!(
            "allow it with `AllowTcpForwarding local` in /etc/ssh/sshd_config on `{robot}` and `sudo systemctl restart ssh`, and \
             without `restrict` or `no-port-forwarding` in ~/.ssh/authorized_keys there"
        ))
        .hint(format!("`cargo xtask deploy --robot {robot} --via archive` needs no tunnel, and sends more"))
        .into()
}

/// The error for a registry that runs but does not answer, for example because its disk hangs.
fn silent(robot: &str, error: anyhow::Error) -> anyhow::Error {
    explained(error, |error| {
        Failure::failed(format!("the registry on `{robot}` does not answer"))
            .hint(format!(
                "`cargo xtask ssh --robot {robot} -- docker restart {}` restarts it and loses no data",
                registry::CONTAINER
            ))
            .because(error)
            .into()
    })
}

/// The command with which people open a tunnel by hand, until Ctrl-C.
pub fn by_hand(endpoint: &Endpoint, port: u16) -> Cmd {
    let forward = format!("127.0.0.1:{port}:{}", registry::address(endpoint.registry_port));
    endpoint.only_forward(&forward)
}
