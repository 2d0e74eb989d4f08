//! Status of a robot: the current release, its services and their drift, and the state of the machine.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::stored::{self, StoredRelease};
use crate::error::Result;
use crate::number::kibibytes;
use crate::parallel;
use crate::robot::survey::{Container, Edits, no_answer};
use crate::robot::{Session, Survey, registry};
use crate::robot_side::Script;
use crate::robot_side::lines::{self, status as word};

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Status {
    /// The current release; `None` if nothing has been deployed.
    pub release: Option<StoredRelease>,
    /// Live edits of the release.
    pub live_edits: Option<Edits>,
    /// Text about an activation that has not ended, or an unreported result.
    pub note: Option<String>,
    /// Services of the release, and others that were started by hand.
    pub services: Vec<Service>,
    /// Free bytes on the disk of the engine's data.
    pub disk_free: Option<u64>,
    /// Size of that disk in bytes.
    pub disk_size: Option<u64>,
    /// Load average over a minute: proc(5), `loadavg`.
    pub load: Option<f64>,
    pub processors: Option<u32>,
    /// Degrees Celsius of the hottest sensor; `None` on a robot without sensors.
    pub temperature: Option<f64>,
    /// Seconds by which the robot's clock is ahead of this machine's.
    pub clock_ahead: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Service {
    pub service: String,
    /// State of the container in Docker's words, but `stopped` or `exited (CODE)` instead of `exited`; `missing` if
    /// there is no container.
    pub state: String,
    /// Health in Docker's words; empty without a health check.
    pub health: String,
    /// Number of restarts by the engine.
    pub restarts: u32,
    /// Digest of the image in the container's configuration.
    pub image: String,
    /// Time of its start, by the robot's clock.
    pub since: String,
    /// Difference from the release.
    pub drift: Option<String>,
}

/// Parsed output of the script.
#[derive(Debug, Default)]
struct Facts {
    activation: Option<String>,
    status: Status,
}

impl Status {
    /// Reads the status from the robot.
    pub(crate) fn of(session: &Session, project: &str) -> Result<Self> {
        let (survey, text) = parallel::both(
            || Survey::of_containers(session, project).map(|survey| (survey, SystemTime::now())),
            || session.command(Script::Status.argv(&[project, registry::CONTAINER])).read(),
        );
        let (survey, now) = survey?;
        let text = text.map_err(|error| no_answer(session.robot(), error))?;
        Ok(Self::from(&survey, now, &text))
    }

    fn from(survey: &Survey, now: SystemTime, text: &str) -> Self {
        let Facts { activation, mut status } = Facts::parse(text);
        let wanted = stored::wanted(text);
        status.release = stored::parse(text).into_iter().find(|stored| stored.is_current);
        status.live_edits = survey.edits.clone();
        status.note = activation.or_else(|| survey.pending.as_ref().map(ToString::to_string));
        if status.release.is_none() {
            status.note.get_or_insert_with(|| "nothing has been deployed yet".to_owned());
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        status.clock_ahead = survey.clock.cast_signed().saturating_sub(now.cast_signed());
        let mut services: Vec<Service> =
            survey.containers.iter().map(|container| Service::of(container, survey, &wanted)).collect();
        let is_there = |name: &String| survey.containers.iter().any(|container| container.service == *name);
        let names =
            wanted.keys().cloned().chain(survey.containers.iter().map(|container| container.service.clone()));
        for (project, twins) in survey.twins(&names.collect()) {
            services.extend(twins.into_iter().map(|name| Service::of_other(name, project)));
        }
        services.extend(wanted.keys().filter(|name| !is_there(name)).map(|name| Service::missing(name)));
        services.sort_by(|one, other| one.service.cmp(&other.service));
        status.services = services;
        status
    }
}

impl Facts {
    fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        let status = &mut facts.status;
        for line in lines::read(text) {
            match line[..] {
                [word::GOING, number] => facts.activation = Some(format!("activating release {number}")),
                [word::BROKEN_OFF, number] => {
                    facts.activation = Some(format!(
                        "the activation of release {number} was interrupted; `cargo xtask deploy` ends it"
                    ));
                }
                [word::DISK, free, size] => {
                    (status.disk_free, status.disk_size) = (kibibytes(free), kibibytes(size))
                }
                [word::LOAD, load, processors] => {
                    (status.load, status.processors) = (load.parse().ok(), processors.parse().ok());
                }
                [word::TEMPERATURE, millidegrees] => {
                    status.temperature =
                        millidegrees.parse::<f64>().ok().map(|millidegrees| millidegrees / 1e3);
                }
                _ => {}
            }
        }
        facts
    }
}

impl Service {
    fn of(container: &Container, survey: &Survey, wanted: &BTreeMap<String, String>) -> Self {
        let drift = match wanted.get(&container.service) {
            None if wanted.is_empty() => None,
            None => Some("not part of this release"),
            Some(hash) if *hash != container.hash => Some("started with settings other than the release's"),
            Some(_) if !survey.runs(container, &container.reference) => Some("runs a different image"),
            Some(_) => None,
        };
        let digest = container.reference.rsplit(['@', '-']).next().unwrap_or_default();
        Self {
            service: container.service.clone(),
            state: container.state_in_words(),
            // The health of a container that does not run is that before its end.
            health: if container.state == "running" { container.health.clone() } else { String::new() },
            restarts: container.restarts,
            image: digest.to_owned(),
            since: container.since(),
            drift: drift.map(str::to_owned),
        }
    }

    fn missing(name: &str) -> Self {
        Self::stray(name, "missing", "the release has this service".to_owned())
    }

    /// A service of the same name in another Compose project.
    fn of_other(name: &str, project: &str) -> Self {
        Self::stray(name, "running", format!("a service of the Compose project `{project}`"))
    }

    fn stray(name: &str, state: &str, drift: String) -> Self {
        Self {
            service: name.to_owned(),
            state: state.to_owned(),
            health: String::new(),
            restarts: 0,
            image: String::new(),
            since: String::new(),
            drift: Some(drift),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};
    use crate::process::Cmd;
    use crate::robot::survey::EngineImage;

    #[test]
    fn fuzzed_states_of_robots_are_parsed() {
        let state = b"clock\t86400\ngoing\t3\nbroken-off\t4\nwanted\tnavigation\th1\nwanted\tgone\th4\n\
            disk\t1000\t2000\nload\t0.25\t4\ntemperature\t48500\nrelease\t3\tcurrent\t{}\n\
            container\tnavigation\ta@sha256:aa\tsha256:bb\trunning\t0\t2026-01-01T00:00:00Z\t\t0\th1";
        fuzz("status", 1_000, &[state, b"disk\t18446744073709551615\t1"], |bytes| {
            let text = text(bytes);
            let survey = Survey::parse("main", &text).unwrap_or_default();
            drop(serde_json::to_string(&Status::from(&survey, SystemTime::now(), &text)).unwrap());
        });
    }

    #[test]
    fn a_robot_without_a_release_has_a_status() -> Result<()> {
        let home = tempfile::tempdir()?;
        let home = format!("HOME={}", home.path().display());
        let text =
            Cmd::new("env").arg(home).args(Script::Status.argv(&["eurobot", "xtask-registry"])).read()?;
        let status = Status::from(&Survey::default(), UNIX_EPOCH, &text);
        assert!(status.release.is_none() && status.services.is_empty() && status.load.is_some());
        Ok(())
    }

    fn container(service: &str, hash: &str, image_id: &str) -> Container {
        Container {
            service: service.to_owned(),
            reference: "127.0.0.1:5000/eurobot@sha256:aa".to_owned(),
            image_id: image_id.to_owned(),
            state: "running".to_owned(),
            exit_code: 0,
            started: "2026-01-01T00:00:00.1Z".to_owned(),
            health: String::new(),
            restarts: 0,
            hash: hash.to_owned(),
        }
    }

    #[test]
    fn drift_from_the_release_is_found() {
        let image = EngineImage {
            reference: "127.0.0.1:5000/eurobot@sha256:aa".to_owned(),
            tag: "navigation".to_owned(),
            id: "1".to_owned(),
        };
        let containers = vec![
            container("as-it-should-be", "h1", "1"),
            container("other-settings", "h9", "1"),
            container("other-image", "h3", "2"),
            container("by-hand", "", "1"),
        ];
        let survey = Survey { clock: 86_400, images: vec![image], containers, ..Survey::default() };
        let text = "wanted\tas-it-should-be\th1\nwanted\tother-settings\th2\nwanted\tother-image\th3\nwanted\tgone\th4\n\
                    disk\t1000\t2000\nload\t0.25\t4\ntemperature\t48500\nrelease\t3\tcurrent\t{}";
        let status = Status::from(&survey, UNIX_EPOCH, text);
        let drift: Vec<_> = status
            .services
            .iter()
            .map(|service| (service.service.as_str(), service.drift.is_some()))
            .collect();
        let expected = [
            ("as-it-should-be", false),
            ("by-hand", true),
            ("gone", true),
            ("other-image", true),
            ("other-settings", true),
        ];
        assert_eq!(drift, expected);
        assert_eq!((status.disk_free, status.temperature), (Some(1_024_000), Some(48.5)));
        assert_eq!((status.clock_ahead, status.release.map(|stored| stored.release)), (86_400, Some(3)));
    }
}
