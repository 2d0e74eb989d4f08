//! `cargo xtask watch`: shows each save on the robots at once, and deploys.

mod ahead;
mod page;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

use super::workspace;
use crate::config::Workspace;
use crate::deploy::OnBusy;
use crate::error::{Exit, FollowedBy as _, Result, until_interrupted};
use crate::live::{Live, Saved, Shown, Sources};
use crate::process::{self, Cmd};
use crate::ui;
use crate::watcher::Watcher;

use ahead::Ahead;
use page::Page;

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:
  cargo xtask watch --robot main

A saved file that is installed as it is (Python, launch files, YAML, URDF) is put straight into the running
containers that have it, and their services start again. Images with such live edits are built in the background,
and a deploy makes a release of them when saving pauses and at the end. All other files are deployed at once. A
save during a deploy starts it over.")]
pub struct Args {
    /// The robot, or several separated by commas; optional if there is only one
    #[arg(long, short, value_name = "ROBOT", value_delimiter = ',')]
    robot: Vec<String>,

    /// Start new releases even if a robot is busy
    #[arg(long)]
    force: bool,

    /// Deploy each save, without live edits
    #[arg(long)]
    no_live: bool,
}

/// Interval of the looks for saves while a deploy runs.
const LOOK: Duration = Duration::from_millis(20);

/// Times that saves start a deploy over. Files that are written all the time must not keep it from ending.
const RESTARTS: u32 = 5;

/// Deploys once, and then after each save that cannot be shown otherwise. Each deploy is a separate process, so that a
/// failed one, also a crash, does not end the watch.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    // Fails early if a robot is unknown.
    workspace.robots_named(&args.robot)?;
    let deploy = args.deploy(&workspace.root)?;
    deploy.plan().followed_by("doing so again after each save")?;
    let mut left = Left::Nothing;
    let watched = until_interrupted(watch(args, &workspace, &deploy, &mut left));
    match left {
        Left::Nothing => return watched,
        Left::Corrections => {
            let text =
                "the live edits stay, without a release of them: some sources do not work, and were undone";
            ui::warn("watch", text);
            return watched;
        }
        Left::Release => {}
    }
    process::go_on();
    ui::step("watch", "making a release of the live edits; Ctrl-C leaves them as they are");
    let released = deploy.interactive();
    watched.and(released)
}

/// Work that is left at the end of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// A release of live edits.
    Release,
    /// Robots have live edits, and some of the sources of this machine were undone there: a release would contain these.
    Corrections,
}

impl Left {
    /// State of robots that have live edits or not.
    fn of(live: &Live<'_>) -> Self {
        match (live.edits() > 0, live.undone().is_empty()) {
            (false, _) => Self::Nothing,
            (true, true) => Self::Release,
            (true, false) => Self::Corrections,
        }
    }
}

impl Args {
    /// The command that deploys what is saved.
    fn deploy(&self, root: &Utf8Path) -> Result<Cmd> {
        let mut words = vec!["deploy", "--wait", "--yes"];
        let names = self.robot.join(",");
        if !self.robot.is_empty() {
            words.extend(["--robot", &names]);
        }
        words.extend(self.force.then_some("--force"));
        words.extend(crate::mode::verbose().then_some("--verbose"));
        this_program(words, root)
    }

    /// The robots as they run now, if files can be put into their containers.
    fn live<'a>(&self, workspace: &'a Workspace, sources: Sources) -> Option<Live<'a>> {
        if self.no_live {
            return None;
        }
        let robots = workspace.robots_named(&self.robot).ok()?;
        let live = Live::of(workspace, &robots, sources, OnBusy { wait: true, force: self.force }.into());
        live.inspect_err(|error| ui::warn("watch", &format!("each save is deployed: {error:#}"))).ok()
    }
}

/// This program with other words, in the workspace. It is the file of the first call: another one may have been compiled
/// since then.
fn this_program<'a>(words: impl IntoIterator<Item = &'a str>, root: &Utf8Path) -> Result<Cmd> {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    let found = std::env::current_exe().context("find this program")?;
    let program = PROGRAM.get_or_init(|| found.to_string_lossy().into_owned());
    Ok(Cmd::new(program).args(words).dir(root))
}

/// Deploys and waits for saves, until a signal. Keeps `left` up to date.
fn watch(args: &Args, first: &Workspace, deploy: &Cmd, left: &mut Left) -> Result<()> {
    let mut watcher = Watcher::of(first)?;
    let (mut shown, mut restarts, mut page) = (Shown::default(), 0, Page::default());
    loop {
        let began = Instant::now();
        // With a mistake in robots.toml, the deploy tells it.
        let loaded = Workspace::load(&first.root).ok();
        let sources = loaded.as_ref().map(Sources::of).unwrap_or_default();
        // What was saved meanwhile is not in the deploy, or only in part.
        let mut new = loaded.as_ref();
        let is_overtaken = || {
            // It takes a moment, in which the deploy goes on.
            new.take().map_or(Ok(()), |workspace| watcher.follow(workspace))?;
            if restarts == RESTARTS {
                return process::pause(LOOK).map(|()| false);
            }
            Ok(sources.are_changed_by(&watcher.next(Some(LOOK))?))
        };
        let deployed = deploy.interactive_unless(is_overtaken)?;
        process::check_interrupted()?;
        let live = match deployed {
            None => {
                ui::step("watch", "files were saved meanwhile: starting over");
                (shown, restarts) = (Shown::default(), restarts + 1);
                continue;
            }
            Some(Ok(())) => {
                *left = Left::Nothing;
                page.end("deployed", began.elapsed());
                let took = began.elapsed().as_secs_f32();
                ui::done("watch", &format!("done in {took:.1} s; waiting for a save"));
                loaded.as_ref().and_then(|workspace| args.live(workspace, sources))
            }
            Some(Err(error)) => {
                if process::exit_code(&error) == Some(Exit::Unhealthy as u8) {
                    // The rollback has replaced the containers.
                    *left = Left::Nothing;
                }
                page.end("failed", began.elapsed());
                ui::warn("watch", "the deploy failed, see above; waiting for a save");
                None
            }
        };
        restarts = 0;
        for path in live.iter().flat_map(|live| live.differences(&shown)) {
            ui::warn("watch", &format!("{path}: the build has made another file of it than the live edit"));
        }
        let workspace = loaded.as_ref().unwrap_or(first);
        shown = Preview { args, workspace, watcher: &watcher, page: &mut page }.show(live, left)?;
    }
}

/// Shows saves by live edits.
struct Preview<'a> {
    args: &'a Args,
    workspace: &'a Workspace,
    watcher: &'a Watcher,
    page: &'a mut Page,
}

impl Preview<'_> {
    /// Shows saves until a deploy is needed. Returns what live edits show by then, if the deploy is to make exactly that a
    /// release.
    fn show(&mut self, mut live: Option<Live<'_>>, left: &mut Left) -> Result<Shown> {
        let mut build = None;
        loop {
            let ahead = live.as_ref().filter(|live| Left::of(live) == Left::Release);
            let saved = self.next_save(ahead.map(|_| self.workspace.watch_settle), &mut build)?;
            if let Some(live) = ahead.filter(|_| saved.is_empty()) {
                ui::step("watch", "making a release of the live edits");
                return Ok(live.shown());
            }
            // It would build what is overtaken.
            drop(build.take());
            let began = Instant::now();
            self.page.begin(names(&self.workspace.root, &saved), live.as_ref().map_or(0, Live::edits));
            let Some(edited) = &mut live else { return Ok(Shown::default()) };
            match edited.save(&saved) {
                Saved::Unchanged => ui::step("watch", "its content is as before"),
                Saved::Live(services) => {
                    self.page.end("live", began.elapsed());
                    let took = began.elapsed().as_secs_f32();
                    ui::done("watch", &format!("live in {} after {took:.1} s", services.join(", ")));
                }
                Saved::Undone(errors) => {
                    self.page.end("undone", began.elapsed());
                    errors.iter().for_each(|error| ui::error(None, error));
                }
                Saved::Divided(errors) => {
                    self.page.end("undone", began.elapsed());
                    errors.iter().for_each(|error| ui::error(None, error));
                    ui::warn("watch", "the other robots run the new files; the next save is deployed to all");
                    *left = Left::Corrections;
                    live = None;
                    continue;
                }
                Saved::NeedsBuild(reasons) => {
                    if !reasons.is_empty() {
                        *left = Left::Release;
                    }
                    process::check_interrupted()?;
                    for reason in reasons {
                        ui::warn("watch", &format!("no live edit: {reason:#}"));
                    }
                    return Ok(Shown::default());
                }
            }
            *left = Left::of(edited);
            match *left {
                Left::Nothing => {}
                Left::Release => build = self.build_ahead(),
                Left::Corrections => {
                    let undone = names(&self.workspace.root, edited.undone());
                    ui::warn(
                        "watch",
                        &format!("{undone}: undone, so there is no release before it is corrected"),
                    );
                }
            }
        }
    }

    /// Starts to build what live edits show.
    fn build_ahead(&self) -> Option<Ahead> {
        let build = Ahead::start(self.args, self.workspace);
        build.inspect_err(|error| ui::warn("watch", &format!("no build in the background: {error:#}"))).ok()
    }

    /// Waits for the next save. Returns nothing if there is none within `limit` and nothing is being built by then.
    fn next_save(&self, limit: Option<Duration>, build: &mut Option<Ahead>) -> Result<BTreeSet<Utf8PathBuf>> {
        let end = limit.map(|limit| Instant::now() + limit);
        while let Some(running) = &*build {
            let saved = self.watcher.next(Some(LOOK))?;
            if !saved.is_empty() {
                return Ok(saved);
            }
            if !running.is_running() {
                let error = build.take().and_then(|ended| ended.error());
                let warn = |error| ui::warn("watch", &format!("the build of the live edits fails: {error}"));
                error.into_iter().for_each(warn);
            }
        }
        self.watcher.next(end.map(|end| end.saturating_duration_since(Instant::now())))
    }
}

/// Saved files for people, without those that an editor has removed again.
fn names(root: &Utf8Path, saved: &BTreeSet<Utf8PathBuf>) -> String {
    let (there, gone): (Vec<_>, Vec<_>) = saved.iter().partition(|path| path.exists());
    let saved = if there.is_empty() { gone } else { there };
    let names: Vec<_> =
        saved.iter().take(3).map(|path| path.strip_prefix(root).unwrap_or(path).as_str()).collect();
    names.join(", ") + if saved.len() > names.len() { ", …" } else { "" }
}
