//! One SSH master connection to a robot, and commands over it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use super::host_key;
use crate::error::{Failure, Result};
use crate::process::{self, Child, Cmd};

/// What the master connection prints when it stands; a login shell may print other things before.
const READY: &str = "xtask-connection-ready";

/// Seconds until a robot that does not answer counts as switched off.
const CONNECT_SECONDS: u8 = 5;

/// How long a robot may take to log somebody in, jump hosts and all.
const LOGIN: Duration = Duration::from_secs(30);

/// How long a connection may say nothing before somebody looks whether this run has been interrupted.
const QUIET: Duration = Duration::from_millis(100);

/// How `ssh` reaches a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The robot's name in `robots.toml`. Its host key is recorded under this name, whatever its address.
    pub robot: String,
    /// What `ssh` accepts as destination.
    pub destination: String,
    /// The port, where `~/.ssh/config` or the default does not say it.
    pub port: Option<u16>,
    /// The file with the robot's host key.
    pub known_hosts: Utf8PathBuf,
    /// A private key to use besides those that `ssh` finds by itself.
    pub identity: Option<Utf8PathBuf>,
    /// Whether what is sent is compressed on the way.
    pub compressed: bool,
    /// How long the robot may be gone before what has been begun with it is given up.
    pub reconnect: Duration,
}

impl Endpoint {
    /// `ssh` with the options that every connection to the robot has, without destination and command. Nothing of this
    /// machine is forwarded, whatever `~/.ssh/config` says: root on the robot would use the agent or the display.
    pub fn ssh(&self) -> Cmd {
        self.ssh_that_forwards().args(["-o", "ClearAllForwardings=yes"])
    }

    /// The same for a `-L` of our own, which `ClearAllForwardings` would clear as well.
    ///
    /// See ssh_config(5). `HostKeyAlias` pins the key to the robot's name: a robot that gets another
    /// address is still itself, and another machine at its address is not.
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
            // People's `ControlPersist` would send a connection into the background, where it outlives us.
            .args(option("ControlPersist", "no"))
            .args(option("ForwardAgent", "no"))
            .args(option("ForwardX11", "no"))
            .args(option("Tunnel", "no"))
            .args(option("PermitLocalCommand", "no"))
            // `GSSAPIDelegateCredentials=no`, which builds without GSSAPI complain of.
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

    /// `ssh` that never asks anything, as far as the destination.
    fn batch(&self, control: &[String]) -> Cmd {
        self.ssh().args(["-o", "BatchMode=yes"]).args(control.iter().cloned()).args(["--", &self.destination])
    }

    /// A command on the robot, over a connection of its own, that never asks anything.
    pub fn command<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        self.batch(&[]).arg(shell_words::join(argv))
    }
}

/// The options of commands over the connection at `socket`. Where that is gone, people's `ControlMaster` must not make
/// a new one of them.
fn over(socket: &Utf8Path) -> Vec<String> {
    ["-o".into(), "ControlMaster=no".into(), "-o".into(), format!("ControlPath={socket}")].into()
}

/// Options with file names take several, separated by blanks, and expand `%` and `~`.
fn quoted_path(path: &str) -> String {
    format!("\"{}\"", path.replace('%', "%%"))
}

/// A live connection to one robot. It ends with this guard, and also when this process is killed.
#[derive(Debug)]
pub struct Session {
    endpoint: Endpoint,
    /// Holds the control sockets. Sockets have short paths (108 bytes, unix(7)): not under `target/`.
    /// None in a dry run.
    dir: Option<TempDir>,
    master: Mutex<Option<Master>>,
}

#[derive(Debug)]
struct Master {
    child: Child,
    number: u32,
}

impl Session {
    /// Connects. In dry-run mode nothing is connected and commands print as connections of their own.
    ///
    /// # Errors
    /// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when the robot does not answer,
    /// has another host key than recorded, or does not accept the key.
    pub fn open(endpoint: Endpoint) -> Result<Self> {
        if process::mode().dry_run {
            return Ok(Self { endpoint, dir: None, master: Mutex::new(None) });
        }
        let dir =
            tempfile::Builder::new().prefix("xtask-").tempdir().context("make a directory for sockets")?;
        let session = Self { endpoint, dir: Some(dir), master: Mutex::new(None) };
        session.ensure_connected()?;
        Ok(session)
    }

    /// The robot's name.
    pub fn robot(&self) -> &str {
        &self.endpoint.robot
    }

    /// How the robot is reached.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A command on the robot: each argument arrives there as it is here, whatever is in it.
    pub fn command<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        self.endpoint.batch(&self.control()).arg(shell_words::join(argv))
    }

    /// A POSIX shell script on the robot, with positional arguments.
    pub fn script(&self, script: &str, args: &[&str]) -> Cmd {
        let argv = ["sh", "-s", "--"].iter().chain(args).copied();
        self.command(argv).stdin(script)
    }

    /// Connects anew where the connection has ended; tells whether it had to.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn ensure_connected(&self) -> Result<bool> {
        let mut master = self.master();
        if master.as_ref().is_some_and(|master| master.child.is_running()) {
            return Ok(false);
        }
        let number = master.take().map_or(1, |old| old.number + 1);
        let socket = self.socket(number);
        let command = self
            .endpoint
            .batch(&["-o".into(), "ControlMaster=yes".into(), "-o".into(), format!("ControlPath={socket}")])
            // Without a terminal the robot does not notice a dead client: `cat` sees our end of the pipe close.
            .arg(format!("echo {READY}; exec cat >/dev/null"));
        let (child, stdout) = command.spawn_held()?;
        wait_until_ready(&self.endpoint, &child, &process::lines(&child, stdout, process::LINE), LOGIN)?;
        *master = Some(Master { child, number });
        Ok(true)
    }

    /// Makes the local socket `path` lead to `target` (`host:port` as the robot sees it): `ssh -L`.
    ///
    /// # Errors
    /// Fails when the connection is gone.
    pub fn forward(&self, path: &str, target: &str) -> Result<()> {
        // Forwardings of people's configuration would be opened along with this one.
        Cmd::new("ssh")
            .args(["-F", "none"])
            .args(self.control())
            .args(["-O", "forward", "-L", &format!("{path}:{target}"), "--", &self.endpoint.destination])
            .run()
            .with_context(|| format!("open a tunnel to `{}`", self.robot()))
    }

    /// A path for a socket that lives as long as the session.
    pub fn socket_path(&self, name: &str) -> Utf8PathBuf {
        let dir = self.dir.as_ref().map_or(std::path::Path::new(""), TempDir::path);
        Utf8PathBuf::from_path_buf(dir.join(name))
            .unwrap_or_else(|path| Utf8PathBuf::from(path.to_string_lossy().into_owned()))
    }

    fn socket(&self, number: u32) -> Utf8PathBuf {
        self.socket_path(&format!("master-{number}"))
    }

    fn control(&self) -> Vec<String> {
        match &*self.master() {
            Some(master) => over(&self.socket(master.number)),
            None => Vec::new(),
        }
    }

    fn master(&self) -> MutexGuard<'_, Option<Master>> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a connection stands, by what it says.
///
/// # Errors
/// As [`Session::open`], and when the robot's shell says nothing for as long as `patience`.
fn wait_until_ready(
    endpoint: &Endpoint,
    child: &Child,
    answers: &Receiver<String>,
    patience: Duration,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        match answers.recv_timeout(QUIET) {
            Ok(line) if line == READY => return Ok(()),
            Ok(_) | Err(RecvTimeoutError::Timeout) => process::check_interrupted()?,
            Err(RecvTimeoutError::Disconnected) => {
                process::check_interrupted()?;
                return Err(host_key::explain(endpoint, &child.reason()));
            }
        }
    }
    let Endpoint { robot, destination, .. } = endpoint;
    let seconds = patience.as_secs();
    Err(Failure::unreachable(format!(
        "`{robot}` ({destination}) accepts the connection, but its shell does not answer within {seconds} s"
    ))
    .hint("something in its `~/.profile` or `~/.bashrc` may wait, or its disk may hang: look at its console, or restart it")
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_of};

    fn endpoint() -> Endpoint {
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

    /// `ssh` itself says what it makes of our options beside a configuration that forwards all there is.
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
                assert!(lines.iter().any(|said| said == line), "{line}: {cmd}");
            }
            assert!(!lines.iter().any(|said| said == "gssapidelegatecredentials yes"), "{cmd}");
        }
        assert_eq!(opened(&answers(&batch)?) + opened(&answers(&interactive)?), 0);
        Ok(())
    }

    #[test]
    fn peoples_settings_for_shared_connections_do_not_count() {
        let line = endpoint().batch(&over("/tmp/x/master-1".into())).to_string();
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
        .unwrap_err();
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
