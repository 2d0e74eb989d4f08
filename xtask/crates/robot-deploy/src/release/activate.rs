//! Starts the activation of a release on a robot and follows its events.
//!
//! The robot runs the activation by itself. Once it has begun, nothing on this machine can stop it half-way:
//! it ends with the new release if that is healthy, and otherwise with the release that ran before. If the
//! connection is lost for good, the next command reports the result.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use camino::Utf8Path;

use super::compose::ComposeProject;
use super::files::LargeFile;
use super::metadata::{Metadata, whoami};
use crate::config::Releases;
use crate::error::{Exit, Failure, FollowedBy as _, Result, exit_of};
use crate::process::{self, Cmd};
use crate::robot::outcome::Outcome;
use crate::robot::{Session, Survey};
use crate::robot_side::Script;
use crate::robot_side::lines::{self, health as word};
use crate::ui::{self, Progress};

/// Number of attempts in a row that may bring no new event.
const ATTEMPTS: u32 = 5;

/// Pause after an attempt that brought no new event.
const PAUSE: Duration = Duration::from_millis(500);

/// Time that a service without a health check has to keep running after a live edit. A release that is built of the same
/// files follows, and is watched for longer.
const EDIT_SETTLES: Duration = Duration::from_secs(1);

/// Packs a release for the robot: the project, its metadata and the script `activate`.
pub(crate) fn archive(project: &ComposeProject, metadata: &Metadata) -> Result<Vec<u8>> {
    let tar =
        project.with_files(&[("about.json", metadata.to_json()?), ("activate", Script::Activate.text())])?;
    // Without a time in the header, the same content gives the same bytes.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&tar).context("compress the release")?;
    packed.finish().context("compress the release")
}

/// Files of a release that are sent apart, and that a robot lacks.
pub(crate) fn missing<'a>(
    project: &'a ComposeProject,
    survey: &'a Survey,
) -> impl Iterator<Item = &'a LargeFile> {
    let is_there =
        |file: &LargeFile| survey.files.contains(&file.hash) || survey.seeds.contains_key(file.path.as_str());
    project.large.iter().filter(move |file| !is_there(file))
}

/// Sends a file or a directory tree of the repository. Returns the number of bytes sent.
pub(crate) fn place(session: &Session, project: &str, root: &Utf8Path, file: &LargeFile) -> Result<u64> {
    // Links in a directory stay links; the path itself may be one.
    let (follow, path) = match root.join(&file.path).is_dir() {
        true => (None, file.path.join(".")),
        false => (Some("-h"), file.path.clone()),
    };
    let pack =
        Cmd::new("tar").arg("-c").args(follow).args(["-f", "-", "-C", root.as_str(), "--", path.as_str()]);
    session.command(Script::Place.argv(&[project, &file.hash])).feed(&pack)
}

/// A robot and the settings of its activations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activation<'a> {
    pub session: &'a Session,
    pub project: &'a str,
    /// Identifies this run: a repeated call follows the activation that the first one has started.
    pub token: &'a str,
    /// Limits until a release counts as healthy, and the number of stored releases.
    pub releases: Releases,
    /// True if an unhealthy release is to be rolled back.
    pub rollback: bool,
    /// The robot's line on the terminal.
    pub progress: &'a Progress,
}

/// Result of an activation.
#[derive(Debug)]
struct End {
    outcome: Outcome,
    /// Empty for [`Outcome::Active`].
    reason: String,
    /// Number of the release that ran before.
    from: Option<String>,
}

/// Events received so far.
#[derive(Debug, Default)]
struct Received {
    /// Number that the robot gave the release.
    number: Option<String>,
    /// `None` while the activation goes on.
    end: Option<End>,
    /// Largest number of events in one attempt. Each attempt receives them from the first one on.
    events: usize,
    /// Number of attempts in a row that brought no new event.
    repeats: u32,
    /// True if the last attempt ended because the connection was lost.
    is_lost: bool,
}

impl Activation<'_> {
    /// Sends a release to the robot, as its [`archive`] and the project's `id`, and activates it. Returns its
    /// number.
    ///
    /// # Errors
    /// Fails with [`Exit::Unhealthy`] when the release was unhealthy and the robot rolled back, and with
    /// [`Exit::Unreachable`] when the connection is lost for good; then the robot ends the activation by
    /// itself. If the connection drops before the robot has answered, the error is one that
    /// [`process::patiently`] repeats.
    pub(crate) fn release(&self, id: &str, archive: &[u8]) -> Result<String> {
        // The archive contains values of `.env` files, so it is never printed.
        self.run(&self.command(Script::Launch, id).stdin_from("release.tar.gz", archive), archive)
    }

    /// Puts files into running containers and starts these again: `archive` is that of an edit. Returns the number of
    /// the release that runs.
    ///
    /// # Errors
    /// Fails with [`Exit::Unhealthy`] when a service was unhealthy and has its old files again.
    pub(crate) fn edit(&self, containers: &[String], archive: &[u8]) -> Result<String> {
        let [settle, deadline] =
            [EDIT_SETTLES, self.releases.deadline].map(|time| time.as_secs().to_string());
        let by = whoami();
        let args: Vec<&str> = [self.project, self.token, &by, &settle, &deadline]
            .into_iter()
            .chain(containers.iter().map(String::as_str))
            .collect();
        self.run(&self.session.command(Script::Edit.argv(&args)).stdin_from("edit.tar", archive), archive)
    }

    /// Activates a release that is stored on the robot. Returns its number.
    pub(crate) fn return_to(&self, number: &str) -> Result<String> {
        self.run(&self.command(Script::Return, number), &[])
    }

    fn command(&self, script: Script, release: &str) -> Cmd {
        let Releases { keep, settle, deadline } = self.releases;
        let rollback = if self.rollback { "yes" } else { "no" };
        let [settle, deadline] = [settle, deadline].map(|time| time.as_secs().to_string());
        let keep = keep.to_string();
        let by = whoami();
        let args = [self.project, self.token, release, &by, rollback, &settle, &deadline, &keep];
        self.session.command(script.argv(&args))
    }

    /// Starts an activation and follows it to its end, over new connections if the first one is lost.
    fn run(&self, command: &Cmd, input: &[u8]) -> Result<String> {
        command
            .plan()
            .followed_by("waiting until the release is healthy; if it is not, the robot goes back")?;
        let robot = self.session.robot();
        let mut received = Received::default();
        let mut attempt = self.read_events(command, input, &mut received);
        // The first attempt cannot repeat anything.
        received.repeats = 0;
        while received.end.is_none() {
            let Some(number) = &received.number else {
                process::check_interrupted()?;
                return Err(self.no_answer(attempt));
            };
            self.resume(attempt, &received, number)?;
            let follow = self.session.command(Script::FollowActivation.argv(&[self.project, number]));
            attempt = self.read_events(&follow, &[], &mut received);
        }
        match (received.number, received.end) {
            (Some(number), Some(end)) => {
                // This command reports the result, so the next one need not.
                let forget = ["sh", "-c", "rm -f \"$HOME/.deploy/$1/news\"", "forget", self.project];
                self.session.command(forget).clean_up();
                self.conclude(number, end)
            }
            _ => anyhow::bail!("`{robot}` did not report the result of the activation"),
        }
    }

    /// Prepares the next attempt after one that ended before the activation did.
    fn resume(&self, attempt: Result<()>, received: &Received, number: &str) -> Result<()> {
        let robot = self.session.robot();
        let has_failed = attempt.is_err();
        let error = attempt
            .err()
            .unwrap_or_else(|| anyhow::anyhow!("the events stopped before the end of the activation"));
        if process::check_interrupted().is_err() {
            return Err(self.detached(Exit::Interrupted, error, number));
        }
        if has_failed && !received.is_lost {
            return Err(self.detached(Exit::Failed, error, number));
        }
        if received.repeats == ATTEMPTS {
            if received.is_lost {
                return Err(self.detached(Exit::Unreachable, error, number));
            }
            let message = format!("`{robot}` did not report the result of release {number}");
            return Err(Failure::failed(message).hint(self.status_hint()).because(error).into());
        }
        if received.repeats > 0 {
            process::pause(PAUSE).map_err(|error| self.detached(exit_of(&error), error, number))?;
        }
        if !received.is_lost {
            return Ok(());
        }
        ui::warn(robot, "the connection dropped; the robot continues by itself; reconnecting");
        let lost =
            |error| Failure::unreachable(format!("the connection to `{robot}` was lost")).because(error);
        let connect = || self.session.ensure_connected().map_err(|error| lost(error).into());
        process::poll("the robot to be reached again", self.session.endpoint().reconnect, connect)
            .map(drop)
            .map_err(|error| self.detached(exit_of(&error), error, number))
    }

    /// Error when the robot has not answered, so that the activation may or may not have begun.
    fn no_answer(&self, attempt: Result<()>) -> anyhow::Error {
        let robot = self.session.robot();
        match attempt {
            Ok(()) => anyhow::anyhow!("`{robot}` did not report the result of the activation"),
            Err(error) => error.context(format!("send the release to `{robot}`")),
        }
    }

    /// The hint for an activation whose end is not known.
    pub(crate) fn status_hint(&self) -> String {
        format!("`cargo xtask status --robot {}` shows the result", self.session.robot())
    }

    /// Error when the activation goes on without this command.
    fn detached(&self, exit: Exit, error: anyhow::Error, number: &str) -> anyhow::Error {
        let robot = self.session.robot();
        let message = format!(
            "`{robot}` continues by itself: it activates release {number} or rolls back to the one before"
        );
        Failure::new(exit, message).hint(self.status_hint()).because(error).into()
    }

    /// Runs a command that prints events, and reads them.
    fn read_events(&self, command: &Cmd, input: &[u8], received: &mut Received) -> Result<()> {
        let (child, mut stdin, answers) = command.converse()?;
        // Checked last: a robot that refuses the release prints the reason itself.
        let sent = stdin.write_all(input);
        drop(stdin);
        let answers = process::lines(&child, answers, process::LINE);
        let (mut events, mut greeting) = (0, 0..process::GREETING);
        while let Some(line) = process::next_line(&answers)? {
            if self.handle(&line, received) {
                events += 1;
            } else {
                anyhow::ensure!(
                    greeting.next().is_some(),
                    "the robot prints unexpected lines instead of events"
                );
            }
        }
        received.repeats = if events > received.events { 0 } else { received.repeats + 1 };
        received.events = received.events.max(events);
        let ended = child.wait();
        received.is_lost = ended.as_ref().is_err_and(process::is_dropped);
        ended?;
        sent.context("send the release")
    }

    /// Handles a line; returns whether it was an event.
    fn handle(&self, line: &str, received: &mut Received) -> bool {
        match lines::fields(line)[..] {
            [lines::follow::RELEASE, number] => {
                received.number = Some(number.to_owned());
                return false;
            }
            [word::DOING, activity] => self.progress.doing(&self.describe(activity), None),
            [word::LOG, service, ref words @ ..] => {
                ui::output(self.session.robot(), &format!("{service} | {}", words.join("\t")));
            }
            [word::END, outcome, reason, from] => {
                let from = (!from.is_empty()).then(|| from.to_owned());
                received.end =
                    Some(End { outcome: Outcome::parse(outcome), reason: reason.to_owned(), from });
            }
            // A login shell may print a greeting.
            _ => return false,
        }
        true
    }

    fn describe(&self, activity: &str) -> String {
        match activity.split_once(' ') {
            Some(("waiting", names)) => format!("waiting for {}", names.replace(' ', ", ")),
            Some(("settling", names)) => {
                let settle = self.releases.settle.as_secs();
                format!(
                    "watching for {settle} s that {} keeps running; a health check or `x-robot` would tell sooner",
                    names.replace(' ', ", ")
                )
            }
            Some(("starting", names)) => format!("starting {}", names.replace(' ', ", ")),
            _ => activity.to_owned(),
        }
    }

    fn conclude(&self, number: String, end: End) -> Result<String> {
        let robot = self.session.robot();
        let End { outcome, reason, from } = end;
        let before = from.map_or_else(
            || "nothing ran before, and nothing runs now".to_owned(),
            |from| format!("release {from} runs again"),
        );
        let inspect = format!("`--no-rollback` leaves it running on `{robot}`, for inspection");
        let failure = match outcome {
            Outcome::Active => return Ok(number),
            Outcome::RolledBack => {
                Failure::new(Exit::Unhealthy, format!("release {number} was rolled back: {reason}; {before}"))
                    .hint(inspect)
                    .hint(format!(
                        "`cargo xtask releases --robot {robot}` lists the releases to roll back to"
                    ))
            }
            Outcome::BrokenOff => {
                Failure::new(Exit::Unhealthy, format!("release {number} was rolled back: {reason}; {before}"))
                    .hint("run the same command again")
            }
            Outcome::Kept => {
                Failure::failed(format!("release {number} is unhealthy and was left running: {reason}"))
                    .hint(format!("`cargo xtask rollback --robot {robot}` rolls back"))
            }
            Outcome::Unhealthy => {
                Failure::failed(format!("release {number}, which was already active, is unhealthy: {reason}"))
                    .hint(format!("`cargo xtask rollback --robot {robot}` rolls back to the one before"))
            }
            Outcome::PutOff => Failure::failed(format!(
                "release {number} will be rolled back as soon as Docker on `{robot}` runs again: {reason}"
            ))
            .hint(format!("`cargo xtask ssh --robot {robot} -- sudo systemctl restart docker` starts it")),
            Outcome::Refused => Failure::failed(format!("`{robot}` refused release {number}: {reason}"))
                .hint(format!("`cargo xtask prune --robot {robot}` frees disk space")),
            Outcome::Undone => {
                Failure::new(Exit::Unhealthy, format!("{reason}; `{robot}` has the files of before again"))
                    .hint("save a corrected file")
            }
            Outcome::NotEdited => Failure::failed(format!(
                "the files in the containers of `{robot}` stay as they are: {reason}"
            )),
            Outcome::Stuck => Failure::failed(format!("release {number} is unhealthy: {reason}"))
                .hint(format!("`cargo xtask doctor --robot {robot}` checks the robot")),
        };
        Err(failure.into())
    }
}
