//! The tunnel to a robot's registry: `ssh -L`, loopback on both ends.

use std::time::Duration;

use anyhow::Context as _;

use super::registry::{self, RegistryClient};
use super::relay::{Relay, Traffic};
use super::ssh::Session;
use crate::error::Result;
use crate::process;

/// The local port that people expect; the next free one is taken where it is in use.
pub const PORT: u16 = 5000;

/// How long a registry that has just been started may take to answer.
const READY: Duration = Duration::from_secs(30);

/// How long a robot may be gone, say behind a wall, before a delivery gives up.
const BACK: Duration = Duration::from_secs(60);

/// An open tunnel; it closes with this guard.
#[derive(Debug)]
pub struct Tunnel<'a> {
    session: &'a Session,
    relay: Relay,
    forwards: std::cell::Cell<u32>,
}

impl<'a> Tunnel<'a> {
    /// Opens it on local port `wish` or the next free one, and waits until the registry answers.
    ///
    /// # Errors
    /// Fails when the connection is gone, no port is free, or the registry does not answer.
    pub fn open(session: &'a Session, wish: u16) -> Result<Self> {
        let relay = Relay::listen(wish, session.socket_path("registry-0"))?;
        let tunnel = Self { session, relay, forwards: std::cell::Cell::new(0) };
        tunnel.forward()?;
        tunnel.wait_until_ready()?;
        Ok(tunnel)
    }

    /// The local port that leads to the robot's registry.
    pub fn port(&self) -> u16 {
        self.relay.port()
    }

    /// What went through so far.
    pub fn traffic(&self) -> Traffic {
        self.relay.traffic()
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
        process::poll("the connection to come back", BACK, || {
            if self.session.ensure_connected()? {
                dropped = true;
                self.forward()?;
            }
            // A link that has just been cut still looks connected: the registry's answer is the proof.
            self.registry().ping()
        })?;
        Ok(dropped)
    }

    fn forward(&self) -> Result<()> {
        self.forwards.set(self.forwards.get() + 1);
        let socket = self.session.socket_path(&format!("registry-{}", self.forwards.get()));
        self.session.forward(socket.as_str(), registry::ADDRESS)?;
        self.relay.redirect(socket);
        Ok(())
    }

    fn wait_until_ready(&self) -> Result<()> {
        process::poll("the registry to answer", READY, || self.registry().ping())
            .with_context(|| format!("tunnel to `{}`", self.session.robot()))
    }
}
