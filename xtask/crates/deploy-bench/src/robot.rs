//! The simulated robots of the benchmark, and their state as the robots report it.
//!
//! Queries go through this machine's Docker engine and bypass the robots' network, so that they cause no
//! traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;

use super::case::{Case, Edit};
use super::copy::WorkspaceCopy;
use super::downtime::{Downtime, TIMESTAMPS};
use super::fixture::Fixture;
use super::robots_toml::PROJECT;
use super::workload::Workload;
use robot_deploy::config::Robot;
use robot_deploy::error::{Failure, Result};
use robot_deploy::image::service;
use robot_deploy::process::{self, Cmd};
use robot_deploy::robot::{Endpoint, Session, registry};
use robot_deploy::sim::Simulation;

/// Script that prints the containers of a project: SERVICE STATE ID IMAGE.
const CONTAINERS: &str = r#"
docker container inspect --format '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Status}} {{.Id}} {{.Image}}' \
    $(docker container ls --all --quiet --filter "label=com.docker.compose.project=$1")"#;

/// Script that prints the checksum of files in a service's container.
const INSTALLED: &str = r#"
container=$(docker container ls --quiet --filter "label=com.docker.compose.project=$1" \
    --filter "label=com.docker.compose.service=$2")
[ -z "$container" ] || docker exec "$container" sh -c "cat $3 | sha256sum""#;

/// A simulated robot: empty at first, with a running registry.
#[derive(Debug)]
pub(crate) struct TestRobot<'a> {
    simulation: Simulation<'a>,
    robot: &'a Robot,
    workload: Workload,
    endpoint: Endpoint,
}

/// Bytes counted at the robot's network interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub to_robot: u64,
    pub from_robot: u64,
}

impl Traffic {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { to_robot: self.to_robot + other.to_robot, from_robot: self.from_robot + other.from_robot }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { to_robot: self.to_robot - before.to_robot, from_robot: self.from_robot - before.from_robot }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Container {
    state: String,
    id: String,
    image: String,
}

/// State of the services on a robot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    containers: BTreeMap<String, Container>,
    /// Checksum of the edited file in its container; empty without an edit.
    installed: String,
}

impl<'a> TestRobot<'a> {
    /// Creates a robot; removes an earlier robot of that name.
    pub(crate) fn make(fixture: &'a Fixture, workload: Workload, name: &str) -> Result<Self> {
        let copy = &fixture.copy;
        let simulation = Simulation::new(copy.workspace());
        let robot = copy.robot(name)?;
        simulation.down(Some(&[name.to_owned()].into()))?;
        let endpoint = simulation.up(robot, || Ok(fixture.builder))?;
        let image = service::registry(fixture.builder, &robot.platform)?;
        registry::ensure(&Session::open(endpoint.clone())?, &image)?;
        Ok(Self { simulation, robot, workload, endpoint })
    }

    /// Removes the robots of a workload.
    pub(crate) fn remove(copy: &WorkspaceCopy, workload: Workload) -> Result<()> {
        let names = workload.robots().iter().map(|name| (*name).to_owned()).collect();
        Simulation::new(copy.workspace()).down(Some(&names))
    }

    pub(crate) fn name(&self) -> &str {
        &self.robot.name
    }

    pub(crate) fn workload(&self) -> Workload {
        self.workload
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Variables of the robot's Compose file.
    pub(crate) fn variables(&self) -> Result<Vec<(String, String)>> {
        Ok(self.robot.variables()?.into_iter().collect())
    }

    /// Limits the rate of the robot's link.
    pub(crate) fn shape(&self, rate: &str) -> Result<()> {
        self.simulation.shape(self.robot, rate)
    }

    /// Returns the output of a script that runs on the robot.
    fn query(&self, script: &str, args: &[&str]) -> Result<String> {
        let container = self.simulation.container(&self.robot.name);
        Cmd::new("docker")
            .args(["exec", &container, "sh", "-c", script, "sh"])
            .args(args.iter().copied())
            .read()
    }

    /// Counters of the robot's network interface.
    pub(crate) fn traffic(&self) -> Result<Traffic> {
        let text = self.query("cd /sys/class/net/eth0/statistics && cat rx_bytes tx_bytes", &[])?;
        let counts: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        match counts[..] {
            [to_robot, from_robot] => Ok(Traffic { to_robot, from_robot }),
            _ => anyhow::bail!("cannot parse the counters of the robot's network interface: `{text}`"),
        }
    }

    /// Bytes per second while nothing is deployed.
    pub(crate) fn background(&self, duration: Duration) -> Result<u64> {
        let before = self.traffic()?;
        process::pause(duration)?;
        let Traffic { to_robot, from_robot } = self.traffic()?.since(before);
        Ok((to_robot + from_robot) / duration.as_secs().max(1))
    }

    /// Takes a snapshot of the robot, which includes the file that `edit` changes.
    pub(crate) fn snapshot(&self, case: Case, edit: Option<Edit>) -> Result<Snapshot> {
        let containers = match case {
            // Before a first deploy there are no containers, and `inspect` without arguments fails.
            Case::First => self.query(&format!("{CONTAINERS} 2>/dev/null || true"), &[PROJECT])?,
            _ => self.query(CONTAINERS, &[PROJECT])?,
        };
        let installed = match edit {
            Some(edit) => self.query(INSTALLED, &[PROJECT, edit.service, edit.installed])?,
            None => String::new(),
        };
        Ok(Snapshot { containers: parse(&containers), installed })
    }

    /// Downtime of the edited service since the snapshot `before`; `None` if the service logs no ready
    /// message.
    pub(crate) fn downtime(&self, edit: Option<Edit>, before: &Snapshot) -> Result<Option<Downtime>> {
        let Some(edit) = edit else { return Ok(None) };
        let (Some(ready), Some(old)) = (edit.ready, before.containers.get(edit.service)) else {
            return Ok(None);
        };
        let text = self.query(TIMESTAMPS, &[PROJECT, edit.service, &old.id, ready])?;
        Downtime::parse(&text, edit.service).map(Some)
    }
}

/// Checks that the output of `status` lists a running service of `robot`: the command succeeds even if a
/// robot is off.
pub(crate) fn check_status(status: &str, robot: &str) -> Result<()> {
    let mut lines = status.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    if lines.any(|words| matches!(words[..], [name, _, "running", ..] if name == robot)) {
        return Ok(());
    }
    Err(Failure::failed(format!("`status` lists no running service on `{robot}`")).into())
}

fn parse(text: &str) -> BTreeMap<String, Container> {
    let container = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let service = words.next()?;
        Some((service, Container { state: words.next()?, id: words.next()?, image: words.next()? }))
    };
    text.lines().filter_map(container).collect()
}

impl Snapshot {
    /// Checks that all services run, and that the edited service runs the edit; in a new container if `is_replaced`.
    pub(crate) fn check(
        &self,
        case: Case,
        edit: Option<Edit>,
        before: &Self,
        is_replaced: bool,
    ) -> Result<()> {
        let problem = |text: String| Err(Failure::failed(format!("{}: {text}", case.title())).into());
        if self.containers.is_empty() {
            return problem("no container exists on the robot".to_owned());
        }
        if let Some((service, container)) = self.containers.iter().find(|(_, each)| each.state != "running") {
            return problem(format!("`{service}` is {}", container.state));
        }
        let Some(edit) = edit else { return Ok(()) };
        let container = |snapshot: &Self| snapshot.containers.get(edit.service).cloned();
        let now = container(self).with_context(|| format!("`{}` does not run on the robot", edit.service))?;
        let is_old = |old: Container| old.id == now.id || old.image == now.image;
        if is_replaced && container(before).is_some_and(is_old) {
            return problem(format!(
                "`{}` still runs in the old container or from the old image",
                edit.service
            ));
        }
        if self.installed == before.installed {
            return problem(format!("`{}` still runs the old code", edit.service));
        }
        Ok(())
    }

    /// Number of containers that are new since `before`.
    pub(crate) fn recreated(&self, before: &Self) -> usize {
        let same = |service: &String, now: &Container| {
            before.containers.get(service).is_some_and(|old| old.id == now.id)
        };
        self.containers.iter().filter(|(service, now)| !same(service, now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(id: &str, image: &str, installed: &str) -> Snapshot {
        let text = format!("localization running {id} {image}\nnavigation running n i");
        Snapshot { containers: parse(&text), installed: installed.to_owned() }
    }

    #[test]
    fn only_new_code_in_a_new_container_counts() -> Result<()> {
        let before = snapshot("1", "a", "x");
        let check = |now: Snapshot, case: Case| now.check(case, case.edit(0), &before, true);
        check(snapshot("2", "b", "y"), Case::Python)?;
        assert_eq!(snapshot("2", "b", "y").recreated(&before), 1);
        check(snapshot("1", "a", "x"), Case::Python).unwrap_err();
        check(snapshot("2", "a", "y"), Case::Python).unwrap_err();
        check(snapshot("2", "b", "x"), Case::Python).unwrap_err();
        check(snapshot("1", "a", "x"), Case::Nothing)?;
        check(Snapshot::default(), Case::First).unwrap_err();
        snapshot("1", "a", "y").check(Case::Python, Case::Python.edit(0), &before, false)?;
        Ok(())
    }

    #[test]
    fn a_status_without_a_running_service_is_an_error() -> Result<()> {
        let status = "ROBOT SERVICE STATE\nmain lidar running healthy\nsecond lidar exited\nthird – off";
        check_status(status, "main")?;
        for robot in ["second", "third", "fourth"] {
            check_status(status, robot).unwrap_err();
        }
        Ok(())
    }

    #[test]
    fn a_container_that_restarts_is_not_running() {
        let text = "localization restarting 2 b";
        let now = Snapshot { containers: parse(text), installed: "y".to_owned() };
        let error = now.check(Case::Nothing, None, &Snapshot::default(), true).unwrap_err();
        assert!(error.to_string().contains("`localization` is restarting"), "{error}");
    }
}
