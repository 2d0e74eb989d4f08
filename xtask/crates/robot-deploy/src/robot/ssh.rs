//! One SSH master connection to a robot, and the commands that use it.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use parking_lot::Mutex;

use super::connecting::{self, Cause, Refusal};
use super::socket_dir::SocketDir;
use crate::error::{Ended, Failure, Result};
use crate::process::{self, Child, Cmd, Link};
use crate::robot_side::Script;
use crate::ui;

/// Line that the master connection prints once it is established. A login shell may print other lines before.
const READY: &str = "xtask-connection-ready";

/// Seconds after which a robot that does not answer counts as unreachable.
const CONNECT_SECONDS: u8 = 5;

/// Time that a login may take, including jump hosts.
const LOGIN: Duration = Duration::from_secs(30);

/// Everything that `ssh` needs to reach a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Robot's name in `robots.toml`. The host key is recorded under this name, whatever the robot's address
    /// is.
    pub robot: String,
    pub destination: String,
    /// Port, if `~/.ssh/config` and the default do not apply.
    pub port: Option<u16>,
    /// File with the robot's host key.
    pub known_hosts: Utf8PathBuf,
    /// The only private key to offer. `None` for the keys that `ssh` finds by itself.
    pub identity: Option<Utf8PathBuf>,
    /// True if `ssh` compresses the connection.
    pub compressed: bool,
    /// Time that a running operation waits for a lost robot to come back.
    pub reconnect: Duration,
}

impl Endpoint {
    /// `ssh` with the options of every connection to the robot, without destination and command. Forwards
    /// nothing of this machine, whatever `~/.ssh/config` says: root on the robot could use a forwarded SSH
    /// agent or display.
    pub fn ssh(&self) -> Cmd {
        self.ssh_that_forwards().args(["-o", "ClearAllForwardings=yes"])
    }

    /// Like [`Endpoint::ssh`], for commands with their own `-L`, which `ClearAllForwardings` would remove.
    ///
    /// See ssh_config(5). `HostKeyAlias` ties the host key to the robot's name: the robot may change its
    /// address, and another machine at its old address is refused.
    pub fn ssh_that_forwards(&self) -> Cmd {
        let option = |name: &str, value: &str| ["-o".to_owned(), format!("{name}={value}")];
        let mut cmd = Cmd::new("ssh")
            .args(option("StrictHostKeyChecking", "yes"))
            .args(option("UserKnownHostsFile", &quoted_path(self.known_hosts.as_str())))
            .args(option("GlobalKnownHostsFile", "/dev/null"))
            .args(option("HostKeyAlias", &self.robot))
            .args(option("UpdateHostKeys", "no"))
            .args(option("ConnectTimeout", &CONNECT_SECONDS.to_string()))
            .args(option("ServerAliveInterval", "5"))
            .args(option("ServerAliveCountMax", "3"))
            .args(option("RemoteCommand", "none"))
            .args(option("RequestTTY", "no"))
            // `ControlPersist` in `~/.ssh/config` would move the connection into the background, where it
            // outlives us.
            .args(option("ControlPersist", "no"))
            .args(option("ForwardAgent", "no"))
            .args(option("ForwardX11", "no"))
            .args(option("Tunnel", "no"))
            .args(option("PermitLocalCommand", "no"))
            .args(pipe_options().iter().copied())
            // Same as `GSSAPIDelegateCredentials=no`, about which an `ssh` built without GSSAPI would
            // complain.
            .arg("-k");
        if self.compressed {
            cmd = cmd.args(option("Compression", "yes"));
        }
        if let Some(number) = self.port {
            cmd = cmd.args(["-p".to_owned(), number.to_string()]);
        }
        if let Some(identity) = &self.identity {
            cmd = cmd.args(option("IdentitiesOnly", "yes")).args(["-i", identity.as_str()]);
        }
        cmd
    }

    /// `ssh` up to its destination, in a mode that never asks for input.
    fn batch(&self, control: &[String]) -> Cmd {
        self.ssh()
            .args(["-o", "BatchMode=yes"])
            .unshown(control.iter().cloned())
            .args(["--", &self.destination])
    }

    /// A command on the robot over a separate connection, which never asks for input.
    pub fn command<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        self.batch(&[]).arg(shell_words::join(argv))
    }
}

/// Options of commands that use the master connection at `socket`. If that connection is gone,
/// `ControlMaster` in `~/.ssh/config` must not make the command a new master.
fn via_master(socket: &Utf8Path) -> Vec<String> {
    ["-o".into(), "ControlMaster=no".into(), "-o".into(), format!("ControlPath={socket}")].into()
}

/// Quotes a path for an option of `ssh` that takes several paths separated by spaces and expands `%` and `~`.
fn quoted_path(path: &str) -> String {
    format!("\"{}\"", path.replace('%', "%%"))
}

/// Options that keep `~/.ssh/config` from taking stdin, stdout or the foreground from a connection; none if
/// `ssh` is older than they are, OpenSSH 8.7.
fn pipe_options() -> &'static [&'static str] {
    const OPTIONS: &[&str] =
        &["-o", "SessionType=default", "-o", "StdinNull=no", "-o", "ForkAfterAuthentication=no"];
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let ask =
        || Cmd::new("ssh").args(["-F", "none", "-G"]).args(OPTIONS.iter().copied()).arg("robot").succeeds();
    if *KNOWN.get_or_init(|| ask().unwrap_or_default()) { OPTIONS } else { &[] }
}

/// A live connection to one robot. The connection ends on drop, and also when this process is killed.
///
/// A command that fails because the connection has dropped is repeated over a new one: see [`process::patiently`].
#[derive(Debug)]
pub struct Session(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    endpoint: Endpoint,
    dir: SocketDir,
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
        Self::open_while(endpoint, Cause::may_pass)
    }

    /// Like [`Session::open`], but does not wait for a robot that gives no sign of life.
    pub fn open_if_on(endpoint: Endpoint) -> Result<Self> {
        Self::open_while(endpoint, Cause::may_pass_on_a_robot_that_is_on)
    }

    fn open_while(endpoint: Endpoint, is_worth_waiting: fn(Cause) -> bool) -> Result<Self> {
        let connection = Connection { endpoint, dir: SocketDir::create()?, master: Mutex::new(None) };
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
        let command = self.endpoint().batch(&via_master(&self.0.socket())).arg(shell_words::join(&argv));
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
        let ssh = ssh.unshown(via_master(&self.0.socket())).args(["--", destination]);
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

    /// Forwards the local socket `path` to `target` (`host:port` as seen by the robot), like `ssh -L`.
    pub fn forward(&self, path: &str, target: &str) -> Result<()> {
        // Without `-F none`, forwardings in `~/.ssh/config` would be opened along with this one.
        Cmd::new("ssh")
            .args(["-F", "none"])
            .args(via_master(&self.0.socket()))
            .args(["-O", "forward", "-L", &format!("{path}:{target}"), "--", &self.endpoint().destination])
            .over(self.link())
            .run()
            .with_context(|| format!("open a tunnel to `{}`", self.robot()))
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
    fn socket(&self) -> Utf8PathBuf {
        self.dir.join("master")
    }

    /// Makes one try to connect.
    fn connect(&self) -> Result<Master, Refusal> {
        // A master connection that was killed leaves its socket, and another one would not replace it.
        fs_err::remove_file(self.socket()).ok();
        let master =
            ["-o".into(), "ControlMaster=yes".into(), "-o".into(), format!("ControlPath={}", self.socket())];
        let command = self
            .endpoint
            .batch(&master)
            // Without a terminal, sshd does not end a command when the client dies; `cat` ends when stdin
            // closes.
            .arg(format!("echo {READY}; exec cat >/dev/null"));
        let started = command.spawn_held().map_err(|error| Refusal { cause: Cause::Configuration, error });
        let (child, stdout) = started?;
        wait_until_ready(&self.endpoint, &child, &process::lines(&child, stdout, process::LINE), LOGIN)?;
        Ok(Master { child, since: Instant::now(), is_shared: self.socket().exists() })
    }

    /// Returns whether a master connection takes commands. Its socket closes a little before its process has ended.
    fn is_up(&self, master: &Master) -> bool {
        master.child.is_running() && (!master.is_shared || UnixStream::connect(self.socket()).is_ok())
    }
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
pub(crate) mod testing {
    use super::*;

    pub(crate) fn endpoint() -> Endpoint {
        Endpoint {
            robot: "main".into(),
            destination: "nuc@192.168.1.64".into(),
            port: Some(2222),
            known_hosts: "/home/a b/robots.known_hosts".into(),
            identity: None,
            compressed: false,
            reconnect: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_of};

    fn endpoint() -> Endpoint {
        testing::endpoint()
    }

    #[test]
    fn host_keys_are_strict_and_belong_to_the_robots_name() {
        let line = endpoint().command(["true"]).to_string();
        for part in [
            "StrictHostKeyChecking=yes",
            "HostKeyAlias=main",
            "BatchMode=yes",
            "-p 2222",
            r#"'UserKnownHostsFile="/home/a b/robots.known_hosts"'"#,
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    /// Asks `ssh -G` for the effective options beside a configuration that forwards everything.
    #[test]
    fn nothing_of_this_machine_is_forwarded_whatever_the_configuration_says() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("config").to_string_lossy().into_owned();
        fs_err::write(
            &config,
            "Host *\nForwardAgent yes\nForwardX11 yes\nTunnel yes\nPermitLocalCommand yes\nLocalCommand touch x\n\
             LocalForward 8080 localhost:80\nRemoteForward 9090 localhost:22\nDynamicForward 1080\n\
             GSSAPIDelegateCredentials yes\n",
        )?;
        let answers = |cmd: &Cmd| -> Result<Vec<String>> {
            let argv = cmd.argv().into_iter().skip(1);
            let text = Cmd::new("ssh").args(["-F", &config, "-G"]).args(argv).read()?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        let opened = |lines: &[String]| {
            let forwards = ["localforward ", "remoteforward ", "dynamicforward "];
            lines.iter().filter(|line| forwards.iter().any(|name| line.starts_with(name))).count()
        };
        assert_eq!(opened(&answers(&Cmd::new("ssh").arg("nuc"))?), 3, "the configuration is not read");
        let batch = endpoint().command(["true"]);
        let interactive = endpoint().ssh().arg("nuc");
        let with_own = endpoint().ssh_that_forwards().args(["-L", "5000:127.0.0.1:5000", "nuc"]);
        for cmd in [&batch, &interactive, &with_own] {
            let lines = answers(cmd)?;
            for line in ["forwardagent no", "forwardx11 no", "tunnel false", "permitlocalcommand no"] {
                assert!(lines.iter().any(|answer| answer == line), "{line}: {cmd}");
            }
            assert!(!lines.iter().any(|answer| answer == "gssapidelegatecredentials yes"), "{cmd}");
        }
        assert_eq!(opened(&answers(&batch)?) + opened(&answers(&interactive)?), 0);
        Ok(())
    }

    #[test]
    fn peoples_settings_for_shared_connections_do_not_count() {
        let command = endpoint().batch(&via_master("/tmp/x/master-1".into()));
        assert!(!command.to_string().contains("ControlPath"), "a path that vanishes: {command}");
        let line = command.argv().join(" ");
        let parts = ["ControlPersist=no", "-o ControlMaster=no -o ControlPath=/tmp/x/master-1 -- "];
        for part in parts {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn each_argument_is_quoted_for_the_robots_shell() {
        let cmd = endpoint().command(["docker", "tag", "$(reboot)", "it's; rm -rf /", ""]);
        let argv = cmd.argv();
        assert_eq!(argv[argv.len() - 3..argv.len() - 1], ["--", "nuc@192.168.1.64"]);
        assert_eq!(argv[argv.len() - 1], r"docker tag '$(reboot)' 'it'\''s; rm -rf /' ''");
    }

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
    fn an_identity_is_the_only_one_offered() {
        let endpoint = Endpoint { identity: Some("/k".into()), ..endpoint() };
        let ssh = endpoint.ssh();
        assert!(ssh.to_string().contains(" -o IdentitiesOnly=yes -i /k "), "{ssh}");
    }
}
