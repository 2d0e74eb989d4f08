//! The state of a robot, read by a single remote script: each additional round trip would slow down every
//! deploy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::config::Platform;
use crate::error::{Failure, Result, explained};
use crate::robot_side::Script;
use crate::robot_side::lines::{self, survey as word};

use super::Session;
use super::others::Other;
use super::outcome::PendingOutcome;
use crate::number;

/// A container of the project on the robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub service: String,
    /// Image reference that the container was created from.
    pub reference: String,
    pub image_id: String,
    /// State as Docker calls it: `running`, `exited`, `restarting`, …
    pub state: String,
    /// Exit code; only meaningful once the container has exited.
    pub exit_code: i32,
    /// Start time in RFC 3339.
    pub started: String,
    /// Health as Docker calls it: `healthy`, `starting`, `unhealthy`; empty without a health check.
    pub health: String,
    /// Number of restarts by the engine.
    pub restarts: u32,
    /// Hash of the service's configuration in the release that created the container; empty if it was started
    /// by hand.
    pub hash: String,
}

impl Container {
    /// Parses the fields of a line `container`.
    fn parse(fields: &[&str]) -> Option<Self> {
        let [service, reference, image_id, state, exit_code, started, health, restarts, hash] = *fields
        else {
            return None;
        };
        let [service, hash] = [service, hash].map(label);
        let (exit_code, restarts) = (exit_code.parse().unwrap_or(-1), restarts.parse().unwrap_or_default());
        let [reference, image_id, state, started, health] =
            [reference, image_id, state, started, health].map(str::to_owned);
        Some(Self { service, reference, image_id, state, exit_code, started, health, restarts, hash })
    }

    /// Returns whether the container was a job that has succeeded.
    pub fn ended_well(&self) -> bool {
        self.state == "exited" && self.exit_code == 0
    }

    /// The state for people: Docker calls a container that was stopped `exited`, too. A stop sends SIGTERM or SIGINT,
    /// and SIGKILL at last.
    pub fn state_in_words(&self) -> String {
        match (self.state.as_str(), self.exit_code) {
            ("exited", 0 | 130 | 137 | 143) => "stopped".to_owned(),
            ("exited", code) => format!("exited ({code})"),
            (state, _) => state.to_owned(),
        }
    }

    /// Start time to the second, by the robot's clock, in the form of RFC 3339; empty if it was not started.
    pub fn since(&self) -> String {
        let to_the_second = self.started.split(['.', 'Z']).next().unwrap_or_default();
        let was_started = !to_the_second.is_empty() && !to_the_second.starts_with("0001-");
        if was_started { format!("{to_the_second}Z") } else { String::new() }
    }
}

/// Docker's word for a missing tag or digest.
const NONE: &str = "<none>";

/// An image in the robot's engine, under one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineImage {
    /// `REPOSITORY@sha256:…`.
    pub reference: String,
    /// Tag in that repository; `<none>` if another image has that tag now.
    pub tag: String,
    pub id: String,
}

impl EngineImage {
    fn new(reference: &str, tag: &str, id: &str) -> Self {
        let [reference, tag, id] = [reference, tag, id].map(str::to_owned);
        Self { reference, tag, id }
    }

    /// The rows that `docker image ls` would have for an image. `digests` and `tags` are its names, separated
    /// by spaces.
    fn all(id: &str, digests: &str, tags: &str) -> Vec<Self> {
        let row = |reference: &str, tag: &str| Self::new(reference, tag, id);
        let tags: Vec<(&str, &str)> =
            tags.split_whitespace().filter_map(|name| name.rsplit_once(':')).collect();
        let mut rows = Vec::new();
        for reference in digests.split_whitespace() {
            rows.push(row(reference, NONE));
            let own_tags =
                tags.iter().filter(|(repository, _)| reference.split('@').next() == Some(*repository));
            rows.extend(own_tags.map(|(_, tag)| row(reference, tag)));
        }
        // A classic store has no digest for images that were loaded from an archive.
        rows.extend(tags.iter().map(|(repository, tag)| row(&format!("{repository}@{NONE}"), tag)));
        rows
    }

    /// Returns whether `reference` names this image, by digest or by tag.
    pub fn is_called(&self, reference: &str) -> bool {
        let (repository, _) = self.reference.split_once('@').unwrap_or_default();
        let by_tag = reference.strip_prefix(repository).and_then(|rest| rest.strip_prefix(':'));
        self.reference == reference || by_tag == Some(self.tag.as_str())
    }
}

/// Live edits: files that were replaced in running containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edits {
    pub count: u64,
    /// `user@machine` of the last one.
    pub by: String,
}

impl Edits {
    /// Parses the fields of a line.
    pub(crate) fn parse(count: &str, by: &str) -> Self {
        Self { count: number::said(count).unwrap_or(1), by: by.to_owned() }
    }
}

impl fmt::Display for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} live edit{}", self.count, if self.count == 1 { "" } else { "s" })
    }
}

/// State of a robot; see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub robot: String,
    /// Port of its loopback on which its registry listens.
    pub registry_port: u16,
    /// Output of `uname -m`.
    pub machine: String,
    /// Robot's clock, in seconds since 1970.
    pub clock: u64,
    /// ID of the release that was activated last, if any.
    pub release: Option<String>,
    /// Number of that release.
    pub number: Option<String>,
    /// A value that changes with every activation.
    pub stamp: String,
    /// Live edits since the last activation, see `watch`.
    pub edits: Option<Edits>,
    /// Result of the last activation, unless a person has seen it.
    pub pending: Option<PendingOutcome>,
    /// The project's images that the engine lists, which are the complete ones.
    pub images: Vec<EngineImage>,
    /// Images of the project's containers, also those that the engine does not list: an engine with the
    /// containerd store does not fetch compressed layers whose contents it has already unpacked, and does not
    /// list such images.
    pub in_use: Vec<EngineImage>,
    /// The project's containers, including stopped ones.
    pub containers: Vec<Container>,
    /// Other containers that run there.
    pub others: BTreeSet<Other>,
    /// Hashes of the mounted files that are there.
    pub files: BTreeSet<String>,
    /// Hash of the content that each path of the robot's data began with.
    pub seeds: BTreeMap<String, String>,
}

impl Survey {
    /// Reads the state of a robot. `repository` is the project's repository as the robot's engine calls it.
    pub fn of(session: &Session, project: &str, repository: &str) -> Result<Self> {
        let robot = session.robot();
        let text = session.script(Script::Survey, &[project, repository]).read();
        let survey = Self::parse(robot, &text.map_err(|error| no_answer(robot, error))?);
        // Whoever is added to the group of Docker has to log in.
        let survey = survey.inspect_err(|_| session.leave())?;
        Ok(Self { registry_port: session.endpoint().registry_port, ..survey })
    }

    /// Like [`Survey::of`], without the images that no container runs.
    pub fn of_containers(session: &Session, project: &str) -> Result<Self> {
        Self::of(session, project, "")
    }

    /// Parses the output of the script.
    pub(crate) fn parse(robot: &str, text: &str) -> Result<Self> {
        let mut survey = Self { robot: robot.to_owned(), ..Self::default() };
        for line in lines::read(text) {
            match line[..] {
                [word::MACHINE, machine] => survey.machine = machine.to_owned(),
                [word::CLOCK, seconds] => survey.clock = number::said(seconds).unwrap_or_default(),
                [word::RELEASE, id] => survey.release = Some(id.to_owned()),
                [word::IMAGE, reference, tag, id] => {
                    survey.images.push(EngineImage::new(reference, tag, id));
                }
                [word::IN_USE, id, digests, tags] => {
                    survey.in_use.extend(EngineImage::all(id, digests, tags))
                }
                [word::NUMBER, number] => survey.number = Some(number.to_owned()),
                [word::STAMP, stamp] => survey.stamp = stamp.to_owned(),
                [word::EDITS, count, by] => survey.edits = Some(Edits::parse(count, by)),
                [word::NEWS, release, outcome, reason] => {
                    survey.pending = Some(PendingOutcome::parse(release, outcome, reason));
                }
                [word::CONTAINER, ref fields @ ..] => survey.containers.extend(Container::parse(fields)),
                [word::OTHER, ref fields @ ..] => survey.others.extend(Other::parse(fields)),
                [word::FILE, hash] => {
                    survey.files.insert(hash.to_owned());
                }
                [word::SEED, hash, path] => {
                    survey.seeds.insert(path.to_owned(), hash.to_owned());
                }
                [word::NO_DOCKER, reason] => return Err(no_docker(robot, reason)),
                _ => {}
            }
        }
        Ok(survey)
    }

    /// All images that the robot can run.
    pub fn known(&self) -> impl Iterator<Item = &EngineImage> {
        self.images.iter().chain(&self.in_use)
    }

    /// Returns whether the robot's engine has an image: `REPOSITORY@sha256:…` or `REPOSITORY:TAG`.
    pub fn has_image(&self, reference: &str) -> bool {
        self.known().any(|image| image.is_called(reference))
    }

    /// Returns whether `container` runs the image `reference`. Compares image IDs: a tag may have moved since
    /// the start.
    pub fn runs(&self, container: &Container, reference: &str) -> bool {
        self.known().any(|image| image.is_called(reference) && image.id == container.image_id)
    }

    /// Checks that the robot has the platform that its images are built for.
    ///
    /// # Errors
    /// Fails with a configuration error that names the robot's platform.
    pub fn check_platform(&self, robot: &str, platform: &Platform) -> Result<()> {
        if self.machine.is_empty() {
            return Err(no_answer(robot, anyhow::anyhow!("it does not report its processor architecture")));
        }
        let found = Platform::from_machine(&self.machine);
        if found.arch == platform.arch {
            return Ok(());
        }
        Err(Failure::config(format!("`{robot}` is {found}, but robots.toml says {platform}"))
            .hint(format!("in [robots.{robot}]: platform = \"{found}\""))
            .into())
    }
}

/// Decodes a container label, which the script prints as a JSON string.
pub fn label(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
}

/// The error for a failed script on a robot that was reachable a moment ago.
pub fn no_answer(robot: &str, error: anyhow::Error) -> anyhow::Error {
    explained(error, |error| {
        Failure::failed(format!("`{robot}` does not report what runs there"))
            .because(error)
            .hint(format!("`cargo xtask doctor --robot {robot}` checks what is wrong there"))
            .into()
    })
}

/// The error for a robot whose Docker cannot be used, with the command that fixes it.
pub fn no_docker(robot: &str, reason: &str) -> anyhow::Error {
    let failure = if reason == "not installed" {
        Failure::failed(format!("`{robot}` has no Docker"))
            .hint("on the robot: `sudo apt install docker.io`, or Docker's own packages; Compose v2 as well")
    } else if reason.contains("permission denied") {
        Failure::failed(format!("the SSH user may not use Docker on `{robot}`"))
            .hint("on the robot: `sudo usermod -aG docker $USER`")
    } else {
        Failure::failed(format!("Docker on `{robot}` does not run")).hint(
            "on the robot: `sudo systemctl start docker`; if it stops again, `journalctl -u docker` shows why",
        )
    };
    failure.because(anyhow::anyhow!(reason.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, exit_of};
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_surveys_are_read() {
        let survey = b"Welcome!\nmachine\tx86_64\nclock\t1700000000\nrelease\tcafe\nnumber\t3\nstamp\t1\n\
            news\t3\trestored\tcamera is unhealthy\nother\t\"a\"\t\"b\"\t\"/c\"\t[]\t{}\nimage\ta/x@sha256:aa\tnavigation\tsha256:bb\n\
            in-use\tsha256:bb\ta/x@sha256:aa x@sha256:aa\ta/x:navigation x:navigation\n\
            container\tnavigation\ta/x@sha256:aa\tsha256:bb\trunning\t0\t2026-01-01T00:00:00.5Z\thealthy\t0\tcafe";
        fuzz("survey", 1_000, &[survey, b"no-docker\tnot installed"], |bytes| {
            let Ok(survey) = Survey::parse("main", &text(bytes)) else { return };
            for container in &survey.containers {
                drop((survey.runs(container, &container.reference), container.since()));
            }
            let _ = survey.has_image("a/x@sha256:aa");
            drop(survey.pending.map(|pending| pending.to_string()));
        });
    }

    #[test]
    fn a_survey_is_read_and_greetings_are_skipped() -> Result<()> {
        let text = "Welcome to Ubuntu!\nmachine\tx86_64\nclock\t1700000000\n\
                    image\t127.0.0.1:5000/eurobot@sha256:aa\tnavigation\tsha256:bb\n\
                    container\t\"navigation\"\t127.0.0.1:5000/eurobot@sha256:aa\tsha256:bb\trunning\t0\t2026-01-01T00:00:00Z\t\t0\t\"cafe\"";
        let survey = Survey::parse("main", text)?;
        assert!(survey.has_image("127.0.0.1:5000/eurobot@sha256:aa"));
        assert!(survey.has_image("127.0.0.1:5000/eurobot:navigation"));
        assert!(
            !survey.has_image("127.0.0.1:5000/eurobot:camera") && !survey.has_image("eurobot:navigation")
        );
        let container = &survey.containers[0];
        assert_eq!((container.service.as_str(), container.hash.as_str()), ("navigation", "cafe"));
        assert!(survey.runs(container, "127.0.0.1:5000/eurobot@sha256:aa"));
        assert!(!survey.runs(container, "127.0.0.1:5000/eurobot@sha256:cc"));
        assert_eq!(survey.release, None);
        Ok(())
    }

    #[test]
    fn what_containers_run_is_known_though_the_engine_does_not_list_it() -> Result<()> {
        let text = "in-use\tsha256:bb\ta.b/team/x@sha256:aa eurobot@sha256:aa\ta.b/team/x:navigation eurobot:navigation\n\
                    in-use\tsha256:cc\t\teurobot:camera";
        let survey = Survey::parse("main", text)?;
        assert!(survey.has_image("a.b/team/x@sha256:aa") && survey.has_image("a.b/team/x:navigation"));
        assert!(survey.has_image("eurobot:navigation") && survey.has_image("eurobot:camera"));
        assert!(!survey.has_image("a.b/team/x:camera"));
        let id = |name: &str| survey.known().find(|image| image.is_called(name)).map(|image| &image.id);
        assert_eq!(id("eurobot:camera").map(String::as_str), Some("sha256:cc"));
        Ok(())
    }

    #[test]
    fn docker_that_cannot_be_used_says_why() {
        for (reason, message) in [
            ("not installed", "has no Docker"),
            ("permission denied while trying to connect", "may not use Docker"),
            ("Cannot connect to the Docker daemon", "does not run"),
        ] {
            let error = Survey::parse("main", &format!("no-docker\t{reason}")).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn another_architecture_is_a_configuration_error() {
        let survey = Survey { machine: "aarch64".into(), ..Survey::default() };
        let error = survey.check_platform("main", &Platform::from_machine("x86_64")).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Config);
        assert_eq!(error.to_string(), "`main` is linux/arm64, but robots.toml says linux/amd64");
    }
}
