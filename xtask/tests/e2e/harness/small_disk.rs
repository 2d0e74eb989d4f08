//! Full disks on a robot and on this machine.

use std::process::{Child, Stdio};

use super::run::Run;
use super::shell::{command, output};
use super::{Robot, Running, Workspace, eventually};

/// Shell code for a robot: mounts a disk with this many free bytes over the directory `$data`.
fn over_data(bytes: u64) -> String {
    format!(
        "mkdir -p /run/small
         mount -t tmpfs -o size={bytes} small /run/small
         mkdir /run/small/upper /run/small/work
         mount -t overlay -o lowerdir=$data,upperdir=/run/small/upper,workdir=/run/small/work small $data"
    )
}

fn fill(robot: Robot) {
    robot.sh("cat /dev/zero >/run/small/full 2>/dev/null || true");
}

/// A small disk for a robot's registry: it shows all existing files and has little room for more. Dropping it
/// removes the added files.
pub struct RegistryDisk {
    robot: Robot,
}

impl RegistryDisk {
    /// Mounts the disk with this many free bytes; the registry has to run.
    pub fn with_room(robot: Robot, bytes: u64) -> Self {
        robot.sh(&format!(
            "data=$(docker volume inspect --format '{{{{.Mountpoint}}}}' xtask-registry)
             docker stop --time 2 xtask-registry
             {}
             docker start xtask-registry",
            over_data(bytes)
        ));
        Self { robot }
    }

    pub fn resize(&self, bytes: u64) {
        self.robot.sh(&format!("mount -o remount,size={bytes} /run/small"));
    }

    /// Fills the disk to the last byte.
    pub fn fill(&self) {
        fill(self.robot);
    }

    /// Removes the file that fills the disk.
    pub fn clear(&self) {
        self.robot.sh("rm /run/small/full");
    }

    /// Added blobs whose content does not match their names.
    pub fn damaged(&self) -> Vec<String> {
        let script = "cd /run/small/upper && find . -path '*/blobs/*' -name data -exec sha256sum {} +";
        let sums = self.robot.sh(script);
        let damaged = sums.lines().filter(|line| {
            let (sum, path) = line.split_once("  ").unwrap();
            !path.contains(sum)
        });
        damaged.map(str::to_owned).collect()
    }
}

impl Drop for RegistryDisk {
    fn drop(&mut self) {
        let script = "data=$(docker volume inspect --format '{{.Mountpoint}}' xtask-registry)
                      docker stop --time 2 xtask-registry
                      umount $data
                      umount /run/small
                      docker start xtask-registry";
        let restored = self.robot.can(&["sh", "-ec", script]);
        if !std::thread::panicking() {
            assert!(restored, "the registry's disk is not what it was");
            self.robot.wait_for_registry();
        }
    }
}

/// A small disk for the blobs of a robot's engine, like [`RegistryDisk`]; added files stay.
pub struct ContentDisk {
    robot: Robot,
}

impl ContentDisk {
    const FIND: &str = "data=$(find /var/lib/docker /var/lib/containerd -maxdepth 4 -name io.containerd.content.v1.content \
                        -exec du -s {} + | sort -n | tail -n 1 | cut -f 2)";

    /// Mounts the disk with this many free bytes.
    pub fn with_room(robot: Robot, bytes: u64) -> Self {
        let find = Self::FIND;
        robot.sh(&format!(
            "{find}
             {}",
            over_data(bytes)
        ));
        Self { robot }
    }

    /// Fills the disk to the last byte.
    pub fn fill(&self) {
        fill(self.robot);
    }
}

impl Drop for ContentDisk {
    fn drop(&mut self) {
        let script = "data=$(findmnt --noheadings --output TARGET --source small --types overlay)
                      rm -f /run/small/full
                      umount $data
                      cp -a /run/small/upper/. $data/
                      umount /run/small";
        let restored = self.robot.can(&["sh", "-ec", script]);
        assert!(restored || std::thread::panicking(), "the engine's disk is not what it was");
    }
}

/// A directory of the workspace as a small disk, for runs started with [`Self::start`]: it shows all existing
/// files and has little room for more. Dropping it removes the added files.
pub struct SmallDisk<'a> {
    workspace: &'a Workspace,
    disk: String,
    /// Holds the mount namespace: the disk is invisible elsewhere, and disappears with the last process, even
    /// if the test is killed.
    holder: Child,
}

impl<'a> SmallDisk<'a> {
    /// Mounts the disk with this many free bytes.
    pub fn over(workspace: &'a Workspace, dir: &str, bytes: u64) -> Self {
        let (dir, disk) = (workspace.path(dir), workspace.path("../small-disk"));
        output(&["mkdir", "-p", dir, disk]);
        let script = "mount -t tmpfs -o size=$3 small \"$2\" && mkdir \"$2/upper\" \"$2/work\" &&
                      mount -t overlay -o \"lowerdir=$1,upperdir=$2/upper,workdir=$2/work\" small \"$1\" &&
                      touch \"$2/ready\" && exec cat";
        let size = bytes.to_string();
        let mut unshare = command(&["unshare"]);
        if !is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let unshare = unshare.args(["--mount", "sh", "-c", script, "disk", dir, disk, &size]);
        let holder = unshare.stdin(Stdio::piped()).spawn().unwrap();
        let disk = Self { workspace, disk: disk.to_owned(), holder };
        eventually("the small disk", || {
            disk.can(&["test", "-e", &format!("{}/ready", disk.disk)]).then_some(())
        });
        disk
    }

    pub fn resize(&self, bytes: u64) {
        assert!(self.can(&["mount", "-o", &format!("remount,size={bytes}"), &self.disk]));
    }

    /// Fills the disk by shrinking it to the size of its content, which needs no memory.
    pub fn fill(&self) {
        let script = "used=$(df -P --block-size=1 \"$1\" | awk 'NR == 2 { print $3 }')
                      mount -o \"remount,size=$((used + 1000000))\" \"$1\" && cat /dev/zero >\"$1/full\"";
        self.can(&["sh", "-c", script, "fill", &self.disk]);
    }

    /// Returns whether a file of the directory was written since the disk was mounted.
    pub fn has(&self, path: &str) -> bool {
        self.can(&["test", "-e", &format!("{}/upper/{path}", self.disk)])
    }

    /// Starts `cargo xtask ARGS…` with the disk.
    pub fn start(&self, args: &[&str]) -> Running {
        let around = self.around();
        let around: Vec<&str> = around.iter().map(String::as_str).collect();
        let (dir, tmp) = (self.workspace.path("").as_ref(), self.workspace.tmp());
        // A process that enters the namespace starts in its root directory.
        let shell = ["sh", "-c", "cd \"$0\" && exec \"$@\"", self.workspace.path("")];
        Run { around: &[&around[..], &shell].concat(), args, dir, tmp: &tmp, env: &[] }.start()
    }

    fn can(&self, argv: &[&str]) -> bool {
        let around = self.around();
        let around: Vec<&str> = around.iter().map(String::as_str).collect();
        super::succeeds(&[&around[..], argv].concat())
    }

    /// Command prefix for processes that should see the disk.
    fn around(&self) -> Vec<String> {
        let pid = self.holder.id().to_string();
        let user: &[&str] = if is_root() { &[] } else { &["--user", "--preserve-credentials"] };
        [&["nsenter", "--target", &pid, "--mount"], user].concat().into_iter().map(str::to_owned).collect()
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

fn is_root() -> bool {
    output(&["id", "--user"]) == "0"
}
