//! One SSH master connection to a robot, and the commands that use it.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use parking_lot::Mutex;

use super::connecting::{self, Cause, Refusal};
use super::endpoint::{Endpoint, via_master};
use super::kept;
use super::socket_dir::SocketDir;
use crate::error::{Ended, Failure, Result};
use crate::process::{self, Child, Cmd, Link};
use crate::robot_side::Script;
use crate::ui;

/// Line that the master connection prints once it is established. A login shell may print other lines before.
const READY: &str = "xtask-connection-ready";

/// Time in which a master connection greets who connects to its socket.
const GREETING: Duration = Duration::from_secs(5);

/// Time that a login may take, including jump hosts.
const LOGIN: Duration = Duration::from_secs(30);

/// A live connection to one robot. It ends on drop, and also when this process is killed, unless it is kept for the next
/// run: see [`kept`].
///
/// A command that fails because the connection has dropped is repeated over a new one: see [`process::patiently`].
#[derive(Debug)]
pub struct Session(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    endpoint: Endpoint,
    dir: SocketDir,
    /// Socket of the connection that commands share.
    socket: Utf8PathBuf,
    /// Forwardings that have been asked for, as arguments of `-L`.
    forwards: Mutex<Vec<String>>,
    master: Mutex<Option<Master>>,
}

#[derive(Debug)]
struct Master {
    child: Child,
    /// Time at which the connection was made.
    since: Instant,
    /// False for an `ssh` that cannot share connections: each command then makes one of its own.
    is_shared: bool,
}

impl Session {
    /// Connects. Waits for a robot that does not answer yet until it has been unreachable for
    /// [`Endpoint::reconnect`]. Printed commands do not use the connection, so that they work after it has ended.
    ///
    /// # Errors
    /// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when the robot does not answer, its
    /// host key is not the recorded one, or the robot does not accept the SSH key.
    pub fn open(endpoint: Endpoint) -> Result<Self> {
        Self::open_while(Connection::to(endpoint)?, Cause::may_pass)
    }

    /// Like [`Session::open`], but does not wait for a robot that gives no sign of life.
    pub fn open_if_on(endpoint: Endpoint) -> Result<Self> {
        Self::open_while(Connection::to(endpoint)?, Cause::may_pass_on_a_robot_that_is_on)
    }

    /// Like [`Session::open`], but logs in, even if an earlier run has kept its connection.
    pub(crate) fn open_by_login(endpoint: Endpoint) -> Result<Self> {
        let connection = Connection::to(endpoint)?;
        connection.leave("stop");
        Self::open_while(connection, Cause::may_pass)
    }

    fn open_while(connection: Connection, is_worth_waiting: fn(Cause) -> bool) -> Result<Self> {
        let master =
            connecting::keep_trying(&connection.endpoint, is_worth_waiting, || connection.connect())?;
        *connection.master.lock() = Some(master);
        Ok(Self(Arc::new(connection)))
    }

    pub fn robot(&self) -> &str {
        &self.0.endpoint.robot
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// A command on the robot. Each argument arrives there unchanged, whatever characters are in it.
    pub fn command<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        let argv: Vec<S> = argv.into_iter().collect();
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let command = self.endpoint().batch(&via_master(&self.0.socket)).arg(shell_words::join(&argv));
        command.over(self.link()).called(process::words_of(&argv).join(" "))
    }

    /// Runs a command attached to this terminal: with a terminal on the robot, too, if `tty` is true.
    ///
    /// # Errors
    /// Fails with [`Ended`] if the command fails, and with
    /// [`Exit::Unreachable`](crate::error::Exit::Unreachable) if the connection is lost.
    pub fn attach(&self, tty: bool, argv: &[String]) -> Result<()> {
        let Endpoint { robot, destination, .. } = self.endpoint();
        // `-tt` overrides `RequestTTY=no` of the common options. Without `-q`, `ssh` says goodbye.
        let ssh = self.endpoint().ssh().args(["-q"].into_iter().chain(tty.then_some("-tt")));
        let ssh = ssh.unshown(via_master(&self.0.socket)).args(["--", destination]);
        ssh.arg(shell_words::join(argv)).hand_over().map_err(|error| {
            let is_ssh = error.downcast_ref() == Some(&Ended(255)) && !self.0.is_up_since(Instant::now());
            let lost = || Failure::unreachable(format!("the connection to `{robot}` was lost")).into();
            if is_ssh { lost() } else { error }
        })
    }

    /// A POSIX shell script on the robot, with positional arguments.
    pub fn script(&self, script: Script, args: &[&str]) -> Cmd {
        let argv = ["sh", "-s", "--"].iter().chain(args).copied();
        self.command(argv).stdin(script.text()).called(script.name())
    }

    /// Connects again if the connection has ended meanwhile. Commands would work without it, each over a connection
    /// of its own.
    ///
    /// # Errors
    /// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) if the robot does not come back in time.
    pub fn revive(&self) -> Result<()> {
        self.0.restore(Instant::now()).map(drop)
    }

    /// Makes one try to connect again if the connection has ended. Returns whether a new connection was made.
    pub fn ensure_connected(&self) -> Result<bool> {
        let mut master = self.0.master.lock();
        if master.as_ref().is_some_and(|master| master.child.is_running()) {
            return Ok(false);
        }
        *master = None;
        *master = Some(self.0.connect().map_err(|Refusal { error, .. }| error)?);
        Ok(true)
    }

    /// Time at which the current connection was made; `None` without one. Forwardings end with their connection.
    pub(super) fn connected_since(&self) -> Option<Instant> {
        self.0.master.lock().as_ref().map(|master| master.since)
    }

    /// Forwards the local socket `path` to `target` (`host:port` as seen by the robot), like `ssh -L`.
    pub fn forward(&self, path: &str, target: &str) -> Result<()> {
        let forward = format!("{path}:{target}");
        self.0
            .ask_master(&["forward", "-L", &forward])
            .over(self.link())
            .run()
            .with_context(|| format!("open a tunnel to `{}`", self.robot()))?;
        self.0.forwards.lock().push(forward);
        Ok(())
    }

    /// Leaves the connection to this run alone. What a connection may do was settled when it was made: a later run,
    /// after a change on the robot, has to log in.
    pub(crate) fn leave(&self) {
        self.0.leave("stop");
    }

    /// Path for a socket in the session's temporary directory, which is removed with the session.
    pub fn socket_path(&self, name: &str) -> Utf8PathBuf {
        self.0.dir.join(name)
    }

    fn link(&self) -> Weak<dyn Link> {
        let link: Weak<Connection> = Arc::downgrade(&self.0);
        link
    }
}

impl Connection {
    /// A connection that has not been made yet.
    fn to(mut endpoint: Endpoint) -> Result<Self> {
        let dir = SocketDir::create()?;
        let kept = kept::socket(&endpoint, &dir.join(""));
        if kept.is_none() {
            endpoint.keep = Duration::ZERO;
        }
        let socket = kept.unwrap_or_else(|| dir.join("master"));
        Ok(Self { endpoint, dir, socket, forwards: Mutex::default(), master: Mutex::default() })
    }

    fn is_kept(&self) -> bool {
        !self.endpoint.keep.is_zero()
    }

    /// Makes one try to connect.
    fn connect(&self) -> Result<Master, Refusal> {
        let greeted = greets(&self.socket);
        if self.is_kept() && matches!(greeted, Ok(true)) {
            if let Ok(master) = self.log_in(kept::ANSWER) {
                return Ok(master);
            }
            self.leave("stop");
        }
        // A master connection that was killed leaves its socket, and another one would not replace it. Where there was none,
        // another run may make one at this moment.
        if !matches!(greeted, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            fs_err::remove_file(&self.socket).ok();
        }
        self.log_in(LOGIN).inspect_err(|_| self.leave("exit"))
    }

    fn log_in(&self, timeout: Duration) -> Result<Master, Refusal> {
        // Without a terminal, sshd does not end a command when the client dies; `cat` ends when stdin closes.
        let command = self.endpoint.master(&self.socket).arg(format!("echo {READY}; exec cat >/dev/null"));
        let started = command.spawn_held().map_err(|error| Refusal { cause: Cause::Configuration, error });
        let (child, stdout) = started?;
        wait_until_ready(&self.endpoint, &child, &process::lines(&child, stdout, process::LINE), timeout)?;
        Ok(Master { child, since: Instant::now(), is_shared: self.socket.exists() })
    }

    /// Returns whether a master connection takes commands. Its socket closes a little before its process has ended.
    fn is_up(&self, master: &Master) -> bool {
        master.child.is_running() && (!master.is_shared || greets(&self.socket).unwrap_or_default())
    }

    /// A request to the master connection: `-O` of ssh(1).
    fn ask_master(&self, request: &[&str]) -> Cmd {
        // Without `-F none`, forwardings in `~/.ssh/config` would be opened along with ours.
        Cmd::new("ssh")
            .args(["-F", "none"])
            .args(via_master(&self.socket))
            .arg("-O")
            .args(request.iter().copied())
            .args(["--", &self.endpoint.destination])
    }

    /// Keeps later runs from using a kept connection, which ends at once (`exit`) or with the runs that use it now (`stop`).
    fn leave(&self, request: &str) {
        if self.is_kept() && greets(&self.socket).unwrap_or_default() {
            self.ask_master(&[request]).try_briefly();
        }
    }
}

impl Drop for Connection {
    /// Ends the forwardings of a connection that goes on.
    fn drop(&mut self) {
        if self.is_kept() {
            let forwards = std::mem::take(&mut *self.forwards.lock());
            forwards.iter().for_each(|it| self.ask_master(&["cancel", "-L", it]).try_briefly());
        }
    }
}

/// Returns whether the master at `socket` says hello to who connects: PROTOCOL.mux of OpenSSH, section 1. The kernel
/// accepts connections for a process that is being killed, so connecting alone says nothing.
fn greets(socket: &Utf8Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(GREETING))?;
    Ok(stream.read(&mut [0])? > 0)
}

impl Link for Connection {
    fn restore(&self, since: Instant) -> Result<bool> {
        let mut master = self.master.lock();
        if let Some(master) = &*master {
            // Another thread may have connected again.
            if master.since > since {
                return Ok(true);
            }
            if self.is_up(master) {
                return Ok(false);
            }
        }
        let Endpoint { robot, reconnect, .. } = &self.endpoint;
        ui::warn(robot, "the connection dropped: connecting again");
        *master = None;
        // Whatever the cause is: the robot accepted a connection before.
        let connected = connecting::keep_trying(&self.endpoint, |_| true, || self.connect());
        *master = Some(connected.map_err(|error| {
            let gone = format!("`{robot}` did not come back within {} s", reconnect.as_secs());
            Failure::unreachable(gone).caused_by(error)
        })?);
        Ok(true)
    }

    fn is_up_since(&self, since: Instant) -> bool {
        let lasts = |master: &Master| master.since <= since && self.is_up(master);
        self.master.lock().as_ref().is_some_and(lasts)
    }

    fn robot(&self) -> &str {
        &self.endpoint.robot
    }
}

/// Waits until a new master connection prints [`READY`].
fn wait_until_ready(
    endpoint: &Endpoint,
    child: &Child,
    answers: &Receiver<String>,
    timeout: Duration,
) -> Result<(), Refusal> {
    let begin = Instant::now();
    while let Some(left) = timeout.checked_sub(begin.elapsed()) {
        let received = process::receive(answers, Some(left));
        match received.map_err(|error| Refusal { cause: Cause::Other, error })? {
            Ok(line) if line == READY => return Ok(()),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(connecting::explain(endpoint, &child.reason()));
            }
        }
    }
    Err(connecting::hanging(endpoint, timeout.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::error::{Exit, exit_of};
    use crate::robot::endpoint::testing::endpoint;

    #[test]
    fn a_shell_that_hangs_is_not_waited_for_for_ever() -> Result<()> {
        let (child, stdout) = Cmd::new("sh").args(["-c", "echo Welcome; exec sleep 600"]).spawn_held()?;
        let error = wait_until_ready(
            &endpoint(),
            &child,
            &process::lines(&child, stdout, process::LINE),
            Duration::from_millis(1),
        )
        .unwrap_err()
        .error;
        assert!(error.to_string().contains("its shell does not answer within 0 s"), "{error}");
        assert_eq!(exit_of(&error), Exit::Unreachable);
        Ok(())
    }

    #[test]
    fn a_master_that_is_being_killed_is_not_up() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let socket = Utf8Path::from_path(dir.path()).context("path")?.join("master");
        assert!(!greets(&socket).unwrap_or_default());
        let listener = UnixListener::bind(&socket)?;
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| greets(&socket));
            drop(listener.accept());
            assert!(!asking.join().unwrap().unwrap_or_default(), "connecting is enough");
        });
        Ok(())
    }
}
