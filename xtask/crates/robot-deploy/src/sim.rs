//! Simulated robots: containers on this machine that are robots in every respect that the code can see.
//!
//! Each has an sshd, a Docker Engine and a disk of its own, and is reached by SSH like any other. What is
//! here only makes and removes them, and knows how to reach them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use camino::Utf8PathBuf;

use crate::cmd;
use crate::config::{Host, Robot, Store, Workspace};
use crate::error::{Failure, Result};
use crate::image::{Builder, service};
use crate::process;
use crate::robot::{Endpoint, host_key};
use crate::ui;

/// Marks everything that belongs to the simulated robots of a project.
const LABEL: &str = "dev.cargo-xtask.sim";

/// Tells whether a container was made for this image and this key.
const MAKE_LABEL: &str = "dev.cargo-xtask.sim.make";

/// The user that robots are logged in as.
const USER: &str = "robot";

/// The simulated robots of a workspace.
#[derive(Clone, Copy, Debug)]
pub struct Simulation<'a> {
    workspace: &'a Workspace,
}

/// What is known of one simulated robot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    running: bool,
    make: String,
    port: Option<u16>,
}

impl<'a> Simulation<'a> {
    /// Of a workspace; nothing happens yet.
    pub fn new(workspace: &'a Workspace) -> Self {
        Self { workspace }
    }

    /// Starts a robot unless it runs; makes it, and the image of robots, if need be. Gives the way to it.
    ///
    /// # Errors
    /// Fails when the engine of this machine fails.
    pub fn up(&self, robot: &Robot, builder: Builder) -> Result<Endpoint> {
        let store = store(robot)?;
        let name = self.container(&robot.name);
        let image = service::simulated_robot(builder)?;
        let key = self.public_key()?;
        let make = format!("{image} {} {key}", store_name(store));
        let state = self.state(&name)?;
        let fresh = match &state {
            Some(State { running: true, make: made, port: port @ Some(_) }) if *made == make => {
                return Ok(self.endpoint_at(robot, *port));
            }
            Some(state) if state.make == make => {
                ui::step(&robot.name, "switching the simulated robot on");
                cmd!("docker start {name}")?.run()?;
                self.wait_for_engine(&name)?;
                false
            }
            _ => {
                ui::step(&robot.name, "making a simulated robot");
                self.make(&name, &robot.name, &image, store, &key, &make)?;
                self.wait_for_engine(&name)?;
                true
            }
        };
        let endpoint = self.endpoint(robot)?;
        if fresh && process::mode().dry_run {
            host_key::plan(&endpoint, false)?;
        } else if fresh {
            // Its first boot: nobody else can have been at it.
            host_key::record(&endpoint.known_hosts, &robot.name, &host_key::fetch(&endpoint)?)?;
        }
        Ok(endpoint)
    }

    /// The way to a robot that is up.
    ///
    /// # Errors
    /// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when it is not.
    pub fn endpoint(&self, robot: &Robot) -> Result<Endpoint> {
        let name = self.container(&robot.name);
        let port = self.state(&name)?.and_then(|state| state.port);
        if port.is_none() && !process::mode().dry_run {
            return Err(Failure::unreachable(format!(
                "the simulated robot `{}` is switched off",
                robot.name
            ))
            .hint(format!("`cargo xtask sim up {}`", robot.name))
            .into());
        }
        Ok(self.endpoint_at(robot, port))
    }

    fn endpoint_at(&self, robot: &Robot, port: Option<u16>) -> Endpoint {
        // In a dry run the port may be unknown: Docker chooses it.
        let unknown = port.is_none().then(|| format!("ssh://{USER}@127.0.0.1:PORT"));
        Endpoint {
            robot: robot.name.clone(),
            destination: unknown.unwrap_or_else(|| format!("{USER}@127.0.0.1")),
            port,
            known_hosts: self.dir().join("known_hosts"),
            identity: Some(self.key()),
            compressed: false,
            reconnect: robot.reconnect,
        }
    }

    /// Removes robots with their disks, or all of them with their network and key.
    ///
    /// # Errors
    /// Fails when the engine of this machine fails.
    pub fn down(&self, robots: Option<&BTreeSet<String>>) -> Result<()> {
        let filter = format!("label={LABEL}={}", self.workspace.project.name);
        let mine = |names: String| -> Vec<String> {
            let of = |robot: &String| self.container(robot);
            let wanted: Option<BTreeSet<String>> = robots.map(|robots| robots.iter().map(of).collect());
            names
                .lines()
                .filter(|name| wanted.as_ref().is_none_or(|wanted| wanted.contains(*name)))
                .map(str::to_owned)
                .collect()
        };
        let containers = mine(cmd!("docker ps --all --filter {filter} --format '{{.Names}}'")?.read()?);
        if !containers.is_empty() {
            cmd!("docker rm --force --volumes {containers...}")?.run()?;
        }
        let volumes = mine(cmd!("docker volume ls --filter {filter} --format '{{.Name}}'")?.read()?);
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

    /// Limits a robot's link in both directions: a rate as tc(8) writes it (`50mbit`), or `off`.
    ///
    /// # Errors
    /// Fails when the robot is off or the rate is none.
    pub fn shape(&self, robot: &Robot, rate: &str) -> Result<()> {
        let name = self.container(&robot.name);
        cmd!("docker exec {name} shape-link {rate}")?.run()
    }

    /// What `sim status` shows of a robot: state, address, link.
    ///
    /// # Errors
    /// Fails when the engine of this machine fails.
    pub fn status(&self, robot: &Robot) -> Result<[String; 3]> {
        let name = self.container(&robot.name);
        let Some(state) = self.state(&name)? else {
            return Ok(["not made".into(), String::new(), String::new()]);
        };
        let Some(port) = state.port.filter(|_| state.running) else {
            return Ok(["off".into(), String::new(), String::new()]);
        };
        let link = cmd!("docker exec {name} shape-link show")?.read()?;
        Ok(["on".into(), format!("{USER}@127.0.0.1:{port}"), link])
    }

    /// The container of a robot.
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

    /// The key that opens the simulated robots of this clone, made at first need.
    fn public_key(&self) -> Result<String> {
        // Two robots may be made at the same time.
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.key();
        if !key.is_file() {
            let dir = self.dir();
            cmd!("mkdir -p {dir}")?.run()?;
            cmd!("ssh-keygen -q -t ed25519 -N '' -C 'simulated robots' -f {key}")?.run()?;
            if process::mode().dry_run {
                return Ok("PUBLIC-KEY".to_owned());
            }
        }
        Ok(fs_err::read_to_string(key.with_extension("pub"))?.trim().to_owned())
    }

    fn make(&self, name: &str, robot: &str, image: &str, store: Store, key: &str, make: &str) -> Result<()> {
        let label = format!("{LABEL}={}", self.workspace.project.name);
        let network = self.network();
        let (make, disk) = (format!("{MAKE_LABEL}={make}"), format!("{name}:/var/lib/docker"));
        let (store, keys) = (format!("STORE={}", store_name(store)), format!("AUTHORIZED_KEYS={key}"));
        // One that is there was made for another image, store or key. Its disk stays.
        cmd!("docker rm --force {name}")?.clean_up();
        cmd!("docker volume create --label {label} {name}")?.run()?;
        let exists = cmd!("docker network inspect --format '{{.Id}}' {network}")?;
        if !exists.succeeds()? {
            let created = cmd!("docker network create --label {label} {network}")?.run();
            // Another robot that is being made at the same time may have been first.
            if created.is_err() && !exists.succeeds()? {
                created?;
            }
        }
        cmd!(
            "docker run --detach --privileged --name {name} --hostname {robot} --label {label} --label {make}"
        )?
        .args(["--network", &network, "--shm-size", "256m", "--publish", "127.0.0.1::22"])
        .args(["--volume", &disk, "--env", &store, "--env", &keys, image])
        .run()
    }

    /// Waits until the robot's engine answers: `robotctl` does, and says why it does not.
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
            Err(_) if process::mode().dry_run => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn parse_state(text: &str) -> Option<State> {
    let mut fields = text.split('\t');
    let (running, make, ports) = (fields.next()?, fields.next()?, fields.next()?);
    let port = ports.split_whitespace().next().and_then(|port| port.parse().ok());
    Some(State { running: running == "true", make: make.to_owned(), port })
}

fn store(robot: &Robot) -> Result<Store> {
    match &robot.host {
        Host::Simulated { store } => Ok(*store),
        Host::Ssh { .. } => Err(Failure::config(format!("`{}` is a real robot", robot.name))
            .hint("`sim` is for robots with `simulated = true` in robots.toml")
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
