//! The tunnel to a robot's registry: `ssh -L`, loopback on both ends.

use std::time::Duration;

use super::credential::{self, Credential};
use super::registry::{self, RegistryClient};
use super::relay::{Relay, Traffic, Watch};
use super::ssh::{Endpoint, Session};
use crate::error::{Failure, Result, explained};
use crate::process::{self, Cmd};
use crate::ui::Progress;

/// The local port that people expect; the next free one is taken where it is in use.
pub const PORT: u16 = 5000;

/// How long a registry that has just been started may take to answer.
const READY: Duration = Duration::from_secs(30);

/// Where the master connection of a script's tunnel is found again. `%C` stands for the robot, see
/// ssh_config(5).
const CONTROL_PATH: &str = "ControlPath=~/.ssh/xtask-%C";

/// An open tunnel; it closes with this guard.
#[derive(Debug)]
pub struct Tunnel<'a> {
    session: &'a Session,
    /// None in a dry run.
    relay: Option<Relay>,
    requested: u16,
    forwards: std::cell::Cell<u32>,
}

impl<'a> Tunnel<'a> {
    /// Opens it on local port `requested` or the next free one, and waits until the registry answers. A dry run
    /// prints how to open it by hand and to log in, and, when this guard goes, how to close it.
    ///
    /// # Errors
    /// Fails when the connection is gone, no port is free, or the registry has no login or does not answer.
    pub fn open(session: &'a Session, requested: u16) -> Result<Self> {
        if process::mode().dry_run {
            background(session.endpoint(), requested).run()?;
            credential::log_in(session, &local(requested))?;
            return Ok(Self { session, requested, relay: None, forwards: std::cell::Cell::new(0) });
        }
        let login = Credential::of(session)?;
        let relay = Some(Relay::listen(requested, session.socket_path("registry-0"), login)?);
        let tunnel = Self { session, requested, relay, forwards: std::cell::Cell::new(0) };
        tunnel.forward()?;
        tunnel.wait_until_ready()?;
        Ok(tunnel)
    }

    /// The local port that leads to the robot's registry.
    pub fn port(&self) -> u16 {
        self.relay.as_ref().map_or(self.requested, Relay::port)
    }

    /// What went through so far.
    pub fn traffic(&self) -> Traffic {
        self.relay.as_ref().map(Relay::traffic).unwrap_or_default()
    }

    /// Shows what goes to the robot on its line, until the guard is dropped; none in a dry run.
    pub fn watched_by(&self, progress: &Progress) -> Option<Watch<'_>> {
        self.relay.as_ref().map(|relay| relay.watched_by(progress))
    }

    /// A client of the registry behind the tunnel.
    pub fn registry(&self) -> RegistryClient {
        RegistryClient::on_port(self.port())
    }

    /// Establishes the tunnel again if the connection has dropped; the port stays. Tells whether it had to.
    ///
    /// # Errors
    /// Fails when the robot does not come back in time, or its registry does not.
    pub fn ensure_open(&self) -> Result<bool> {
        let mut dropped = false;
        process::poll("the connection to come back", self.session.endpoint().reconnect, || {
            if self.session.ensure_connected()? {
                dropped = true;
                self.forward()?;
            }
            // A link that has just been cut still looks connected: the registry's answer is the proof.
            self.registry().ping().map(drop)
        })?;
        Ok(dropped)
    }

    /// The same for a delivery, of which `kept` says what is left of it.
    ///
    /// # Errors
    /// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when the robot does not come back in time, or
    /// its registry does not.
    pub fn reopen(&self, kept: &str) -> Result<bool> {
        let robot = self.session.robot();
        let gone = format!("`{robot}` does not come back, or its registry does not answer any more");
        self.ensure_open().map_err(|error| {
            explained(error, |error| Failure::unreachable(gone).hint(kept).because(error).into())
        })
    }

    fn forward(&self) -> Result<()> {
        self.forwards.set(self.forwards.get() + 1);
        let socket = self.session.socket_path(&format!("registry-{}", self.forwards.get()));
        self.session.forward(socket.as_str(), registry::ADDRESS)?;
        if let Some(relay) = &self.relay {
            relay.redirect(socket);
        }
        Ok(())
    }

    fn wait_until_ready(&self) -> Result<()> {
        let robot = self.session.robot();
        let is_registry = process::poll("the registry to answer", READY, || self.registry().ping())
            .map_err(|error| silent(robot, error))?;
        if is_registry {
            return Ok(());
        }
        Err(Failure::failed(format!("what answers on port 5000 of `{robot}` is no registry"))
            .hint(format!("`cargo xtask ssh --robot {robot} -- sudo ss -ltnp` shows what listens there: stop it, or move it"))
            .into())
    }
}

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        if self.relay.is_none() {
            credential::log_out(&local(self.requested));
            close(self.session.endpoint()).clean_up();
        }
    }
}

/// A registry that runs and says nothing, say on a disk that does not.
fn silent(robot: &str, error: anyhow::Error) -> anyhow::Error {
    explained(error, |error| {
        Failure::failed(format!("the registry on `{robot}` does not answer"))
            .hint(format!(
                "`cargo xtask ssh --robot {robot} -- docker restart {}` starts it anew, and loses nothing",
                registry::CONTAINER
            ))
            .because(error)
            .into()
    })
}

/// The tunnel as people open it by hand, until Ctrl-C.
pub fn by_hand(endpoint: &Endpoint, port: u16) -> Cmd {
    endpoint.ssh_that_forwards().args(forwarding(port)).args(["-N", "--", &endpoint.destination])
}

/// The same for a script: it goes into the background once it is open, and [`close`] finds it there.
fn background(endpoint: &Endpoint, port: u16) -> Cmd {
    endpoint
        .ssh_that_forwards()
        .args(["-o", "ControlMaster=yes", "-o", CONTROL_PATH])
        .args(forwarding(port))
        .args(["-f", "-N", "--", &endpoint.destination])
}

fn close(endpoint: &Endpoint) -> Cmd {
    endpoint.ssh().args(["-o", CONTROL_PATH, "-O", "exit", "--", &endpoint.destination])
}

/// The registry as this machine calls it.
pub fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn forwarding(port: u16) -> [String; 4] {
    let forward = format!("{}:{}", local(port), registry::ADDRESS);
    ["-o".into(), "ExitOnForwardFailure=yes".into(), "-L".into(), forward]
}
