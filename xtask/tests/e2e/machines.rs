//! `cargo xtask setup` on fresh Debian machines: with real apt, real packages, and a working engine at the
//! end.
//!
//! A machine is a privileged container of this machine's engine: a bare Debian, as for base images, with sudo
//! and without a running init system. It uses the same package mirror as this machine.

use std::time::Duration;

use robot_deploy::config::Platform;
use robot_deploy::error::Result;
use robot_deploy::image::base;
use robot_deploy::process::Cmd;

use super::harness::Lab;

/// A fresh machine, removed on drop.
struct Fresh {
    name: String,
}

impl Fresh {
    fn new(suite: &str) -> Result<Self> {
        let base = base::debian::ensure(suite, &Platform::of_this_machine())?;
        let fresh = Self { name: format!("xtask-e2e-setup-{suite}") };
        // Left by a killed run.
        fresh.remove();
        let run = ["run", "--detach", "--privileged", "--volume=/var/lib/docker", "--name", &fresh.name];
        // A process that cannot be mistaken for an init system.
        Cmd::new("docker").args(run).args([&base, "sleep", "infinity"]).run()?;
        let to = format!("{}:/usr/local/bin/xtask", fresh.name);
        Cmd::new("docker").args(["cp", env!("CARGO_BIN_EXE_xtask"), &to]).run()?;
        fresh.sh("apt-get update -qq && apt-get install -qq -y --no-install-recommends sudo")?;
        Ok(fresh)
    }

    fn sh(&self, script: &str) -> Result<String> {
        let exec = ["exec", "--interactive", &self.name, "sh", "-eu"];
        Cmd::new("docker").args(exec).stdin(script).deadline(Duration::from_secs(300)).read()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Fresh {
    fn remove(&self) {
        Cmd::new("docker").args(["rm", "--force", "--volumes", &self.name]).clean_up();
    }
}

fn a_fresh_debian_is_set_up(suite: &str) -> Result<()> {
    let machine = Fresh::new(suite)?;
    let libc = machine.sh("dpkg-query -W libc6")?;

    let refused = machine.sh("xtask setup 2>&1 || echo \"exit code $?\"")?;
    assert!(refused.contains("xtask setup --yes") && refused.ends_with("exit code 1"), "{refused}");
    machine.sh("xtask setup --dry-run")?;
    assert_eq!(machine.sh("ls /etc/docker /usr/bin/docker 2>/dev/null || :")?, "", "nothing was touched");

    machine.sh("xtask setup --yes")?;
    let store = machine.sh("docker info --format '{{.DriverStatus}}'")?;
    assert!(store.contains("io.containerd.snapshotter.v1"), "{store}");
    machine.sh("docker buildx version && docker compose version && mmdebstrap --version && ssh -V")?;
    let runs = "tar -C / -c bin lib lib64 usr/bin usr/lib usr/lib64 | docker import - root >/dev/null
                docker run --rm --network=host root echo alive";
    assert_eq!(machine.sh(runs)?, "alive", "the engine runs containers");
    assert_eq!(machine.sh("dpkg-query -W libc6")?, libc, "the system stays the release it is");
    let upgrades = machine.sh("apt-get --simulate dist-upgrade")?;
    assert!(!upgrades.contains("Inst libc6"), "nor does the next upgrade change that: {upgrades}");

    let again = machine.sh("xtask setup 2>&1")?;
    assert!(!again.contains("lacks"), "the second time nothing is missing: {again}");
    let doctor = machine.sh("cd / && xtask doctor --json || :")?;
    let checks: Vec<serde_json::Value> = serde_json::from_str(&doctor)?;
    let bad = |check: &&serde_json::Value| check["scope"] == "host" && check["outcome"] == "bad";
    assert_eq!(checks.iter().find(bad), None);

    // As a user other than root, after a restart that left a stopped engine.
    machine.sh("kill \"$(cat /var/run/docker.pid)\"
                while docker info >/dev/null 2>&1; do sleep 0.1; done
                useradd --create-home --groups docker ada
                echo 'ada ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ada
                useradd --create-home grace
                echo 'grace ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/grace")?;
    machine.sh("su - ada -c 'xtask setup --yes && docker info >/dev/null'")?;
    let joins = machine.sh("su - grace -c 'xtask setup --yes' 2>&1 || :")?;
    assert!(joins.contains("usermod -aG docker grace") && joins.contains("newgrp docker"), "{joins}");
    machine.sh("su - grace -c 'xtask setup'")?;
    Ok(())
}

pub fn a_fresh_debian_12_is_set_up(_lab: &Lab) {
    a_fresh_debian_is_set_up("bookworm").unwrap();
}

pub fn a_fresh_debian_13_is_set_up(_lab: &Lab) {
    a_fresh_debian_is_set_up("trixie").unwrap();
}
