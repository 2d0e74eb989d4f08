//! `xtask` as a process: started without a terminal, watched, signalled, and checked for remaining processes.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::lab;
use super::robot::Robot;
use super::shell::{command, output, succeeds};
use super::sockets::{self, Socket};
use super::transcript;
use super::wait::eventually;

/// Every process of a run inherits this variable, even in another process group or after its parent has
/// ended.
const MARK: &str = "XTASK_E2E_RUN";

/// Longer than any run takes; a first build on a slow machine takes minutes.
const DEADLINE: Duration = Duration::from_secs(600);

/// Running processes of runs whose mark matches, with their command lines.
fn processes(is_meant: impl Fn(&[u8]) -> bool) -> Vec<(u32, String)> {
    let prefix = format!("{MARK}=");
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|dir| dir.unwrap().file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let mark = variables.find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (is_meant(mark) && !line.is_empty()).then_some((pid, line))
    })
    .collect()
}

/// Ends all runs whose files are in a directory, including those of earlier test runs.
pub fn end_all_runs(dir: &Path) {
    let prefix = dir.as_os_str().as_encoded_bytes();
    for (pid, _) in processes(|mark| mark.starts_with(prefix)) {
        succeeds(&["kill", "-s", "KILL", &pid.to_string()]);
    }
}

/// A command line of xtask, with its environment.
pub struct Run<'a> {
    /// A command that runs xtask: the words before it.
    pub around: &'a [&'a str],
    pub args: &'a [&'a str],
    pub dir: &'a Path,
    pub tmp: &'a Path,
    pub env: &'a [(&'a str, &'a str)],
}

/// A run that has not ended.
pub struct Running {
    child: Child,
    line: String,
    mark: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A run that has ended.
pub struct Finished {
    line: String,
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Run<'_> {
    /// Starts xtask in its own process group, as a shell does.
    pub fn start(self) -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}/{number}", self.tmp.display());
        let line = format!("xtask {}", self.args.join(" "));
        // The logs outlive the workspace, to explain a failed test.
        let logs = lab::dir().join("runs");
        fs::create_dir_all(&logs).unwrap();
        let log = |name: &str| logs.join(format!("{number}.{name}"));
        let (stdout, stderr) = (log("stdout"), log("stderr"));
        transcript::began(&line, [&stdout, &stderr].map(PathBuf::as_path));
        let child = command(&[self.around, &[env!("CARGO_BIN_EXE_xtask")], self.args].concat())
            .current_dir(self.dir)
            .env(MARK, &mark)
            .env("TMPDIR", self.tmp)
            .env("CI", "true")
            .env_remove("CARGO_MANIFEST_DIR")
            .envs(self.env.iter().copied())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        Running { child, line, mark, stdout, stderr }
    }
}

impl Running {
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until `condition` returns a value; fails if the run ends before that.
    pub fn until<T>(&mut self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        eventually(what, || {
            let ended = self.child.try_wait().unwrap();
            let found = condition(self);
            assert!(
                found.is_some() || ended.is_none(),
                "{} ended before {what}:\n{}",
                self.line,
                self.stderr()
            );
            found
        })
    }

    /// Waits until stderr contains this text.
    pub fn until_it_says(&mut self, text: &str) {
        self.until(text, |run| run.stderr().contains(text).then_some(()));
    }

    /// Waits for a process of the run with all these words in its command line; returns its pid.
    pub fn until_it_runs(&mut self, words: &[&str]) -> u32 {
        self.until(&words.join(" "), |run| {
            run.processes()
                .into_iter()
                .find_map(|(pid, line)| words.iter().all(|word| line.contains(word)).then_some(pid))
        })
    }

    /// Waits until the robot has received nothing to speak of for three seconds.
    pub fn until_nothing_arrives(&mut self, robot: Robot) {
        let mut last = (robot.received(), Instant::now());
        self.until("the transfer to stand still", |_| {
            let now = robot.received();
            if now > last.0 + 10_000 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_secs(3)).then_some(())
        });
    }

    /// Running processes of the run, with their command lines, without connections that it leaves for the next run.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mut found = processes(|mark| mark == self.mark.as_bytes());
        found.retain(|(_, line)| !line.starts_with("ssh: "));
        found
    }

    /// Open sockets of the run's processes.
    pub fn sockets(&self) -> Vec<Socket> {
        let list = output(&["sh", "-c", sockets::LIST]);
        let ours: Vec<u32> = self.processes().into_iter().map(|(pid, _)| pid).collect();
        let is_ours = |socket: &Socket| socket.pid.is_some_and(|pid| ours.contains(&pid));
        Socket::waiting(&list).into_iter().filter(is_ours).collect()
    }

    /// Calls `look` repeatedly until the run ends, at most half of the time, so that other tests can work.
    pub fn watched(mut self, mut look: impl FnMut(&Self)) -> Finished {
        loop {
            let began = Instant::now();
            look(&self);
            std::thread::sleep(began.elapsed());
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.finished(status);
            }
        }
    }

    /// Sends the whole foreground group a signal, as a terminal does at Ctrl-C.
    pub fn interrupt(&self) {
        let group = format!("-{}", self.child.id());
        assert!(succeeds(&["kill", "-INT", "--", &group]), "there is nothing to interrupt");
    }

    /// Sends a signal to `xtask` itself.
    pub fn signal(&self, signal: &str) {
        assert!(self.signals(signal), "there is nothing to send it to");
    }

    /// Like [`Self::signal`]; returns whether the process still existed.
    pub fn signals(&self, signal: &str) -> bool {
        succeeds(&["kill", &format!("-{signal}"), &self.child.id().to_string()])
    }

    /// Waits until the run ends.
    pub fn wait(mut self) -> Finished {
        let status = self.status();
        self.finished(status)
    }

    /// Waits until the run ends, longer than any run takes.
    fn status(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "`{}` does not end:\n{}", self.line, self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the run and all its processes have ended.
    pub fn wait_for_all(mut self) -> Finished {
        let status = self.status();
        eventually(&format!("the processes of `{}` to end", self.line), || {
            let left = self.processes();
            left.is_empty().then_some(())
        });
        self.finished(status)
    }

    fn finished(&self, status: ExitStatus) -> Finished {
        Finished { line: self.line.clone(), status, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    /// A failed test must not leave processes running.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let group = format!("-{}", self.child.id());
            succeeds(&["kill", "-KILL", "--", &group]);
            drop(self.child.wait());
        }
    }
}

impl Finished {
    /// Fails unless the run ended with one of these exit codes.
    #[track_caller]
    pub fn expect_one_of(self, codes: &[i32]) -> Self {
        let code = self.status.code();
        assert!(code.is_some_and(|code| codes.contains(&code)), "{}: {code:?}, {}", self.line, self.stderr);
        self
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn expect_exit(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}: {}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.status.signal().map_or_else(|| self.status.to_string(), |signal| format!("signal {signal}")),
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails unless stdout or stderr contains this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            said,
            "{} did not say `{text}`\n--- stdout\n{}\n--- stderr\n{}",
            self.line, self.stdout, self.stderr
        );
        self
    }

    /// Fails if stdout or stderr contains this text.
    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            !said,
            "{} said `{text}`\n--- stdout\n{}\n--- stderr\n{}",
            self.line, self.stdout, self.stderr
        );
        self
    }
}
