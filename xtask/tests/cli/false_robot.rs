//! A robot that lies: each request gets each kind of wrong answer. Whatever the answer, xtask ends, reports
//! the error, needs little memory, and changes no file except its own.
//!
//! The requests are those of the fakes in `answers.rs`. `e2e/false_robot.rs` tries the same on a simulated
//! robot.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::answers::MASTER;
use super::lab::{Lab, Ran};
use super::registry::Registry;

/// The fast tests try one in `DIAGONAL` rows, so that each request gets some lies and each lie is tried on
/// some requests. `FALSE_ROBOT=all` tries all rows, `FALSE_ROBOT=TEXT` those whose name contains the text.
const DIAGONAL: usize = 4;

/// Limit of a run's memory, in bytes.
const MEMORY: u64 = 300_000_000;

/// Time limit of a run, which asks a robot many things while the machine does other work.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Bytes of a huge answer.
const HUGE: u64 = 400_000_000;

/// A request: its name here, the command that makes it, the arguments of `ssh` that identify it, and an
/// honest answer if the lab has none.
type Request = (&'static str, &'static [&'static str], &'static str, Option<&'static str>);

const AGENT: &str = r#"printf '%s\n' '{"held":"","spools":{},"parts":0,"disk":1000000000000,"engine":1000000000000,"shared":true,"copies":2,"memory":1000000000000}' \
    '{"held":"","spools":{}}' '{"made":"sha256:aa","memory":5,"read":0}'
exec cat >/dev/null"#;

const EXAMINED: &str = r"cat >/dev/null
printf 'machine\tx86_64\nclock\t1700000000\ndocker\t26.1.5\tio.containerd.snapshotter.v1\t/\nfree\t9000000\ncompose\t2.26.1\nregistry\trunning\n'";

const REQUESTS: [Request; 15] = [
    ("connection", &["deploy"], "*ControlMaster=yes*", Some(MASTER)),
    ("survey", &["deploy"], "*'sh -s -- eurobot '*", None),
    ("registry", &["deploy"], "*'sh -s -- xtask-registry '*", None),
    ("agent", &["deploy"], "*xtask-registry*python3*", Some(AGENT)),
    ("login", &["deploy"], "*'sh -s --'", None),
    ("pull", &["deploy"], "*'sh -s -- 127.0.0.1:5000/'*", None),
    ("lock", &["deploy"], "*' lock eurobot '*", None),
    (
        "launch",
        &["deploy"],
        "*' launch eurobot '*",
        Some(
            r#"cat >/dev/null; : >"$lab/running"
printf 'release\t1\ndoing\twaiting camera\nlog\tcamera\ta line\nend\tactive\t\t7\n'"#,
        ),
    ),
    (
        "status",
        &["status"],
        "*' status eurobot'*",
        Some(
            r"printf 'going\t3\nwanted\tcamera\th1\ndisk\t1000\t2000\nload\t0.25\t4\ntemperature\t48500\nrelease\t3\tcurrent\t{}\n'",
        ),
    ),
    (
        "releases",
        &["releases"],
        "*' list eurobot releases'*",
        Some(
            r#"printf 'release\t9\tcurrent\t{"outcome":"healthy","reason":"of 5","deploy":null}\nrelease\t8\tprevious\t{}\n'"#,
        ),
    ),
    (
        "history",
        &["history"],
        "*' list eurobot history'*",
        Some(r"printf 'entry\t2026-01-01T00:00:00Z\tanna@laptop\tdeploy\t3\tactive\n'"),
    ),
    ("prune", &["prune"], "*' prune eurobot '*", Some(r"printf 'free\t1000\nbusy\nfree\t1500\n'")),
    (
        "files",
        &["pull-data", "/var/log/x"],
        "*' fetch /var/log/x'*",
        Some(
            r"printf 'd 4096 1700000000 /var/log/x\nf 4 1700000000 /var/log/x/a\nf 4 1700000000 /var/log/x/b\n'",
        ),
    ),
    (
        "logs",
        &["logs"],
        "*' attached eurobot '*logs*",
        Some(r"printf 'camera-1  | a line\ncamera-1  | 2 lines\n'"),
    ),
    ("examination", &["doctor", "--robot", "main"], "*'sh -s -- xtask-registry'*", Some(EXAMINED)),
];

/// Changes to an honest answer, as shell code: to the whole answer, or to each `$line`.
const LIES: [(&str, Lie); 14] = [
    ("nothing", Lie::Instead("cat >/dev/null; exit 0")),
    ("a failure", Lie::Instead("cat >/dev/null; echo 'no such thing' >&2; exit 3")),
    (
        "words that mean nothing",
        Lie::Instead("cat >/dev/null; echo '{}'; echo 'a\tb\tc'; echo '[]'; echo null"),
    ),
    ("half of it", Lie::Line(r#"printf '%s\n' "${line%%[0-9]*}""#)),
    ("everything ten times", Lie::Line(r#"for _ in 1 2 3 4 5 6 7 8 9 0; do printf '%s\n' "$line"; done"#)),
    ("negative numbers", Lie::Line(r#"printf '%s\n' "$line" | sed 's/[0-9][0-9]*/-1/g'"#)),
    (
        "paths",
        Lie::Line(
            r#"printf '%s\n' "$line" | sed 's|\t[^\t]*|\t../../../../x|g; s|:"[^"]*"|:"../../../../x"|g; s| /var/log/x|&/../../../../x|'"#,
        ),
    ),
    ("not UTF-8", Lie::Line(r#"printf '%s\n' "$line" | sed "s/[a-z0-9]$/$(printf '\377\300')/""#)),
    ("a word instead of each number", Lie::Line(r#"printf '%s\n' "$line" | sed 's/[0-9][0-9]*/many/g'"#)),
    ("huge numbers", Lie::Line(r#"printf '%s\n' "$line" | sed 's/[0-9][0-9]*/18446744073709551615/g'"#)),
    (
        "escapes",
        Lie::Line(
            r#"escape=$(printf '\033]52;c;eA==\007\033[2J'); printf '%s\n' "$line" | sed "s/\t/\t$escape/g; s/ /$escape /g""#,
        ),
    ),
    ("a huge line", Lie::Instead("cat \"$lab/huge\"; exit 0")),
    ("no end", Lie::Instead("while cat \"$lab/rules/ssh\"; do :; done; exit 0")),
    ("no end of a line", Lie::Instead("exec cat /dev/zero")),
];

/// Rows that take as long as the time limit of a login, and logs that never end.
const LONG: [&str; 5] = [
    "connection: not UTF-8",
    "connection: no end",
    "logs: no end",
    "logs: no end of a line",
    "logs: a huge line",
];

/// Requests whose connection stays open until xtask closes it.
const HELD: [&str; 4] = ["connection", "agent", "lock", "logs"];

#[derive(Clone, Copy)]
enum Lie {
    /// Replaces the whole answer.
    Instead(&'static str),
    /// Changes each line of the answer.
    Line(&'static str),
}

/// A lab whose robot answers honestly, except for one request.
fn lab((name, _, pattern, honest): Request, lie: Lie) -> Lab {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    if let Some(honest) = honest {
        lab.on("ssh", pattern, honest);
    }
    let huge = std::fs::File::create(lab.dir.join("huge")).unwrap();
    huge.set_len(HUGE).unwrap();
    std::fs::copy(lab.dir.join("rules/ssh"), lab.dir.join("rules/honest")).unwrap();
    let script = match lie {
        // These requests do not close their stdin, so do not wait for its end.
        Lie::Instead(script) if HELD.contains(&name) => script.replace("cat >/dev/null; ", ""),
        Lie::Instead(script) => script.to_owned(),
        Lie::Line(script) if HELD.contains(&name) => format!(
            "( . \"$lab/rules/honest\" ) </dev/null >\"$lab/answer\"
             while IFS= read -r line; do\n{script}\ndone <\"$lab/answer\"
             [ {name} = logs ] || exec cat >/dev/null"
        ),
        Lie::Line(script) => {
            format!("( . \"$lab/rules/honest\" ) | while IFS= read -r line; do\n{script}\ndone")
        }
    };
    lab.on("ssh", pattern, &format!(": >\"$lab/asked\"\n{script}"));
    lab
}

/// Peak memory of a process, in bytes; 0 if the kernel does not report it.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// Waits until the run ends, and returns its peak memory; fails if it exceeds a limit.
fn run(lab: &Lab, args: &[&str]) -> Result<(Ran, u64), String> {
    let mut child = lab.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.by_ref().take(HUGE).read_to_end(&mut bytes).unwrap();
        bytes
    });
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.by_ref().take(HUGE).read_to_end(&mut bytes).unwrap();
        bytes
    });
    let (begin, mut most) = (Instant::now(), 0);
    let status = loop {
        most = most.max(memory(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if most > MEMORY || begin.elapsed() > TIMEOUT {
            child.kill().unwrap();
            child.wait().unwrap();
            return Err(format!("{} MB after {:?}, and no end", most / 1_000_000, begin.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "prints what is not UTF-8".to_owned());
    let (stdout, stderr) = (text(reading.join().unwrap())?, text(errors.join().unwrap())?);
    Ok((Ran { code: status.code(), stdout, stderr }, most))
}

/// All files of the lab, except those that the fakes and xtask itself keep there.
fn foreign_files(lab: &Lab) -> BTreeMap<String, Vec<u8>> {
    let own = lab.root.join("target/xtask");
    let known = [
        "answer",
        "asked",
        "bin",
        "rules",
        "log",
        "pulled",
        "running",
        "masters",
        "registry",
        "metadata",
        "images",
        "containers",
        "huge",
        "release.tar.gz",
        "loaded",
    ];
    let entries = lab.dir.read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned());
    let others = entries.filter(|name| !known.contains(&name.as_str())).map(|name| (name, Vec::new()));
    let files = lab
        .files()
        .into_iter()
        .filter(|(path, _)| !path.starts_with(&own) && *path != lab.root.join("target"));
    others.chain(files.map(|(path, bytes)| (path.into_string(), bytes))).collect()
}

/// Returns the error in a run, if there is one.
fn complaint(request: Request, lie: Lie) -> Option<String> {
    let lab = lab(request, lie);
    let before = foreign_files(&lab);
    let (ran, memory) = match run(&lab, request.1) {
        Ok(ran) => ran,
        Err(complaint) => return Some(complaint),
    };
    let mut after = foreign_files(&lab);
    // `pull-data` may write to the first, builds lock files in the second.
    let own = [lab.root.join("data"), lab.home.join(".cache")];
    after.retain(|path, _| own.iter().all(|own| !path.starts_with(own.as_str())));
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let is_control = |character: char| character.is_control() && !"\n\t".contains(character);
    let complaint = match ran.code {
        _ if !lab.dir.join("asked").exists() => "the request did not reach the robot".to_owned(),
        _ if memory > MEMORY => format!("{} MB of memory", memory / 1_000_000),
        _ if said.contains("panicked") => "panics".to_owned(),
        _ if said.contains(is_control) => "prints control characters".to_owned(),
        _ if after != before => {
            let changed =
                after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).map(|(path, _)| path);
            let gone = before.keys().filter(|path| !after.contains_key(*path));
            format!("touches {:?}", changed.chain(gone).collect::<Vec<_>>())
        }
        Some(0) => return None,
        Some(1..=5) if ran.stderr.contains("error") => return None,
        code => format!("ends with {code:?}"),
    };
    Some(format!(
        "{complaint}:\n{}",
        said.chars().take(2_000).collect::<String>().escape_debug().to_string().replace("\\n", "\n")
    ))
}

/// Each request with each lie; if `is_quick`, only every `DIAGONAL`th diagonal of that table.
fn rows(is_quick: bool) -> Vec<(Request, (&'static str, Lie))> {
    let lies = |request: usize| {
        let row = move |(lie, it): (usize, &(&'static str, Lie))| {
            (!is_quick || (request + lie).is_multiple_of(DIAGONAL)).then_some((REQUESTS[request], *it))
        };
        LIES.iter().enumerate().filter_map(row)
    };
    (0..REQUESTS.len()).flat_map(lies).collect()
}

#[test]
fn whatever_a_robot_says_xtask_ends_and_says_what_is_wrong() {
    let wanted = std::env::var("FALSE_ROBOT").ok();
    let rows = rows(wanted.is_none());
    let wanted = wanted.filter(|wanted| wanted != "all").unwrap_or_default();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let complaints = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((request, (name, lie))) =
                    rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let row = format!("{}: {name}", request.0);
                    if !row.contains(&wanted) || LONG.contains(&row.as_str()) {
                        continue;
                    }
                    let begin = Instant::now();
                    let complaint = complaint(*request, *lie);
                    println!("{row}: {:.1} s", begin.elapsed().as_secs_f32());
                    complaints
                        .lock()
                        .unwrap()
                        .extend(complaint.map(|complaint| format!("{row}: {complaint}")));
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(
        complaints.is_empty(),
        "{} of {} rows:\n\n{}",
        complaints.len(),
        rows.len(),
        complaints.join("\n\n")
    );
}
