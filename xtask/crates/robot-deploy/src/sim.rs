//! Simulated robots: containers on this machine that the rest of the code treats like real robots.
//!
//! Each has its own sshd, Docker Engine and disk, and is reached over SSH like any other robot. This module
//! only creates and removes simulated robots and returns their [`Endpoint`].

use std::collections::BTreeSet;

use anyhow::Context as _;
use camino::Utf8PathBuf;
use parking_lot::Mutex;

use crate::cmd;
use crate::config::{Host, Robot, Store, Workspace};
use crate::error::{Failure, FollowedBy as _, Result};
use crate::image::{Builder, service};
use crate::robot::{Endpoint, host_key};
use crate::robot_side::lines;
use crate::{process, ui};

/// Label on every container, volume and network of a project's simulated robots.
const LABEL: &str = "dev.cargo-xtask.sim";

/// Label with the image, image store and SSH key that a container was created for. A container with other
/// values is replaced.
const MAKE_LABEL: &str = "dev.cargo-xtask.sim.make";

/// SSH user of simulated robots.
const USER: &str = "robot";

/// The simulated robots of a workspace.
#[derive(Clone, Copy, Debug)]
pub struct Simulation<'a> {
    workspace: &'a Workspace,
}

/// State of a simulated robot's container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    running: bool,
    make: String,
    port: Option<u16>,
}

impl<'a> Simulation<'a> {
    pub fn new(workspace: &'a Workspace) -> Self {
        Self { workspace }
    }

    /// Starts a robot unless it is running, and returns its endpoint. Creates the container and its image, with `builder`, if
    /// needed.
    pub fn up(&self, robot: &Robot, builder: impl Fn() -> Result<Builder>) -> Result<Endpoint> {
        let store = store(robot)?;
        let name = self.container(&robot.name);
        let key = self.public_key()?;
        let make = format!("{} {} {key}", service::simulated_robot_name(), store_name(store));
        let state = self.state(&name);
        // The usual case: it is not worth the time to ask the engine about itself.
        if let Ok(Some(State { running: true, make: made, port: port @ Some(_) })) = &state
            && *made == make
        {
            return Ok(self.endpoint_at(robot, *port));
        }
        let image = service::simulated_robot(builder()?)?;
        let follow = || process::outcome_needed().followed_by(format!("connecting to `{}`", robot.name));
        match &state? {
            Some(state) if state.make == make => {
                ui::step(&robot.name, "starting the simulated robot");
                cmd!("docker start {name}")?.run()?;
                self.wait_for_engine(&name)?;
                follow()?;
                self.endpoint(robot)
            }
            _ => {
                ui::step(&robot.name, "creating a simulated robot");
                self.make(&name, &robot.name, &image, store, &key, &make)?;
                self.wait_for_engine(&name)?;
                follow()?;
                let endpoint = self.endpoint(robot)?;
                // The container was created a moment ago on this machine, so its first host key can be trusted.
                host_key::record(&endpoint.known_hosts, &robot.name, &host_key::fetch(&endpoint)?)?;
                Ok(endpoint)
            }
        }
    }

    /// Endpoint of a robot that is running.
    ///
    /// # Errors
    /// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when the robot is not running.
    pub fn endpoint(&self, robot: &Robot) -> Result<Endpoint> {
        let name = self.container(&robot.name);
        let port = self.state(&name)?.and_then(|state| state.port);
        if port.is_none() {
            return Err(Failure::unreachable(format!("the simulated robot `{}` is not running", robot.name))
                .hint(format!("`cargo xtask sim up {}` starts it", robot.name))
                .into());
        }
        Ok(self.endpoint_at(robot, port))
    }

    fn endpoint_at(&self, robot: &Robot, port: Option<u16>) -> Endpoint {
        Endpoint {
            robot: robot.name.clone(),
            destination: format!("{USER}@127.0.0.1"),
            port,
            known_hosts: self.dir().join("known_hosts"),
            identity: Some(self.key()),
            compressed: false,
            reconnect: robot.reconnect,
            keep: robot.keep_connection,
            registry_port: robot.registry_port,
        }
    }

    /// Removes these robots and their disks. With `None`, removes all robots of the project, their network
    /// and SSH key.
    pub fn down(&self, robots: Option<&BTreeSet<String>>) -> Result<()> {
        let filter = format!("label={LABEL}={}", self.workspace.project.name);
        let selected: Option<BTreeSet<String>> =
            robots.map(|robots| robots.iter().map(|robot| self.container(robot)).collect());
        let select = |names: String| -> Vec<String> {
            names
                .lines()
                .filter(|name| selected.as_ref().is_none_or(|selected| selected.contains(*name)))
                .map(str::to_owned)
                .collect()
        };
        let containers = select(cmd!("docker ps --all --filter {filter} --format '{{.Names}}'")?.read()?);
        if !containers.is_empty() {
            cmd!("docker rm --force --volumes {containers...}")?.run()?;
        }
        let volumes = select(cmd!("docker volume ls --filter {filter} --format '{{.Name}}'")?.read()?);
        if !volumes.is_empty() {
            cmd!("docker volume rm {volumes...}")?.run()?;
        }
        if robots.is_some() {
            return Ok(());
        }
        let networks = cmd!("docker network ls --filter {filter} --format '{{.Name}}'")?.read()?;
        if !networks.is_empty() {
            let networks = networks.lines();
            cmd!("docker network rm {networks...}")?.run()?;
        }
        let dir = self.dir();
        if dir.is_dir() {
            cmd!("rm -r {dir}")?.run()?;
        }
        Ok(())
    }

    /// Limits the bandwidth of a robot's network link in both directions. `rate` is a rate of tc(8)
    /// (`50mbit`) or `off`.
    pub fn shape(&self, robot: &Robot, rate: &str) -> Result<()> {
        let name = self.container(&robot.name);
        cmd!("docker exec {name} shape-link {rate}")?.run()
    }

    /// State, SSH address and link limit of a robot, as `sim status` shows them.
    pub fn status(&self, robot: &Robot) -> Result<[String; 3]> {
        let name = self.container(&robot.name);
        let Some(state) = self.state(&name)? else {
            return Ok(["not created".into(), String::new(), String::new()]);
        };
        let Some(port) = state.port.filter(|_| state.running) else {
            return Ok(["stopped".into(), String::new(), String::new()]);
        };
        let link = cmd!("docker exec {name} shape-link show")?.read()?;
        Ok(["running".into(), format!("{USER}@127.0.0.1:{port}"), link])
    }

    /// Name of a robot's container. Its volume has the same name.
    pub fn container(&self, robot: &str) -> String {
        format!("{}-sim-{robot}", self.workspace.project.name)
    }

    fn network(&self) -> String {
        format!("{}-sim", self.workspace.project.name)
    }

    fn dir(&self) -> Utf8PathBuf {
        self.workspace.state_dir().join("sim")
    }

    fn key(&self) -> Utf8PathBuf {
        self.dir().join("id_ed25519")
    }

    /// Public SSH key for the simulated robots of this clone. Creates the key pair on first use.
    fn public_key(&self) -> Result<String> {
        // Robots are created in parallel, but only one thread may create the key.
        static CREATING: Mutex<()> = Mutex::new(());
        let _creating = CREATING.lock();
        let key = self.key();
        if !key.is_file() {
            process::create_dir(&self.dir())?;
            cmd!("ssh-keygen -q -t ed25519 -N '' -C 'simulated robots' -f {key}")?.run()?;
            process::outcome_needed().followed_by("creating simulated robots that accept this key")?;
        }
        Ok(fs_err::read_to_string(key.with_extension("pub"))?.trim().to_owned())
    }

    fn make(&self, name: &str, robot: &str, image: &str, store: Store, key: &str, make: &str) -> Result<()> {
        let label = format!("{LABEL}={}", self.workspace.project.name);
        let network = self.network();
        // The label comes with the volume: `down` finds it however the creation is interrupted.
        let disk = format!("type=volume,source={name},target=/var/lib/docker,volume-label={label}");
        let make = format!("{MAKE_LABEL}={make}");
        let (store, keys) = (format!("STORE={}", store_name(store)), format!("AUTHORIZED_KEYS={key}"));
        // An existing container was created for another image, store or key. The volume with its disk stays.
        cmd!("docker rm --force {name}")?.clean_up();
        let exists = cmd!("docker network inspect --format '{{.Id}}' {network}")?;
        if !exists.succeeds()? {
            let created = cmd!("docker network create --label {label} {network}")?.run();
            // A thread that creates another robot may have created the network first.
            if created.is_err() && !exists.succeeds()? {
                created?;
            }
        }
        cmd!(
            "docker run --detach --privileged --name {name} --hostname {robot} --label {label} --label {make}"
        )?
        .args(["--network", &network, "--shm-size", "256m", "--publish", "127.0.0.1::22"])
        .args(["--mount", &disk, "--env", &store, "--env", &keys, image])
        .run()
    }

    /// Waits until the robot's engine answers. `robotctl` does the waiting and prints why the engine does not
    /// start.
    fn wait_for_engine(&self, name: &str) -> Result<()> {
        cmd!("docker exec {name} robotctl docker start")?.run()
    }

    fn state(&self, name: &str) -> Result<Option<State>> {
        let format = format!(
            "{{{{.State.Running}}}}\t{{{{index .Config.Labels \"{MAKE_LABEL}\"}}}}\t\
             {{{{range index .NetworkSettings.Ports \"22/tcp\"}}}}{{{{.HostPort}}}} {{{{end}}}}"
        );
        match cmd!("docker container inspect --format {format} {name}")?.read() {
            Ok(text) => parse_state(&text).with_context(|| format!("read the state of `{name}`")).map(Some),
            Err(error) if format!("{error:#}").to_lowercase().contains("no such container") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn parse_state(text: &str) -> Option<State> {
    let [running, make, ports] = lines::fields(text)[..] else { return None };
    let port = ports.split_whitespace().next().and_then(|port| port.parse().ok());
    Some(State { running: running == "true", make: make.to_owned(), port })
}

fn store(robot: &Robot) -> Result<Store> {
    match &robot.host {
        Host::Simulated { store } => Ok(*store),
        Host::Ssh { .. } => Err(Failure::config(format!("`{}` is a real robot", robot.name))
            .hint("`cargo xtask sim` is only for robots with `simulated = true` in robots.toml")
            .into()),
    }
}

fn store_name(store: Store) -> &'static str {
    match store {
        Store::Containerd => "containerd",
        Store::Classic => "classic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_state_is_read() {
        let state = parse_state("true\txtask-sim:1 classic ssh-ed25519 AAAA x\t32768 ");
        assert_eq!(
            state,
            Some(State {
                running: true,
                make: "xtask-sim:1 classic ssh-ed25519 AAAA x".into(),
                port: Some(32768)
            })
        );
        assert_eq!(parse_state("false\tx\t").and_then(|state| state.port), None);
        assert_eq!(parse_state("rubbish"), None);
    }
}
