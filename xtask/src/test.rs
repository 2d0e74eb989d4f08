//! `cargo xtask test`: all checks of the project, fast ones first.

mod dependencies;

use std::io::IsTerminal as _;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use robot_deploy::config::Workspace;
use robot_deploy::config::current_dir;
use robot_deploy::error::{Exit, Failure, FollowedBy as _, Planned, Result, exit_of};
use robot_deploy::host::{self, Need};
use robot_deploy::image::{self, Builder};
use robot_deploy::process::{self, Cmd};
use robot_deploy::ui;

#[derive(clap::Args, Debug)]
#[command(after_help = COSTS)]
pub(crate) struct Args {
    /// Checks to run, separated by commas: fmt, clippy, unit, scripts, deny, ros, e2e
    #[arg(long, value_name = "CHECK", value_delimiter = ',', conflicts_with = "fast")]
    only: Vec<String>,

    /// With `--only unit` or `--only e2e`: run only tests whose names contain one of these
    #[arg(value_name = "NAME", requires = "only")]
    names: Vec<String>,

    /// Run only checks that need no Docker and take less than a minute
    #[arg(long)]
    fast: bool,

    /// Number of end-to-end tests that run in parallel, each with its own robots; by default it depends on
    /// processors and memory
    #[arg(long, conflicts_with = "fast", value_parser = clap::value_parser!(u8).range(1..=8))]
    lanes: Option<u8>,

    /// Run the end-to-end tests in random order; SEED, which is printed, repeats an order
    #[arg(long, conflicts_with = "fast", num_args = 0..=1, require_equals = true, value_name = "SEED")]
    shuffle: Option<Option<u64>>,

    /// Leave the robots of the end-to-end tests running, and reuse those of an earlier run
    #[arg(long, conflicts_with = "fast")]
    keep: bool,

    /// Install missing tools on this machine without asking
    #[arg(long, short)]
    yes: bool,
}

/// Measured on two processors.
const COSTS: &str = "\
Duration of the checks on two processors, once everything is compiled:
  fmt, clippy, unit, scripts   45 s in total; they need no Docker. --fast runs only these and deny
  deny                         checks the crates' licences, sources and duplicates by deny.toml: 1 s; known advisories
                               as well, if cargo-deny is installed and there is a network
  ros                          the tests of the ROS packages: 5 s, or two minutes the first time
  e2e                          deploys to simulated robots: 40 minutes; single tests by NAME take seconds each

`cargo xtask test --only e2e --keep locks::` runs the tests of locks and leaves their robots running for the next time.
Logs of failed tests are in target/xtask/test-logs/.";

struct Check {
    /// Name for `--only`.
    key: &'static str,
    /// Name in the output.
    name: &'static str,
    /// Tools that this machine needs for the check.
    needs: &'static [Need],
    run: fn(&Workspace, &Args) -> Result<()>,
}

const FAST: [Check; 5] = [
    Check {
        key: "fmt",
        name: "formatting",
        needs: &[],
        run: |workspace, _| cargo(workspace, &["fmt", "--all", "--check"]),
    },
    Check { key: "clippy", name: "lints", needs: &[], run: |workspace, _| lints(workspace) },
    Check { key: "unit", name: "xtask's tests", needs: &[Need::Zsh, Need::Fish], run: unit },
    Check {
        key: "scripts",
        name: "scripts of robots and images",
        needs: &[Need::Shellcheck, Need::Pyflakes],
        run: |workspace, _| scripts(workspace),
    },
    Check {
        key: "deny",
        name: "dependencies",
        needs: &[],
        run: |workspace, _| dependencies::check(&workspace.root, &program()),
    },
];

/// Needs of the end-to-end tests. Chromium, because a test opens the report of `--timings` in a browser.
const END_TO_END: [Need; 6] =
    [Need::Engine, Need::Buildx, Need::Compose, Need::Mmdebstrap, Need::Ssh, Need::Chromium];

const SLOW: [Check; 2] = [
    Check {
        key: "ros",
        name: "ROS packages' tests",
        needs: &Need::ALWAYS,
        run: |workspace, _| ros_packages(workspace),
    },
    Check { key: "e2e", name: "end-to-end tests", needs: &END_TO_END, run: end_to_end },
];

/// Checks that accept names of tests.
const TAKES_NAMES: [&str; 2] = ["unit", "e2e"];

/// Runs the checks. A failed check does not stop the others.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load(&current_dir())?;
    let checks = chosen(args)?;
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut failed = 0;
    for check in checks {
        ui::step("test", check.name);
        let began = Instant::now();
        let ready = host::ensure(args.yes, check.needs).unless_planned();
        let outcome = ready.and_then(|_| (check.run)(&workspace, args));
        let word = match &outcome {
            Ok(()) => "passed",
            Err(error) if Planned::find(error).is_some() => "planned",
            Err(error) if exit_of(error) == Exit::Interrupted => return outcome,
            Err(error) => {
                ui::error(Some(check.name), error);
                failed += 1;
                "failed"
            }
        };
        rows.push([check.name.to_owned(), word.to_owned(), format!("{:.1}", began.elapsed().as_secs_f32())]);
    }
    process::outcome_needed()?;
    ui::result(&ui::table(["CHECK", "RESULT", "SECONDS"], &rows))?;
    ui::result(&format!("{} passed, {failed} failed", rows.len() - failed))?;
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::failed(format!("{} failed", ui::count(failed, "check"))).into())
    }
}

fn chosen(args: &Args) -> Result<Vec<&'static Check>> {
    let all = || FAST.iter().chain(&SLOW);
    if let Some(unknown) = args.only.iter().find(|key| all().all(|check| check.key != key.as_str())) {
        let keys: Vec<&str> = all().map(|check| check.key).collect();
        return Err(Failure::config(format!("there is no check `{unknown}`"))
            .hint(format!("available checks: {}", keys.join(", ")))
            .into());
    }
    if !args.names.is_empty() && args.only.iter().any(|key| !TAKES_NAMES.contains(&key.as_str())) {
        return Err(Failure::config(format!(
            "only the checks {} accept names of tests",
            TAKES_NAMES.join(" and ")
        ))
        .hint("`cargo xtask test --only e2e NAME`")
        .into());
    }
    let is_end_to_end = args.only.is_empty() || args.only.iter().any(|key| key == "e2e");
    if !is_end_to_end && (args.lanes.is_some() || args.shuffle.is_some() || args.keep) {
        return Err(Failure::config("`--lanes`, `--shuffle` and `--keep` are for the end-to-end tests")
            .hint("`cargo xtask test --only e2e --keep NAME`")
            .into());
    }
    let wanted = |check: &&Check| args.only.is_empty() || args.only.iter().any(|key| key == check.key);
    Ok(FAST.iter().chain(SLOW.iter().filter(|_| !args.fast)).filter(wanted).collect())
}

/// The `cargo` that started this program, or the one on `PATH`.
fn program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn cargo(workspace: &Workspace, args: &[&str]) -> Result<()> {
    let mut command = Cmd::new(program()).args(args.iter().copied()).dir(&workspace.root);
    if !std::io::stderr().is_terminal() {
        // `.cargo/config.toml` of this repository always shows a progress bar, for the alias `cargo xtask`.
        command = command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    }
    let result = command.interactive();
    let component = match args {
        ["fmt", ..] => "rustfmt",
        ["clippy", ..] => "clippy",
        _ => return result,
    };
    result.map_err(|error| {
        let hint = format!("if the command is missing: `rustup component add {component}`");
        Failure::failed("cargo reported problems or could not run").hint(hint).because(error).into()
    })
}

fn unit(workspace: &Workspace, args: &Args) -> Result<()> {
    let names = args.names.iter().map(String::as_str);
    let separator: &[&str] = if args.names.is_empty() { &[] } else { &["--"] };
    cargo(
        workspace,
        &["test", "--workspace"].iter().chain(separator).copied().chain(names).collect::<Vec<_>>(),
    )
}

fn end_to_end(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut words: Vec<String> =
        ["test", "--package", "xtask", "--test", "e2e", "--"].map(str::to_owned).into();
    words.extend(args.lanes.map(|lanes| format!("--lanes={lanes}")));
    words.extend(
        args.shuffle.map(|seed| seed.map_or("--shuffle".to_owned(), |seed| format!("--shuffle={seed}"))),
    );
    words.extend(args.keep.then(|| "--keep".to_owned()));
    words.extend(args.names.iter().cloned());
    cargo(workspace, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn lints(workspace: &Workspace) -> Result<()> {
    // `--all-targets` does not include the end-to-end tests, which are excluded from `cargo test`.
    let slow = ["--package", "xtask", "--test", "e2e"];
    [&["--workspace", "--all-targets"][..], &slow]
        .into_iter()
        .try_for_each(|targets| cargo(workspace, &[&["clippy"], targets, &["--", "-D", "warnings"]].concat()))
}

fn ros_packages(workspace: &Workspace) -> Result<()> {
    image::test(workspace, Builder::for_engine(host::engine()?)).map(drop)
}

/// Checks the shell scripts and Python programs of robots, images and CI. Shell scripts without a `#!` line run
/// in a robot's `sh`.
fn scripts(workspace: &Workspace) -> Result<()> {
    let (mut named, mut sent, mut python) = (Vec::new(), Vec::new(), Vec::new());
    for dir in ["docker", "xtask", ".ci"] {
        for path in files(&workspace.root.join(dir))? {
            let Ok(text) = fs_err::read_to_string(&path) else { continue };
            let first = text.lines().next().unwrap_or_default();
            if first.starts_with("#!") && (first.ends_with("sh") || first.contains("sh ")) {
                named.push(path);
            } else if path.extension() == Some("sh") {
                sent.push(path);
            } else if path.extension() == Some("py") {
                python.push(path);
            }
        }
    }
    let check =
        |program: &str, paths: Vec<Utf8PathBuf>| Cmd::new(program).args(paths.into_iter().map(String::from));
    check("shellcheck", named).interactive()?;
    let options = ["--shell=sh", "--external-sources", "--source-path=SCRIPTDIR"];
    check("shellcheck", sent).args(options).interactive()?;
    check("pyflakes3", python).interactive()
}

/// All files below a directory, sorted.
fn files(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in dir.read_dir_utf8()? {
        let path = entry?.into_path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
