//! The robots that everybody deploys to, and what they say of themselves.
//!
//! They are asked through the engine of this machine, past their network: questions are no traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;

use super::case::{Case, Edit};
use super::copy::{Copy, PROJECT, Workshop};
use super::gap::{Gap, MOMENTS};
use super::subject::Subject;
use crate::config::Robot;
use crate::error::{Failure, Result};
use crate::image::service;
use crate::process::{self, Cmd};
use crate::robot::{Endpoint, Session, registry};
use crate::sim::Simulation;

/// The containers of a project and the images they run.
const CONTAINERS: &str = r#"
docker container inspect --format '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Status}} {{.Id}} {{.Image}}' \
    $(docker container ls --all --quiet --filter "label=com.docker.compose.project=$1")"#;

/// The checksum of files in a service's container.
const INSTALLED: &str = r#"
container=$(docker container ls --quiet --filter "label=com.docker.compose.project=$1" \
    --filter "label=com.docker.compose.service=$2")
[ -z "$container" ] || docker exec "$container" sh -c "cat $3 | sha256sum""#;

/// A simulated robot, empty at first, its registry running.
#[derive(Debug)]
pub struct TestRobot<'a> {
    simulation: Simulation<'a>,
    robot: &'a Robot,
    subject: Subject,
    endpoint: Endpoint,
}

/// Bytes that passed the robot's network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received by the robot.
    pub to_robot: u64,
    /// Sent by it.
    pub from_robot: u64,
}

impl Traffic {
    /// Of several robots.
    pub fn and(self, other: Self) -> Self {
        Self { to_robot: self.to_robot + other.to_robot, from_robot: self.from_robot + other.from_robot }
    }

    /// What has passed since.
    pub fn since(self, before: Self) -> Self {
        Self { to_robot: self.to_robot - before.to_robot, from_robot: self.from_robot - before.from_robot }
    }
}

/// A container as the robot describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Container {
    state: String,
    id: String,
    image: String,
}

/// What runs on the robot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    containers: BTreeMap<String, Container>,
    /// The checksum of what was edited, in the container that has it.
    installed: String,
}

impl<'a> TestRobot<'a> {
    /// A fresh one, in place of one there may be.
    pub fn make(workshop: &'a Workshop, subject: Subject, name: &str) -> Result<Self> {
        let copy = &workshop.copy;
        let simulation = Simulation::new(copy.workspace());
        let robot = copy.robot(name)?;
        simulation.down(Some(&[name.to_owned()].into()))?;
        let endpoint = simulation.up(robot, workshop.builder)?;
        let image = service::registry(copy.workspace(), workshop.builder, &robot.platform)?;
        registry::ensure(&Session::open(endpoint.clone())?, &image)?;
        Ok(Self { simulation, robot, subject, endpoint })
    }

    /// Removes those of a subject.
    pub fn remove(copy: &Copy, subject: Subject) -> Result<()> {
        let names = subject.robots().iter().map(|name| (*name).to_owned()).collect();
        Simulation::new(copy.workspace()).down(Some(&names))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.robot.name
    }

    /// What it is for.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// The way to it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The variables of its Compose file.
    pub fn variables(&self) -> Result<Vec<(String, String)>> {
        Ok(self.robot.variables()?.into_iter().collect())
    }

    /// Limits its link.
    pub fn shape(&self, rate: &str) -> Result<()> {
        self.simulation.shape(self.robot, rate)
    }

    fn ask(&self, script: &str, args: &[&str]) -> Result<String> {
        let container = self.simulation.container(&self.robot.name);
        Cmd::new("docker")
            .args(["exec", &container, "sh", "-c", script, "sh"])
            .args(args.iter().copied())
            .read()
    }

    /// The counters of its network interface.
    pub fn traffic(&self) -> Result<Traffic> {
        let text = self.ask("cd /sys/class/net/eth0/statistics && cat rx_bytes tx_bytes", &[])?;
        let counts: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        match counts[..] {
            [to_robot, from_robot] => Ok(Traffic { to_robot, from_robot }),
            _ => anyhow::bail!("the robot's interface counts `{text}`"),
        }
    }

    /// Bytes per second while nothing is deployed.
    pub fn background(&self, duration: Duration) -> Result<u64> {
        let before = self.traffic()?;
        process::pause(duration)?;
        let Traffic { to_robot, from_robot } = self.traffic()?.since(before);
        Ok((to_robot + from_robot) / duration.as_secs().max(1))
    }

    /// What runs, as far as the case is interested; `edit` is what is to be looked at.
    pub fn look(&self, case: Case, edit: Option<Edit>) -> Result<Look> {
        let containers = match case {
            // Inspecting no container is an error.
            Case::First => self.ask(&format!("{CONTAINERS} 2>/dev/null || true"), &[PROJECT])?,
            _ => self.ask(CONTAINERS, &[PROJECT])?,
        };
        let installed = match edit {
            Some(edit) => self.ask(INSTALLED, &[PROJECT, edit.service, edit.installed])?,
            None => String::new(),
        };
        Ok(Look { containers: parse(&containers), installed })
    }

    /// How long the edited service was interrupted that ran as in `before`; none where it does not tell when it works.
    pub fn gap(&self, edit: Option<Edit>, before: &Look) -> Result<Option<Gap>> {
        let Some(edit) = edit else { return Ok(None) };
        let (Some(ready), Some(old)) = (edit.ready, before.containers.get(edit.service)) else {
            return Ok(None);
        };
        let text = self.ask(MOMENTS, &[PROJECT, edit.service, &old.id, ready])?;
        Gap::parse(&text, edit.service).map(Some)
    }
}

/// Whether `status` tells of something that runs on a robot: it does not fail where one is off.
pub fn is_told_of(status: &str, robot: &str) -> Result<()> {
    let mut lines = status.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    if lines.any(|words| matches!(words[..], [name, _, "running", ..] if name == robot)) {
        return Ok(());
    }
    Err(Failure::failed(format!("`status` tells of nothing that runs on `{robot}`")).into())
}

fn parse(text: &str) -> BTreeMap<String, Container> {
    let container = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let service = words.next()?;
        Some((service, Container { state: words.next()?, id: words.next()?, image: words.next()? }))
    };
    text.lines().filter_map(container).collect()
}

impl Look {
    /// Whether the case is done: everything runs, and what was edited runs as edited.
    pub fn check(&self, case: Case, edit: Option<Edit>, before: &Self) -> Result<()> {
        let problem = |text: String| Err(Failure::failed(format!("{}: {text}", case.title())).into());
        if self.containers.is_empty() {
            return problem("the robot runs nothing".to_owned());
        }
        if let Some((service, container)) = self.containers.iter().find(|(_, each)| each.state != "running") {
            return problem(format!("`{service}` is {}", container.state));
        }
        let Some(edit) = edit else { return Ok(()) };
        let of = |look: &Self| look.containers.get(edit.service).cloned();
        let now = of(self).with_context(|| format!("the robot does not run `{}`", edit.service))?;
        if of(before).is_some_and(|old| old.id == now.id || old.image == now.image) {
            return problem(format!("`{}` still runs in the container it ran in", edit.service));
        }
        if self.installed == before.installed {
            return problem(format!("`{}` still runs the code it ran", edit.service));
        }
        Ok(())
    }

    /// How many containers were made anew.
    pub fn recreated(&self, before: &Self) -> usize {
        let same = |service: &String, now: &Container| {
            before.containers.get(service).is_some_and(|old| old.id == now.id)
        };
        self.containers.iter().filter(|(service, now)| !same(service, now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(id: &str, image: &str, installed: &str) -> Look {
        let text = format!("localization running {id} {image}\nnavigation running n i");
        Look { containers: parse(&text), installed: installed.to_owned() }
    }

    #[test]
    fn only_new_code_in_a_new_container_counts() -> Result<()> {
        let before = look("1", "a", "x");
        let check = |now: Look, case: Case| now.check(case, case.edit(0), &before);
        check(look("2", "b", "y"), Case::Python)?;
        assert_eq!(look("2", "b", "y").recreated(&before), 1);
        check(look("1", "a", "x"), Case::Python).unwrap_err();
        check(look("2", "a", "y"), Case::Python).unwrap_err();
        check(look("2", "b", "x"), Case::Python).unwrap_err();
        check(look("1", "a", "x"), Case::Nothing)?;
        check(Look::default(), Case::First).unwrap_err();
        Ok(())
    }

    #[test]
    fn a_status_without_the_robots_services_does_not_count() -> Result<()> {
        let status = "ROBOT SERVICE STATE\nmain lidar running healthy\nsecond lidar exited\nthird – off";
        is_told_of(status, "main")?;
        for robot in ["second", "third", "fourth"] {
            is_told_of(status, robot).unwrap_err();
        }
        Ok(())
    }

    #[test]
    fn a_container_that_restarts_is_not_running() {
        let text = "localization restarting 2 b";
        let now = Look { containers: parse(text), installed: "y".to_owned() };
        let error = now.check(Case::Nothing, None, &Look::default()).unwrap_err();
        assert!(error.to_string().contains("`localization` is restarting"), "{error}");
    }
}
