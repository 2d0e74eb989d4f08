//! The laptop's end of the tunnel: an HTTP proxy on loopback that forwards requests to the robot's registry
//! and counts bytes.
//!
//! The relay adds the login of the robot's registry to each request, so clients neither need nor see that
//! login. The relay therefore has to decide which requests it forwards: those of this user and of Docker's
//! engine (see [`Listener`]), none of web pages, and no `DELETE`. Responses are forwarded unchanged.
//!
//! `ssh -L` could listen by itself. A listener of our own keeps the port while the SSH connection is
//! replaced, has no race between finding a free port and binding it, and measures the bytes that are really
//! sent.

mod requests;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use parking_lot::Mutex;

use super::Credential;
use crate::error::Result;
use crate::http;
use crate::loopback::Listener;
use crate::ui::Progress;

/// Time after which a connection without traffic in either direction is closed. A paused registry never
/// answers, and `docker push` would wait for it forever. Closing an idle keep-alive connection does no harm.
const IDLE: Duration = Duration::from_secs(90);

/// Bytes transferred in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From this machine to the robot.
    pub sent: u64,
    /// From the robot to this machine.
    pub received: u64,
}

#[derive(Debug)]
struct Shared {
    login: Credential,
    sent: AtomicU64,
    received: AtomicU64,
    /// Socket that leads to the registry. Changes when the SSH connection is replaced.
    target: Mutex<Utf8PathBuf>,
    /// Receives the number of bytes sent to the robot.
    progress: Mutex<Option<Progress>>,
}

/// A running relay; see the module.
#[derive(Debug)]
pub(super) struct Relay {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Relay {
    /// Listens on 127.0.0.1, on port `requested` or the next free one, and forwards requests, with the login, to
    /// the registry behind the Unix socket `target`.
    pub(super) fn listen(requested: u16, target: Utf8PathBuf, login: Credential) -> Result<Self> {
        Self::with_idle_limit(requested, target, login, IDLE)
    }

    fn with_idle_limit(
        requested: u16,
        target: Utf8PathBuf,
        login: Credential,
        idle_limit: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            login,
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            target: Mutex::new(target),
            progress: Mutex::default(),
        });
        let shared_by_connections = Arc::clone(&shared);
        let listener =
            Listener::start(requested, move |client| accept(client, &shared_by_connections, idle_limit))?;
        Ok(Self { listener, shared })
    }

    /// Local port of the listener.
    pub(super) fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Forwards new connections to another socket.
    pub(super) fn redirect(&self, target: Utf8PathBuf) {
        *self.shared.target.lock() = target;
    }

    /// Counts the bytes sent to the robot in `progress` until the guard is dropped.
    pub(super) fn watched_by(&self, progress: &Progress) -> Watch<'_> {
        self.shared.set_progress(Some(progress.clone()));
        Watch(&self.shared)
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            sent: self.shared.sent.load(Ordering::Relaxed),
            received: self.shared.received.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn set_progress(&self, progress: Option<Progress>) {
        *self.progress.lock() = progress;
    }

    fn count_sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
        if let Some(progress) = &*self.progress.lock() {
            progress.advance(count);
        }
    }

    fn count_received(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }
}

#[derive(Debug)]
#[must_use = "progress stops when the guard is dropped"]
pub struct Watch<'a>(&'a Shared);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.set_progress(None);
    }
}

/// Forwards a connection in both directions until it ends.
fn accept(client: TcpStream, shared: &Arc<Shared>, idle_limit: Duration) {
    let target = shared.target.lock().clone();
    // Without an SSH connection the client's connection is closed, as a dead tunnel would close it.
    let Ok(robot) = UnixStream::connect(target.as_std_path()) else { return };
    drop(client.set_nodelay(true));
    let (Ok(client_again), Ok(robot_again)) = (client.try_clone(), robot.try_clone()) else { return };
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    let idle = Arc::new(IdleTimer::new(idle_limit));
    let idle_of_requests = Arc::clone(&idle);
    if robot_again.set_read_timeout(Some(idle_limit / 10)).is_err() {
        return;
    }
    std::thread::spawn(move || {
        let counted = |count| {
            idle_of_requests.reset();
            up.count_sent(count);
        };
        let direction = match forward_requests(&client, Counted { to: &robot, counted }, &up.login) {
            Ok(()) => Shutdown::Write,
            // The registry must not take a truncated request for a complete one.
            Err(_) => Shutdown::Both,
        };
        drop(robot.shutdown(direction));
    });
    std::thread::spawn(move || {
        let counted = |count| {
            idle.reset();
            down.count_received(count);
        };
        copy(&robot_again, &client_again, counted, || idle.is_expired());
        // Also unblocks the thread that forwards requests.
        drop(robot_again.shutdown(Shutdown::Both));
        drop(client_again.shutdown(Shutdown::Both));
    });
}

/// Forwards requests until the client closes the connection or a request is refused.
fn forward_requests(client: &TcpStream, registry: impl Write, login: &Credential) -> io::Result<()> {
    if http::is_tls(client)? {
        http::answer_tls(client);
        return Ok(());
    }
    let port = client.local_addr()?.port();
    if let Some(refusal) = requests::forward(client, registry, port, &login.header())? {
        http::refuse(client, refusal);
    }
    Ok(())
}

/// A writer that counts its bytes. Counts before it writes, so that a client that has the response finds its
/// request counted.
struct Counted<W, F> {
    to: W,
    counted: F,
}

impl<W: Write, F: Fn(u64)> Write for Counted<W, F> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        (self.counted)(part.len() as u64);
        self.to.write_all(part)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Time since the last traffic on a connection.
struct IdleTimer {
    since: Mutex<Instant>,
    limit: Duration,
}

impl IdleTimer {
    fn new(limit: Duration) -> Self {
        Self { since: Mutex::new(Instant::now()), limit }
    }

    fn reset(&self) {
        *self.since.lock() = Instant::now();
    }

    fn is_expired(&self) -> bool {
        self.since.lock().elapsed() >= self.limit
    }
}

/// Copies and counts bytes until either side closes its connection or `is_expired` says that it was idle for
/// too long.
fn copy(mut from: impl Read, mut to: impl Write, counted: impl Fn(u64), is_expired: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                // Counted first, as in `Counted`.
                counted(count as u64);
                if to.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // The read timeout only serves to check `is_expired` now and then.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !is_expired() => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::Ipv4Addr;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Listens on a Unix socket and answers each request with the request's own head.
    fn mirror(path: &std::path::Path) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut head = String::new();
                    for line in BufReader::new(&stream).lines().map_while(io::Result::ok) {
                        head += &format!("{line}\n");
                        if line.is_empty() {
                            let length = head.len();
                            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
                            drop((&stream).write_all(answer.as_bytes()));
                            head.clear();
                        }
                    }
                });
            }
        });
        Ok(())
    }

    /// Sends `text` on one connection and returns everything that is answered.
    fn ask(port: u16, text: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(text.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn get(host: &str) -> String {
        format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n")
    }

    fn socket(dir: &tempfile::TempDir, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap()
    }

    #[test]
    fn requests_go_through_with_the_login_and_are_counted() -> Result<()> {
        let dir = tempfile::tempdir()?;
        mirror(&dir.path().join("a"))?;
        let login = Credential::example();
        let relay = Relay::listen(0, socket(&dir, "a"), login.clone())?;
        let answer = ask(relay.port(), &get("localhost"))?;
        let seen = format!("GET /v2/ HTTP/1.1\nAuthorization: {}\nHost: localhost\n\n", login.header());
        assert!(answer.ends_with(&seen), "{answer}");
        // The mirror drops the carriage return of each line.
        let sent = seen.len() as u64 + 4;
        assert_eq!(relay.traffic(), Traffic { sent, received: answer.len() as u64 });

        let progress = Progress::new("main");
        let watch = relay.watched_by(&progress);
        ask(relay.port(), &get("localhost"))?;
        drop(watch);
        ask(relay.port(), &get("localhost"))?;
        assert_eq!((progress.gone(), relay.traffic().sent), (sent, 3 * sent));
        Ok(())
    }

    #[test]
    fn who_may_not_is_told_and_nothing_reaches_the_robot() -> Result<()> {
        let dir = tempfile::tempdir()?;
        mirror(&dir.path().join("a"))?;
        let relay = Relay::listen(0, socket(&dir, "a"), Credential::example())?;
        let delete = get("127.0.0.1").replace("GET", "DELETE");
        let cases = [(get("evil.example"), "403"), (delete, "405"), ("\x16\x03\x01\x02".into(), "400")];
        for (text, status) in cases {
            let answer = ask(relay.port(), &text)?;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        }
        assert_eq!(relay.traffic(), Traffic::default());
        Ok(())
    }

    #[test]
    fn the_port_stays_while_the_target_is_replaced() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let relay = Relay::listen(0, socket(&dir, "gone"), Credential::example())?;
        assert_eq!(ask(relay.port(), &get("localhost")).unwrap_or_default(), "");
        mirror(&dir.path().join("back"))?;
        relay.redirect(socket(&dir, "back"));
        assert!(ask(relay.port(), &get("localhost"))?.starts_with("HTTP/1.1 200"));
        Ok(())
    }

    #[test]
    fn a_robot_that_takes_everything_and_says_nothing_is_given_up() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let path = guard.path().join("silent");
        let listener = UnixListener::bind(&path)?;
        let silent = std::thread::spawn(move || listener.accept());
        let target = Utf8PathBuf::from_path_buf(path).unwrap();
        let relay = Relay::with_idle_limit(42000, target, Credential::example(), Duration::from_millis(200))?;
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port()))?;
        client.write_all(get("localhost").as_bytes())?;
        let mut answer = Vec::new();
        // Would wait forever if the relay did not close the connection.
        drop(client.read_to_end(&mut answer));
        assert!(answer.is_empty());
        drop(silent.join().unwrap()?);
        Ok(())
    }
}
