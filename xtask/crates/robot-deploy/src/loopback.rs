//! Listening on this machine's loopback interface, for as long as a guard lives, and for one user.

mod peer;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;

use crate::error::{Failure, Result};

/// How many ports after the wished one are tried.
const PORTS_TRIED: u16 = 100;

/// A listener on 127.0.0.1; it stops with this guard. Connections that it has handed on live on.
#[derive(Debug)]
pub struct Listener {
    port: u16,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on `requested` or the next free port, and hands each connection to `each`, which must not wait for it.
    /// Other users of this machine are hung up on: root may connect, because Docker's engine is root, and nobody else.
    ///
    /// # Errors
    /// Fails when none of the ports is free.
    pub fn start(requested: u16, mut each: impl FnMut(TcpStream) + Send + 'static) -> Result<Self> {
        let candidates = requested..=requested.saturating_add(PORTS_TRIED);
        let listener = candidates
            .clone()
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .ok_or_else(|| {
                Failure::failed(format!("none of the local ports {candidates:?} is free"))
                    .hint("`ss -ltnp` lists what listens")
            })?;
        let port = listener.local_addr().context("ask for the port of a listener")?.port();
        let stopping = Arc::new(AtomicBool::new(false));
        let is_stopping = Arc::clone(&stopping);
        let acceptor = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(connection) = connection
                    && peer::is_ours(&connection)
                {
                    each(connection);
                }
            }
        });
        Ok(Self { port, stopping, acceptor: Some(acceptor) })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The acceptor waits for a connection: give it one.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::process::Cmd;

    #[test]
    fn other_users_are_hung_up_on() -> Result<()> {
        let greet = |mut client: TcpStream| drop(client.write_all(b"hello"));
        let listener = Listener::start(21_000, greet)?;
        let ask = format!("exec 3<>/dev/tcp/127.0.0.1/{} && cat <&3", listener.port());
        assert_eq!(Cmd::new("bash").args(["-c", &ask]).read()?, "hello");
        // Only root can be somebody else.
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c"];
        if Cmd::new("setpriv").args(nobody).arg("true").succeeds().unwrap_or_default() {
            let heard = Cmd::new("setpriv").args(nobody).arg(format!("{ask} 2>/dev/null; :")).read()?;
            assert_eq!(heard, "");
        }
        Ok(())
    }

    #[test]
    fn a_taken_port_is_stepped_over_and_given_back() -> Result<()> {
        // Below the ports that the system gives to anybody, of which another test may get the next one.
        let own = 20_000 + u16::try_from(std::process::id() % 10_000)?;
        let taken =
            (own..own + PORTS_TRIED).find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let taken = taken.context("no port is free")?;
        let requested = taken.local_addr()?.port();
        let listener = Listener::start(requested, drop)?;
        let port = listener.port();
        assert!(port > requested);
        drop(listener);
        // Another test's child has all that is open here until it has become the program it is to be.
        let free = || Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
        crate::process::poll("the port to be free", std::time::Duration::from_secs(20), free).map(drop)
    }
}
