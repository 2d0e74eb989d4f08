//! Listener on this machine's loopback interface, for one user and until its guard is dropped.

mod peer;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;

use crate::error::{Failure, Result};

/// Number of ports that are tried after the preferred one.
const PORTS_TRIED: u16 = 100;

/// Listener on 127.0.0.1; it stops when this guard is dropped. Accepted connections stay open.
#[derive(Debug)]
pub(crate) struct Listener {
    port: u16,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on `preferred` or the next free port and passes each connection to `serve`, which must not
    /// block.
    ///
    /// Connections of other users of this machine are closed, except those of root: Docker's engine runs as
    /// root.
    pub(crate) fn start(preferred: u16, mut serve: impl FnMut(TcpStream) + Send + 'static) -> Result<Self> {
        let candidates = preferred..=preferred.saturating_add(PORTS_TRIED);
        let listener = candidates
            .clone()
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .ok_or_else(|| {
                Failure::failed(format!("none of the local ports {candidates:?} is free"))
                    .hint("`ss -ltnp` lists the programs that use them")
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
                    serve(connection);
                }
            }
        });
        Ok(Self { port, stopping, acceptor: Some(acceptor) })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wake the acceptor, which waits for a connection.
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
        // Only root can become another user.
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c"];
        if Cmd::new("setpriv").args(nobody).arg("true").succeeds().unwrap_or_default() {
            let received = Cmd::new("setpriv").args(nobody).arg(format!("{ask} 2>/dev/null; :")).read()?;
            assert_eq!(received, "");
        }
        Ok(())
    }

    #[test]
    fn a_used_port_is_skipped_and_the_next_one_freed() -> Result<()> {
        // Below the ephemeral ports, which other tests use.
        let own = 20_000 + u16::try_from(std::process::id() % 10_000)?;
        let taken =
            (own..own + PORTS_TRIED).find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let taken = taken.context("no port is free")?;
        let used = taken.local_addr()?.port();
        let listener = Listener::start(used, drop)?;
        let port = listener.port();
        assert!(port > used);
        drop(listener);
        // A child that another test is starting inherits the listener until its `exec`.
        let free = || Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
        crate::process::poll("the port to be free", std::time::Duration::from_secs(20), free).map(drop)
    }
}
