//! Has a robot go over to a release: the robot does it on its own, and is listened to.
//!
//! Once the robot has the release and has begun, nothing that happens here can stop it half-way: it ends with the new
//! release, if that is well, or else with the one that ran before. Whoever is still there is told; whoever is not, next time.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;

use super::compose::ComposeProject;
use super::metadata::{Metadata, whoami};
use crate::config::Releases;
use crate::error::{Exit, Failure, Result, exit_of};
use crate::process::{self, Cmd};
use crate::robot::Session;
use crate::robot::outcome::Outcome;
use crate::ui::{self, Progress};

/// What the robot does on its own, as it is kept there.
const ACTIVATE: &str = concat!(
    include_str!("scripts/release.sh"),
    include_str!("scripts/containers.sh"),
    include_str!("scripts/keep.sh"),
    include_str!("scripts/activate.sh"),
);

/// Brings a release there and begins.
const LAUNCH: &str = concat!(
    include_str!("scripts/release.sh"),
    include_str!("scripts/follow.sh"),
    include_str!("scripts/launch.sh"),
);

/// Begins to go back, or forth, to a release that is there.
const RETURN: &str = concat!(
    include_str!("scripts/release.sh"),
    include_str!("scripts/follow.sh"),
    include_str!("scripts/return.sh"),
);

/// Listens to what has been begun.
const FOLLOW: &str =
    concat!(include_str!("scripts/release.sh"), include_str!("scripts/follow.sh"), "follow \"$1\"\n");

/// What `ssh` ends with where it is the connection that failed: ssh(1), exit status.
const LOST: i32 = 255;

/// How often a robot may stop telling of an activation without having told more than before.
const TRIES: u32 = 5;

/// How long it is left alone before it is asked again after that.
const PAUSE: Duration = Duration::from_millis(500);

/// A release as it travels: the project, what is said of it, and what the robot does with it.
///
/// # Errors
/// None that is known of: it is packed in memory.
pub fn archive(project: &ComposeProject, metadata: &Metadata) -> Result<Vec<u8>> {
    let tar =
        project.with_files(&[("about.json", metadata.to_json()?), ("activate", ACTIVATE.to_owned())])?;
    // The header says nothing of the time: the same bytes for the same content.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&tar).context("compress the release")?;
    packed.finish().context("compress the release")
}

/// Who listens to which robot, and what is right for its releases.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    /// The robot.
    pub session: &'a Session,
    /// The project.
    pub project: &'a str,
    /// When a release counts as well, and how many are kept.
    pub releases: Releases,
    /// Whether a release that is not well is rolled back.
    pub rollback: bool,
    /// The robot's line on the terminal.
    pub progress: &'a Progress,
}

/// How an activation ended.
#[derive(Debug)]
struct End {
    outcome: Outcome,
    /// Why, unless all went well.
    reason: String,
    /// The release that ran before.
    from: Option<String>,
}

/// What has been heard of an activation.
#[derive(Debug, Default)]
struct Heard {
    /// The number that the robot gave the release.
    number: Option<String>,
    /// How it ended; none while it goes on.
    end: Option<End>,
    /// How many events were told at most: each time they are told from the beginning.
    events: usize,
    /// How often in a row there were no more than before.
    repeats: u32,
    /// Whether it was the connection that ended.
    is_lost: bool,
}

impl Activation<'_> {
    /// Brings a release, with the [`archive`] of a project that is called `id`, to the robot and has it go over to that.
    /// Gives its number.
    ///
    /// # Errors
    /// Fails with [`Exit::Unhealthy`] when the release was not well and the robot went back; with
    /// [`Exit::Unreachable`] when the robot cannot be reached any more, and then it ends this without us.
    pub fn release(&self, id: &str, archive: &[u8]) -> Result<String> {
        // Digests are unknown in a dry run, and what follows from them.
        let id = if process::mode().dry_run { "RELEASE-ID" } else { id };
        // Values of `.env` files are in it: it is never printed.
        self.listen(&self.command(LAUNCH, "launch", id).stdin_from("release.tar.gz", archive), archive)
    }

    /// Has the robot go over to a release that it has kept.
    ///
    /// # Errors
    /// As [`Activation::release`], and when it has no such release.
    pub fn return_to(&self, number: &str) -> Result<String> {
        self.listen(&self.command(RETURN, "return", number), &[])
    }

    fn command(&self, script: &str, name: &str, what: &str) -> Cmd {
        let Releases { keep, settle, deadline } = self.releases;
        let rollback = if self.rollback { "yes" } else { "no" };
        let [settle, deadline] = [settle, deadline].map(|time| time.as_secs().to_string());
        let keep = keep.to_string();
        let by = whoami();
        self.session.command([
            "sh",
            "-c",
            script,
            name,
            self.project,
            what,
            &by,
            rollback,
            &settle,
            &deadline,
            &keep,
        ])
    }

    /// Begins, and listens to the end; over a new connection where the link was lost.
    fn listen(&self, command: &Cmd, input: &[u8]) -> Result<String> {
        if process::mode().dry_run {
            return command.run_for_output();
        }
        let robot = self.session.robot();
        let mut heard = Heard::default();
        let mut attempt = self.hear(command, input, &mut heard);
        // It has repeated nothing yet.
        heard.repeats = 0;
        while heard.end.is_none() {
            let Some(number) = &heard.number else {
                process::check_interrupted()?;
                return Err(self.unheard(attempt, heard.is_lost));
            };
            self.resume(attempt, &heard, number)?;
            let follow = self.session.command(["sh", "-c", FOLLOW, "follow", self.project, number]);
            attempt = self.hear(&follow, &[], &mut heard);
        }
        match (heard.number, heard.end) {
            (Some(number), Some(end)) => {
                // Who hears it need not be told again.
                let forget = ["sh", "-c", "rm -f \"$HOME/.deploy/$1/news\"", "forget", self.project];
                self.session.command(forget).clean_up();
                self.conclude(number, end)
            }
            _ => anyhow::bail!("`{robot}` does not say what became of the release"),
        }
    }

    /// Gets ready to listen again to a robot that has stopped telling of an activation before its end.
    ///
    /// # Errors
    /// Fails, with what is true of the robot then, when it is not worth it, or the robot cannot be reached.
    fn resume(&self, attempt: Result<()>, heard: &Heard, number: &str) -> Result<()> {
        let robot = self.session.robot();
        let has_failed = attempt.is_err();
        let error = attempt.err().unwrap_or_else(|| anyhow::anyhow!("it stops before it tells how it ended"));
        if process::check_interrupted().is_err() {
            return Err(self.left(Exit::Interrupted, error, number));
        }
        if has_failed && !heard.is_lost {
            return Err(self.left(Exit::Failed, error, number));
        }
        if heard.repeats == TRIES {
            if heard.is_lost {
                return Err(self.left(Exit::Unreachable, error, number));
            }
            let message = format!("`{robot}` does not say what became of release {number}");
            return Err(Failure::failed(message).hint(self.where_to_look()).because(error).into());
        }
        if heard.repeats > 0 {
            process::pause(PAUSE).map_err(|error| self.left(exit_of(&error), error, number))?;
        }
        if !heard.is_lost {
            return Ok(());
        }
        ui::warn(robot, "the connection dropped: the robot goes on by itself, connecting again");
        let lost = |error| Failure::unreachable(format!("the link to `{robot}` was lost")).because(error);
        let connect = || self.session.ensure_connected().map_err(|error| lost(error).into());
        process::poll("the robot to be reached again", self.session.endpoint().reconnect, connect)
            .map(drop)
            .map_err(|error| self.left(exit_of(&error), error, number))
    }

    /// Nobody knows whether the robot has begun.
    fn unheard(&self, attempt: Result<()>, is_lost: bool) -> anyhow::Error {
        let robot = self.session.robot();
        match attempt {
            Ok(()) => anyhow::anyhow!("`{robot}` does not say what became of the release"),
            Err(error) if is_lost => Failure::unreachable(format!(
                "the link to `{robot}` was lost while it got the release: it may go over to it by itself"
            ))
            .hint(self.where_to_look())
            .because(error)
            .into(),
            Err(error) => error.context(format!("bring the release to `{robot}`")),
        }
    }

    fn where_to_look(&self) -> String {
        format!("`cargo xtask status --robot {}` tells how it ended", self.session.robot())
    }

    /// Nobody is told how it ends now: what is true then.
    fn left(&self, exit: Exit, error: anyhow::Error, number: &str) -> anyhow::Error {
        let robot = self.session.robot();
        let message = format!("`{robot}` goes on by itself, to release {number} or back to the one before");
        Failure::new(exit, message).hint(self.where_to_look()).because(error).into()
    }

    /// Runs what tells of the activation, and takes in what it says.
    fn hear(&self, command: &Cmd, input: &[u8], heard: &mut Heard) -> Result<()> {
        let (child, mut words, answers) = command.converse()?;
        // What keeps it from taking the release it says itself.
        let sent = words.write_all(input);
        drop(words);
        let answers = process::lines(&child, answers, process::LINE);
        let (mut events, mut greeting) = (0, 0..process::GREETING);
        while let Some(line) = process::next_line(&answers)? {
            if self.take_in(&line, heard) {
                events += 1;
            } else {
                anyhow::ensure!(greeting.next().is_some(), "it says much, and nothing of the release");
            }
        }
        heard.repeats = if events > heard.events { 0 } else { heard.repeats + 1 };
        heard.events = heard.events.max(events);
        heard.is_lost = child.exit_code()? == Some(LOST);
        child.wait()?;
        sent.context("send the release")
    }

    /// Takes in a line; tells whether it was an event.
    fn take_in(&self, line: &str, heard: &mut Heard) -> bool {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["release", number] => {
                heard.number = Some(number.to_owned());
                return false;
            }
            ["doing", what] => self.progress.doing(&self.in_words(what), None),
            ["log", service, ref words @ ..] => {
                ui::output(self.session.robot(), &format!("{service} | {}", words.join("\t")));
            }
            ["end", word, reason, from] => {
                let from = (!from.is_empty()).then(|| from.to_owned());
                heard.end = Some(End { outcome: Outcome::parse(word), reason: reason.to_owned(), from });
            }
            // A login shell may print a greeting of its own.
            _ => return false,
        }
        true
    }

    fn in_words(&self, what: &str) -> String {
        match what.split_once(' ') {
            Some(("waiting", names)) => format!("waiting for {}", names.replace(' ', ", ")),
            Some(("settling", names)) => {
                let settle = self.releases.settle.as_secs();
                format!("looking for {settle} s whether {} stays", names.replace(' ', ", "))
            }
            Some(("starting", names)) => format!("starting {}", names.replace(' ', ", ")),
            _ => what.to_owned(),
        }
    }

    fn conclude(&self, number: String, end: End) -> Result<String> {
        let robot = self.session.robot();
        let End { outcome, reason, from } = end;
        let before = from.map_or_else(
            || "nothing ran before, and nothing runs now".to_owned(),
            |from| format!("release {from} runs again"),
        );
        let looking = format!("`--no-rollback` leaves it running on `{robot}`, to look at");
        let failure = match outcome {
            Outcome::Active => return Ok(number),
            Outcome::RolledBack => {
                Failure::new(Exit::Unhealthy, format!("release {number} was rolled back: {reason}; {before}"))
                    .hint(looking)
                    .hint(format!("`cargo xtask releases --robot {robot}` shows what there is to go back to"))
            }
            Outcome::BrokenOff => {
                Failure::new(Exit::Unhealthy, format!("release {number} was rolled back: {reason}; {before}"))
                    .hint("the same command tries again")
            }
            Outcome::Kept => {
                Failure::failed(format!("release {number} is unhealthy and was left running: {reason}"))
                    .hint(format!("`cargo xtask rollback --robot {robot}` goes back"))
            }
            Outcome::Unhealthy => {
                Failure::failed(format!("release {number}, which was there before, is unhealthy: {reason}"))
                    .hint(format!("`cargo xtask rollback --robot {robot}` goes back to the one before"))
            }
            Outcome::PutOff => Failure::failed(format!(
                "release {number} will be rolled back: {reason}; Docker on `{robot}` does not run, and the robot rolls \
                 back as soon as it does"
            ))
            .hint(format!("`cargo xtask ssh --robot {robot} -- sudo systemctl restart docker` starts it")),
            Outcome::Refused => Failure::failed(format!("`{robot}` does not begin with release {number}: {reason}"))
                .hint(format!("`cargo xtask prune --robot {robot}` makes room")),
            Outcome::Stuck => Failure::failed(format!("release {number} is unhealthy: {reason}"))
                .hint(format!("`cargo xtask doctor --robot {robot}` looks at what has to be right there")),
        };
        Err(failure.into())
    }
}
