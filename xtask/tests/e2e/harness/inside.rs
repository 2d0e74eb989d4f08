//! Commands on a simulated robot, run in its namespaces, which takes a few milliseconds. `docker exec` takes
//! a tenth of a second of CPU time, and tests run thousands of commands.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use parking_lot::Mutex;

use super::shell::command;

/// Command line that runs a command as root in a container.
pub fn inside(container: &str, argv: &[&str]) -> Vec<String> {
    // Processes that an engine starts must also be in the container's control groups.
    let starts_an_engine = argv.iter().any(|word| word.contains("robotctl"));
    let place = if starts_an_engine { None } else { Process::of(container) };
    let around = match place {
        Some(pid) => {
            let target = format!("--target={pid}");
            ["nsenter", &target, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]
                .map(str::to_owned)
                .to_vec()
        }
        None => ["docker", "exec", container].map(str::to_owned).to_vec(),
    };
    around.into_iter().chain(argv.iter().map(|word| (*word).to_owned())).collect()
}

/// First process of a container: its pid and start time.
#[derive(Clone, Copy, PartialEq)]
struct Process {
    pid: u32,
    started: u64,
}

impl Process {
    /// Pid of a container's first process, if it runs on this machine and we may enter its namespaces.
    fn of(container: &str) -> Option<u32> {
        static KNOWN: Mutex<BTreeMap<String, Process>> = Mutex::new(BTreeMap::new());
        let old = KNOWN.lock().get(container).copied();
        if let Some(process) = old.filter(|process| started(process.pid) == Some(process.started)) {
            return Some(process.pid);
        }
        let process = Self::look(container)?;
        KNOWN.lock().insert(container.to_owned(), process);
        Some(process.pid)
    }

    fn look(container: &str) -> Option<Self> {
        let format = "{{.State.Pid}} {{.Id}}";
        let said =
            command(&["docker", "container", "inspect", "--format", format, container]).output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let (pid, id) = said.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        // An engine in a virtual machine reports other pids.
        let is_it = fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(id));
        let may_enter = fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok();
        // A process that is just starting still sees our files, not the container's.
        let root = |path: &str| fs::metadata(path).ok().map(|root| (root.dev(), root.ino()));
        let own = root("/");
        let is_up = root(&format!("/proc/{pid}/root/")).is_some_and(|root| Some(root) != own);
        (is_it && is_up && may_enter).then(|| started(pid)).flatten().map(|started| Self { pid, started })
    }
}

/// Start time of a process: proc_pid_stat(5), field 22.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}
