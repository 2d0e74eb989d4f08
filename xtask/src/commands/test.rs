//! `cargo xtask test`: every check that the project has, the cheap ones first.

use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};

use super::workspace;
use crate::config::Workspace;
use crate::error::{Exit, Failure, Result, exit_of};
use crate::host::{self, Need};
use crate::image::{self, Builder};
use crate::process::{self, Cmd};
use crate::ui;

/// Run every check of this project: formatting, lints, tests, the ROS packages' tests, deploys to
/// simulated robots
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The checks to run, with commas between: fmt, clippy, unit, shell, ros, e2e, machines
    #[arg(long, value_name = "CHECK", value_delimiter = ',', conflicts_with = "fast")]
    only: Vec<String>,

    /// Only what needs neither Docker nor minutes
    #[arg(long)]
    fast: bool,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,
}

/// One check: what it is chosen by, what the summary calls it, what it needs of this machine, what it does.
struct Check {
    key: &'static str,
    name: &'static str,
    needs: &'static [Need],
    run: fn(&Workspace) -> Result<()>,
}

const FAST: [Check; 4] = [
    Check { key: "fmt", name: "formatting", needs: &[], run: |it| cargo(it, &["fmt", "--all", "--check"]) },
    Check { key: "clippy", name: "lints", needs: &[], run: lints },
    Check { key: "unit", name: "xtask's tests", needs: &[], run: |it| cargo(it, &["test", "--workspace"]) },
    Check { key: "shell", name: "shell scripts", needs: &[Need::Shellcheck], run: shellcheck },
];

/// The pages that deploys write are looked at in a browser.
const END_TO_END: [Need; 6] =
    [Need::Engine, Need::Buildx, Need::Compose, Need::Mmdebstrap, Need::Ssh, Need::Chromium];

const SLOW: [Check; 3] = [
    Check { key: "ros", name: "ROS packages' tests", needs: &Need::ALWAYS, run: ros_packages },
    Check {
        key: "e2e",
        name: "end-to-end tests",
        needs: &END_TO_END,
        run: |it| cargo(it, &["test", "--package", "xtask", "--test", "e2e"]),
    },
    Check {
        key: "machines",
        name: "set-up of fresh machines",
        needs: &Need::ALWAYS,
        run: |it| cargo(it, &["test", "--package", "xtask", "--test", "e2e_setup"]),
    },
];

/// Runs the checks, all of them, whatever became of the ones before.
///
/// # Errors
/// Fails when a check fails or cannot be run.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let checks = chosen(args)?;
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut failed = 0;
    for check in checks {
        ui::step("test", check.name);
        let began = Instant::now();
        let outcome = host::ensure(args.yes, check.needs).and_then(|()| (check.run)(&workspace));
        let word = match &outcome {
            Ok(()) => "passed",
            Err(error) if exit_of(error) == Exit::Interrupted => return outcome,
            Err(error) => {
                ui::error(Some(check.name), error);
                failed += 1;
                "failed"
            }
        };
        rows.push([check.name.to_owned(), word.to_owned(), format!("{:.1}", began.elapsed().as_secs_f32())]);
    }
    if process::mode().dry_run {
        return Ok(());
    }
    ui::result(&ui::table(["CHECK", "RESULT", "SECONDS"], &rows))?;
    ui::result(&format!("{} passed, {failed} failed", rows.len() - failed))?;
    if failed == 0 { Ok(()) } else { Err(Failure::failed(format!("{failed} checks failed")).into()) }
}

fn chosen(args: &Args) -> Result<Vec<&'static Check>> {
    let all = || FAST.iter().chain(&SLOW);
    if let Some(unknown) = args.only.iter().find(|key| all().all(|check| check.key != key.as_str())) {
        let keys: Vec<&str> = all().map(|check| check.key).collect();
        return Err(Failure::config(format!("there is no check `{unknown}`"))
            .hint(format!("the checks are {}", keys.join(", ")))
            .into());
    }
    let wanted = |check: &&Check| args.only.is_empty() || args.only.iter().any(|key| key == check.key);
    Ok(FAST.iter().chain(SLOW.iter().filter(|_| !args.fast)).filter(wanted).collect())
}

fn cargo(workspace: &Workspace, args: &[&str]) -> Result<()> {
    // Cargo tells those whom it runs which one it is.
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let result = Cmd::new(program).args(args.iter().copied()).dir(&workspace.root).interactive();
    let component = match args {
        ["fmt", ..] => "rustfmt",
        ["clippy", ..] => "clippy",
        _ => return result,
    };
    result.map_err(|error| {
        let hint = format!("if cargo knows no such command: `rustup component add {component}`");
        Failure::failed("cargo found something, or could not look").hint(hint).because(error).into()
    })
}

fn lints(workspace: &Workspace) -> Result<()> {
    // Cargo's "all" leaves out what `cargo test` is to leave out.
    let slow = ["--package", "xtask", "--test", "e2e", "--test", "e2e_setup"];
    [&["--workspace", "--all-targets"][..], &slow]
        .into_iter()
        .try_for_each(|targets| cargo(workspace, &[&["clippy"], targets, &["--", "-D", "warnings"]].concat()))
}

fn ros_packages(workspace: &Workspace) -> Result<()> {
    image::test(workspace, Builder::for_engine(host::engine()?)).map(drop)
}

/// Checks the shell scripts of robots, images and CI; those without a first line that names their shell
/// are sent to a robot's `sh`.
fn shellcheck(workspace: &Workspace) -> Result<()> {
    let mut named = Vec::new();
    let mut sent = Vec::new();
    for dir in ["docker", "xtask/src", ".ci"] {
        for path in files(&workspace.root.join(dir))? {
            let Ok(text) = fs_err::read_to_string(&path) else { continue };
            let first = text.lines().next().unwrap_or_default();
            if first.starts_with("#!") && (first.ends_with("sh") || first.contains("sh ")) {
                named.push(path);
            } else if path.extension() == Some("sh") {
                sent.push(path);
            }
        }
    }
    let check = |paths: Vec<Utf8PathBuf>| Cmd::new("shellcheck").args(paths.into_iter().map(String::from));
    check(named).interactive()?;
    check(sent).arg("--shell=sh").interactive()
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
