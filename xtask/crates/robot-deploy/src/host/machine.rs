//! Description of this machine: user, files, programs. Tests substitute a fake machine.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::distribution::{self, Distribution};
use super::endpoint::{self, Endpoint};
use crate::error::Result;
use crate::files;
use crate::process::Cmd;

/// System directories where the `docker` client looks for plugins.
const PLUGIN_DIRS: [&str; 6] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
    "/opt/homebrew/lib/docker/cli-plugins",
    "/Applications/Docker.app/Contents/Resources/cli-plugins",
];

/// Init system, which starts services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    Systemd,
    /// Scripts in `/etc/init.d`: SysV init, OpenRC, WSL without systemd.
    Scripts,
    /// No init system: containers, some CI machines.
    None,
}

/// The machine xtask runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Root of all system files: `/`, or the directory of a test.
    pub root: Utf8PathBuf,
    /// `$PATH` for all commands, if it differs from our own.
    pub path: Option<String>,
    /// `linux` or `macos`, as [`std::env::consts::OS`] says.
    pub os: &'static str,
    /// Effective user.
    pub uid: u32,
    /// Groups of this process, which are those at login, not the current ones in `/etc/group`.
    pub groups: Vec<u32>,
    pub user: String,
    pub home: Utf8PathBuf,
    /// `$DOCKER_CONFIG` or `~/.docker`.
    pub docker_config: Utf8PathBuf,
    /// Engine that the client uses.
    pub endpoint: Endpoint,
    /// Time that a new engine has to answer; first it creates its data directory and networks.
    pub engine_start: Duration,
}

impl Machine {
    /// Describes the machine that this process runs on.
    pub fn this() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = files::home()?;
        let docker_config = variable("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), Utf8PathBuf::from);
        let endpoint = Endpoint::chosen(
            variable("DOCKER_HOST").as_deref(),
            variable("DOCKER_CONTEXT").as_deref(),
            &docker_config,
        );
        // macOS has no /proc, and xtask installs nothing there, so the user does not matter.
        let uid = std::fs::metadata("/proc/self").map_or(u32::MAX, |metadata| metadata.uid());
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = user_name(&passwd, uid).or_else(|| variable("USER")).unwrap_or_else(|| uid.to_string());
        let groups = groups_of_process(&status);
        Ok(Self {
            root: "/".into(),
            path: None,
            os: std::env::consts::OS,
            uid,
            groups,
            user,
            home,
            docker_config,
            endpoint,
            engine_start: Duration::from_secs(60),
        })
    }

    /// Path of a system file.
    pub fn file(&self, path: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Text of a system file; empty if it cannot be read.
    pub fn text(&self, path: impl AsRef<Utf8Path>) -> String {
        std::fs::read_to_string(self.file(path)).unwrap_or_default()
    }

    /// Creates a command on this machine.
    pub fn cmd(&self, program: &str) -> Cmd {
        let cmd = Cmd::new(program);
        match &self.path {
            Some(path) => cmd.env("PATH", path),
            None => cmd,
        }
    }

    /// Creates a command that runs as root.
    pub fn root_cmd<'a>(&self, argv: impl IntoIterator<Item = &'a str>) -> Cmd {
        let mut argv = argv.into_iter();
        if self.uid != 0 {
            return self.cmd("sudo").args(argv);
        }
        let program = argv.next().unwrap_or_default();
        self.cmd(program).args(argv)
    }

    /// Creates a command that writes a system file as root.
    pub fn write_cmd(&self, path: &str, text: &str) -> Cmd {
        self.root_cmd(["tee", self.file(path).as_str()]).stdin(text)
    }

    /// Finds a program. Also searches `/usr/sbin` and `/sbin`, which are often not in the PATH of a user.
    pub fn program(&self, name: &str) -> Option<Utf8PathBuf> {
        let path = self.path.clone().or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
        let path = format!("{path}:{}:{}", self.file("/usr/sbin"), self.file("/sbin"));
        which::which_in(name, Some(path), &self.root).ok().and_then(|path| path.try_into().ok())
    }

    /// Returns whether the `docker` client has a plugin. Looks for its file first, which is fast, and runs
    /// the client only if there is none.
    pub fn has_plugin(&self, name: &str) -> bool {
        let extra = endpoint::client_config(&self.docker_config).cli_plugins_extra_dirs;
        let mut dirs = vec![self.docker_config.join("cli-plugins")];
        dirs.extend(extra.into_iter().map(Utf8PathBuf::from));
        dirs.extend(PLUGIN_DIRS.iter().map(|dir| self.file(dir)));
        dirs.iter().any(|dir| dir.join(format!("docker-{name}")).exists())
            || (self.program("docker").is_some()
                && self.cmd("docker").args([name, "version"]).succeeds().unwrap_or(false))
    }

    pub fn distribution(&self) -> Distribution {
        if self.os == "macos" {
            return Distribution::MacOs;
        }
        distribution::from_os_release(&self.text("/etc/os-release"))
    }

    /// Returns whether this is Linux inside Windows.
    pub fn is_wsl(&self) -> bool {
        self.text("/proc/sys/kernel/osrelease").to_lowercase().contains("microsoft")
    }

    pub fn init(&self) -> Init {
        if self.file("/run/systemd/system").exists() {
            return Init::Systemd;
        }
        match self.text("/proc/1/comm").trim() {
            "init" | "openrc-init" => Init::Scripts,
            _ => Init::None,
        }
    }

    /// Returns whether Docker was installed from Docker's own repository, which uses other package names.
    pub fn has_docker_ce(&self) -> bool {
        self.file("/var/lib/dpkg/info/docker-ce-cli.list").exists()
    }

    /// The group `docker`, whose members may use the engine: its number, and whether `/etc/group` lists the
    /// user.
    pub fn docker_group(&self) -> Option<(u32, bool)> {
        group(&self.text("/etc/group"), "docker", &self.user)
    }
}

/// Number of a group in `/etc/group`, and whether the group lists `user`.
fn group(text: &str, name: &str, user: &str) -> Option<(u32, bool)> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [group, _, number, members] = fields[..] else { return None };
        let listed = members.split(',').any(|member| member.trim() == user);
        (group == name).then(|| Some((number.parse().ok()?, listed)))?
    })
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').next().map(str::to_owned)
}

/// Groups in `/proc/self/status`, including the primary one.
fn groups_of_process(status: &str) -> Vec<u32> {
    let lines = status.lines().filter(|line| line.starts_with("Gid:") || line.starts_with("Groups:"));
    lines.flat_map(|line| line.split_whitespace().skip(1)).filter_map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_users_are_read_from_their_files() {
        let text = "root:x:0:\ndocker:x:998:ada,grace\nempty:x:5:\n";
        assert_eq!(group(text, "docker", "grace"), Some((998, true)));
        assert_eq!(group(text, "docker", "gra"), Some((998, false)));
        assert_eq!(group(text, "lpadmin", "ada"), None);
        assert_eq!(
            user_name("root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:\n", 1000).as_deref(),
            Some("ada")
        );
        assert_eq!(
            groups_of_process("Name:\tx\nUid:\t7\t7\nGid:\t5\t5\t5\t5\nGroups:\t27 998 \n"),
            [5, 5, 5, 5, 27, 998]
        );
    }
}
