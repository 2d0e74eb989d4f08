//! Address of a robot, and the `ssh` command lines for it.

use std::sync::OnceLock;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cmd;
use crate::process::Cmd;

/// Seconds after which a robot that does not answer counts as unreachable.
const CONNECT_SECONDS: u8 = 5;

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
    /// Time that a connection stays open for the next run.
    pub keep: Duration,
    /// Port of the robot's loopback on which its registry listens.
    pub registry_port: u16,
}

impl Endpoint {
    /// Returns another robot whose recorded key has a fingerprint, `SHA256:…`: robots may share an address, such as that of
    /// their hotspots, and their keys tell them apart.
    pub(crate) fn other_with_key(&self, fingerprint: &str) -> Option<String> {
        let file = &self.known_hosts;
        let list = cmd!("ssh-keygen -l -f {file}").ok()?.read().ok()?;
        list.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, found, name, ..] if found == fingerprint && name != self.robot => Some(name.to_owned()),
            _ => None,
        })
    }

    /// `ssh` with the options of every connection to the robot, without destination and command. Forwards
    /// nothing of this machine, whatever `~/.ssh/config` says: root on the robot could use a forwarded SSH
    /// agent or display.
    pub fn ssh(&self) -> Cmd {
        forwarding_nothing(self.ssh_that_forwards())
    }

    /// Like [`Endpoint::ssh`], for commands with their own `-L`, which `ClearAllForwardings` would remove.
    ///
    /// See ssh_config(5). `HostKeyAlias` ties the host key to the robot's name: the robot may change its
    /// address, and another machine at its old address is refused.
    pub fn ssh_that_forwards(&self) -> Cmd {
        self.ssh_with(&[SESSION, FOREGROUND].concat(), NOT_KEPT)
    }

    /// `ssh` that only forwards, `-N -L`, until it is ended.
    pub fn only_forward(&self, forward: &str) -> Cmd {
        // `ssh` refuses `-N` together with a type of session.
        self.ssh_with(FOREGROUND, NOT_KEPT)
            .args(["-o", "ExitOnForwardFailure=yes", "-L", forward, "-N", "--"])
            .arg(&self.destination)
    }

    /// `ssh` with the options common to all connections, and with `pipe_options` if it knows these. `kept` is a value of
    /// `ControlPersist`.
    fn ssh_with(&self, pipe_options: &[&str], kept: &str) -> Cmd {
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
            .args(option("ControlPersist", kept))
            .args(option("ForwardAgent", "no"))
            .args(option("ForwardX11", "no"))
            .args(option("Tunnel", "no"))
            .args(option("PermitLocalCommand", "no"))
            .args(pipe_options.iter().copied().filter(|_| knows_pipe_options()))
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
    pub(super) fn batch(&self, control: &[String]) -> Cmd {
        self.batch_of(self.ssh(), control)
    }

    /// `ssh` up to its destination, for a new connection that others share through `socket`; with [`Endpoint::keep`] unless
    /// that is zero, it outlives its command, and an older one at the same socket is used instead.
    pub(super) fn master(&self, socket: &Utf8Path) -> Cmd {
        let (master, kept) = match self.keep.as_secs() {
            0 => ("yes", NOT_KEPT.to_owned()),
            seconds => ("auto", seconds.to_string()),
        };
        let ssh = forwarding_nothing(self.ssh_with(&[SESSION, FOREGROUND].concat(), &kept));
        self.batch_of(ssh, &shared(master, socket))
    }

    fn batch_of(&self, ssh: Cmd, control: &[String]) -> Cmd {
        ssh.args(["-o", "BatchMode=yes"]).unshown(control.iter().cloned()).args(["--", &self.destination])
    }

    /// A command on the robot over a separate connection, which never asks for input.
    pub fn command<S: AsRef<str>>(&self, argv: impl IntoIterator<Item = S>) -> Cmd {
        self.batch(&[]).arg(shell_words::join(argv))
    }
}

/// Options of commands that use the master connection at `socket`. If that connection is gone,
/// `ControlMaster` in `~/.ssh/config` must not make the command a new master.
pub(super) fn via_master(socket: &Utf8Path) -> Vec<String> {
    shared("no", socket)
}

fn shared(master: &str, socket: &Utf8Path) -> Vec<String> {
    ["-o".into(), format!("ControlMaster={master}"), "-o".into(), format!("ControlPath={socket}")].into()
}

fn forwarding_nothing(ssh: Cmd) -> Cmd {
    ssh.args(["-o", "ClearAllForwardings=yes"])
}

/// Quotes a path for an option of `ssh` that takes several paths separated by spaces and expands `%` and `~`.
fn quoted_path(path: &str) -> String {
    format!("\"{}\"", path.replace('%', "%%"))
}

/// Value of `ControlPersist` that keeps `~/.ssh/config` from moving a connection into the background, where it would
/// outlive us.
const NOT_KEPT: &str = "no";

/// Options that keep `~/.ssh/config` from taking stdin, stdout or the foreground from a connection.
const FOREGROUND: &[&str] = &["-o", "StdinNull=no", "-o", "ForkAfterAuthentication=no"];

/// Option that keeps `~/.ssh/config` from taking the command from a connection.
const SESSION: &[&str] = &["-o", "SessionType=default"];

/// Returns whether `ssh` knows [`FOREGROUND`] and [`SESSION`]: since OpenSSH 8.7.
pub(super) fn knows_pipe_options() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let options = [SESSION, FOREGROUND].concat();
    let ask = || Cmd::new("ssh").args(["-F", "none", "-G"]).args(options).arg("robot").succeeds();
    *KNOWN.get_or_init(|| ask().unwrap_or_default())
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
            keep: Duration::ZERO,
            registry_port: 5000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::endpoint;
    use super::*;
    use crate::error::Result;

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
        let only_forward = endpoint().only_forward("5000:127.0.0.1:5000");
        for cmd in [&batch, &interactive, &with_own, &only_forward] {
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
    fn an_identity_is_the_only_one_offered() {
        let endpoint = Endpoint { identity: Some("/k".into()), ..endpoint() };
        let ssh = endpoint.ssh();
        assert!(ssh.to_string().contains(" -o IdentitiesOnly=yes -i /k "), "{ssh}");
    }
}
