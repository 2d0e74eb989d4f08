//! Another machine that is deploying to a robot: the robot's registry agent serves one machine at a time.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::Robot;
use super::shell::command;

/// Takes the lock of the registry agent, as another machine's transfer does, and keeps it until stdin closes.
const PROGRAM: &str = "\
import fcntl, os, sys
os.makedirs('/var/lib/registry/courier', exist_ok=True)
lock = open('/var/lib/registry/courier/lock', 'a+')
fcntl.flock(lock, fcntl.LOCK_EX)
lock.truncate(0)
lock.write(f'another-machine {os.getpid()}')
lock.flush()
print('delivering', flush=True)
sys.stdin.read()";

/// A running transfer of another machine, ended on drop.
pub struct Rival {
    process: Child,
}

impl Rival {
    /// Starts the transfer; the robot's registry has to run.
    pub fn at(robot: Robot) -> Self {
        let container = robot.container();
        let on_robot = ["docker", "exec", "--interactive", &container];
        let in_registry = ["docker", "exec", "--interactive", "xtask-registry", "python3", "-c", PROGRAM];
        let mut command = command(&[&on_robot[..], &in_registry].concat());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "delivering\n");
        Self { process }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}
