//! The laptop's end of the tunnel: a listener on loopback that passes requests on and counts bytes.
//!
//! The robot's registry asks for a login, which the relay adds to each request: who pushes through it needs none, and
//! never sees it. So it is the relay that decides who may push: this user and Docker's engine (see
//! [`Listener`]), no web page, and nobody may delete. Answers pass as they come.
//!
//! `ssh -L` could listen itself. That we do instead keeps the port ours while the connection behind it is
//! replaced, leaves no moment between finding a free port and taking it, and makes "bytes on the wire" a
//! measurement.

mod requests;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use super::Credential;
use crate::error::Result;
use crate::http;
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

#[derive(Debug)]
struct Shared {
    login: Credential,
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
    /// Listens on 127.0.0.1, on `requested` or the next free port, and passes requests on to the registry behind a Unix
    /// socket, with its login.
    ///
    /// # Errors
    /// Fails when none of the ports is free.
    pub fn listen(requested: u16, target: Utf8PathBuf, login: Credential) -> Result<Self> {
        Self::with_patience(requested, target, login, IDLE)
    }

    fn with_patience(
        requested: u16,
        target: Utf8PathBuf,
        login: Credential,
        patience: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            login,
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            target: Mutex::new(target),
            watcher: Mutex::default(),
        });
        let passing_on = Arc::clone(&shared);
        let listener = Listener::start(requested, move |client| accept(client, &passing_on, patience))?;
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
        let way = match pass_requests(&client, Counted { to: &robot, counted }, &up.login) {
            Ok(()) => Shutdown::Write,
            // What has been begun is not to be taken for a whole request.
            Err(_) => Shutdown::Both,
        };
        drop(robot.shutdown(way));
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

/// Passes requests on until the client ends, or is refused.
fn pass_requests(client: &TcpStream, registry: impl Write, login: &Credential) -> io::Result<()> {
    if http::is_tls(client)? {
        http::answer_tls(client);
        return Ok(());
    }
    let port = client.local_addr()?.port();
    if let Some(refusal) = requests::pass_on(client, registry, port, &login.header())? {
        http::refuse(client, refusal);
    }
    Ok(())
}

/// A writer that tells how much goes through it. Told first: who has seen the answer to something sees it counted, too.
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
    use std::io::{BufRead as _, BufReader};
    use std::net::Ipv4Addr;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A Unix socket that answers each request with its own head.
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

    /// All that is answered on one connection.
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
        // Each line that the mirror says has lost its carriage return.
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
        let relay = Relay::with_patience(42000, target, Credential::example(), Duration::from_millis(200))?;
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port()))?;
        client.write_all(get("localhost").as_bytes())?;
        let mut answer = Vec::new();
        // Without an end this would wait for ever.
        drop(client.read_to_end(&mut answer));
        assert!(answer.is_empty());
        drop(silent.join().unwrap()?);
        Ok(())
    }
}
