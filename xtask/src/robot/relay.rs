//! The laptop's end of the tunnel: a listener on loopback that passes bytes on and counts them.
//!
//! `ssh -L` could listen itself. That we do instead keeps the port ours while the connection behind it is
//! replaced, leaves no moment between finding a free port and taking it, and makes "bytes on the wire" a
//! measurement.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use crate::error::Result;
use crate::loopback::Listener;
use crate::ui::Progress;

/// How long a connection may say nothing, either way. A registry that is stopped in its tracks never answers, and
/// `docker push` would wait for it for ever; connections that are kept for later may be closed at any time.
const IDLE: Duration = Duration::from_secs(90);

/// Bytes that went through, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From this machine to the robot.
    pub sent: u64,
    /// From the robot to this machine.
    pub received: u64,
}

#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    received: AtomicU64,
    /// Where connections are passed on to; replaced when the SSH connection is.
    target: Mutex<Utf8PathBuf>,
    /// Who wants to see what goes to the robot.
    watcher: Mutex<Option<Progress>>,
}

/// See the module.
#[derive(Debug)]
pub struct Relay {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Relay {
    /// Listens on 127.0.0.1, on `wish` or the next free port, and passes connections on to a Unix socket.
    ///
    /// # Errors
    /// Fails when none of the ports is free.
    pub fn listen(wish: u16, target: Utf8PathBuf) -> Result<Self> {
        Self::with_patience(wish, target, IDLE)
    }

    fn with_patience(wish: u16, target: Utf8PathBuf, patience: Duration) -> Result<Self> {
        let shared = Arc::new(Shared { target: Mutex::new(target), ..Shared::default() });
        let passing_on = Arc::clone(&shared);
        let listener = Listener::start(wish, move |client| accept(client, &passing_on, patience))?;
        Ok(Self { listener, shared })
    }

    /// The local port.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Passes new connections on to another socket.
    pub fn redirect(&self, target: Utf8PathBuf) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Shows what goes to the robot on its line, until the guard is dropped.
    pub fn watched_by(&self, progress: &Progress) -> Watch<'_> {
        self.shared.watch(Some(progress.clone()));
        Watch(&self.shared)
    }

    /// What went through so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            sent: self.shared.sent.load(Ordering::Relaxed),
            received: self.shared.received.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn watch(&self, watcher: Option<Progress>) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher;
    }

    fn count_sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
        if let Some(watcher) = &*self.watcher.lock().unwrap_or_else(PoisonError::into_inner) {
            watcher.advance(count);
        }
    }

    fn count_received(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }
}

/// See [`Relay::watched_by`].
#[derive(Debug)]
#[must_use = "nothing is shown any more once it is dropped"]
pub struct Watch<'a>(&'a Shared);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.watch(None);
    }
}

/// Passes a connection on, both ways, until it ends.
fn accept(client: TcpStream, shared: &Arc<Shared>, patience: Duration) {
    let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Where the SSH connection is gone, the client is hung up on, as a dead tunnel would.
    let Ok(robot) = UnixStream::connect(target.as_std_path()) else { return };
    drop(client.set_nodelay(true));
    let (Ok(client_again), Ok(robot_again)) = (client.try_clone(), robot.try_clone()) else { return };
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    let idle = Arc::new(Idle::new(patience));
    let busy = Arc::clone(&idle);
    if robot_again.set_read_timeout(Some(patience / 10)).is_err() {
        return;
    }
    std::thread::spawn(move || {
        let counted = |count| {
            busy.over();
            up.count_sent(count);
        };
        pass_on(client, &robot, counted, || false);
        drop(robot.shutdown(Shutdown::Write));
    });
    std::thread::spawn(move || {
        let counted = |count| {
            idle.over();
            down.count_received(count);
        };
        pass_on(&robot_again, &client_again, counted, || idle.is_too_long());
        // Who still writes to either side is to notice.
        drop(robot_again.shutdown(Shutdown::Both));
        drop(client_again.shutdown(Shutdown::Both));
    });
}

/// Since when a connection has been saying nothing.
struct Idle {
    since: Mutex<Instant>,
    limit: Duration,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self { since: Mutex::new(Instant::now()), limit }
    }

    fn over(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_too_long(&self) -> bool {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= self.limit
    }
}

/// Copies until either side ends, or has nothing to say and is given up for that; counts what is passed on.
fn pass_on(mut from: impl Read, mut to: impl Write, counted: impl Fn(u64), is_given_up: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                // Counted first: who has seen the answer to something sees it counted, too.
                counted(count as u64);
                if to.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // The time for reading is over, no more than that.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !is_given_up() => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A Unix socket that answers each connection with what it got, reversed.
    fn reverser(path: &std::path::Path) -> std::io::Result<()> {
        let listener = UnixListener::bind(path)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut text = Vec::new();
                if (&stream).read_to_end(&mut text).is_ok() {
                    text.reverse();
                    drop((&stream).write_all(&text));
                }
            }
        });
        Ok(())
    }

    fn ask(port: u16, text: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(text.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn socket(dir: &tempfile::TempDir, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap()
    }

    #[test]
    fn bytes_go_through_and_are_counted() -> Result<()> {
        let dir = tempfile::tempdir()?;
        reverser(&dir.path().join("a"))?;
        let relay = Relay::listen(0, socket(&dir, "a"))?;
        assert_eq!(ask(relay.port(), "hello")?, "olleh");
        assert_eq!(relay.traffic(), Traffic { sent: 5, received: 5 });

        let progress = Progress::new("main");
        let watch = relay.watched_by(&progress);
        assert_eq!(ask(relay.port(), "again")?, "niaga");
        drop(watch);
        assert_eq!(ask(relay.port(), "unseen")?, "neesnu");
        assert_eq!((progress.gone(), relay.traffic().sent), (5, 16));
        Ok(())
    }

    #[test]
    fn the_port_stays_while_the_target_is_replaced() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let relay = Relay::listen(0, socket(&dir, "gone"))?;
        assert_eq!(ask(relay.port(), "hello").unwrap_or_default(), "");
        reverser(&dir.path().join("back"))?;
        relay.redirect(socket(&dir, "back"));
        assert_eq!(ask(relay.port(), "hello")?, "olleh");
        Ok(())
    }

    #[test]
    fn a_robot_that_takes_everything_and_says_nothing_is_given_up() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let path = guard.path().join("silent");
        let listener = UnixListener::bind(&path)?;
        let silent = std::thread::spawn(move || listener.accept());
        let target = Utf8PathBuf::from_path_buf(path).unwrap();
        let relay = Relay::with_patience(42000, target, Duration::from_millis(200))?;
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port()))?;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let mut answer = Vec::new();
        // Without an end this would wait for ever.
        drop(client.read_to_end(&mut answer));
        assert!(answer.is_empty());
        drop(silent.join().unwrap()?);
        Ok(())
    }
}
