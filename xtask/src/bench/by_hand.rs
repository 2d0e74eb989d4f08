//! What people do by hand: one Dockerfile for the whole workspace, one image for all services, and one of
//! two ways of getting it onto the robot.
//!
//! One image, because it costs them least: images of one stage hold the whole workspace, so that every edit
//! would change each of several.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;

use super::contender::Contender;
use super::copy::Copy;
use super::robot::TestRobot;
use crate::error::Result;
use crate::image::{Builder, base, secrets};
use crate::process::{self, Cmd};
use crate::robot::registry::{self, RegistryClient};

/// The image, here and on the robot.
const IMAGE: &str = "bench-one-stage:latest";

/// Its Dockerfile, from the root of the repository.
const DOCKERFILE: &str = "docker/bench/one-stage.Dockerfile";

/// How the image travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through a tunnel into the robot's registry: only new layers.
    Push,
    /// As one archive: everything, every time.
    Load,
}

/// See the module.
#[derive(Debug)]
pub struct OneStage<'a> {
    copy: &'a Copy,
    builder: Builder,
    way: Way,
    /// The named context of the base that all contenders build on.
    base: String,
    /// Where the tunnel begins.
    port: u16,
}

impl<'a> OneStage<'a> {
    /// Sees to it that the base exists, and finds a free port.
    pub fn new(copy: &'a Copy, builder: Builder, way: Way) -> Result<Self> {
        let workspace = copy.workspace();
        let source = &workspace.bases.values().next().context("no base")?.source;
        let base = base::ensure(workspace, builder, source, &copy.robot()?.platform)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let port = listener.local_addr().context("find a free port")?.port();
        Ok(Self { copy, builder, way, base, port })
    }

    fn pushed(&self) -> String {
        format!("{}/{IMAGE}", self.builder.registry_host(self.port))
    }

    /// `docker build -t IMAGE .`, with the base and the certificates that all contenders have. Without the
    /// attestation that some engines add: its time stamp would replace all containers at every deploy.
    fn build_command(&self) -> Cmd {
        let secrets =
            secrets::of_this_machine().into_iter().flat_map(|secret| ["--secret".to_owned(), secret]);
        Cmd::new("docker")
            .args(["build", "--progress=plain", "--provenance=false", "--tag", IMAGE, "--file", DOCKERFILE])
            .args(["--build-context", &format!("base={}", self.base)])
            .args(secrets)
            .arg(".")
            .dir(&self.copy.workspace().root)
    }

    /// `ssh -N -L`, `docker tag`, `docker push`, and the tunnel closed again.
    fn push(&self, robot: &TestRobot<'_>) -> Result<()> {
        let endpoint = robot.endpoint();
        let forward = format!("127.0.0.1:{}:{}", self.port, registry::HOST);
        let tunnel = endpoint.ssh().args(["-N", "-L", &forward, "--", &endpoint.destination]).spawn()?;
        let registry = RegistryClient::on_port(self.port);
        process::poll("the registry to answer", Duration::from_secs(20), || registry.ping())?;
        Cmd::new("docker").args(["tag", IMAGE, &self.pushed()]).run()?;
        Cmd::new("docker").args(["push", "--quiet", &self.pushed()]).run()?;
        drop(tunnel);
        Ok(())
    }

    /// What happens on the robot once the image has arrived, in one connection.
    fn start(&self) -> String {
        let up = "cd bench && docker compose up --detach";
        match self.way {
            Way::Push => {
                let name = format!("{}/{IMAGE}", registry::HOST);
                format!("docker pull --quiet {name} && docker tag {name} {IMAGE} && {up}")
            }
            Way::Load => up.to_owned(),
        }
    }
}

impl Contender for OneStage<'_> {
    fn id(&self) -> &'static str {
        match self.way {
            Way::Push => "push",
            Way::Load => "load",
        }
    }

    fn title(&self) -> &'static str {
        match self.way {
            Way::Push => "docker push over ssh -L",
            Way::Load => "docker save | ssh docker load",
        }
    }

    fn description(&self) -> &'static str {
        match self.way {
            Way::Push => {
                "one image of one stage for all services: docker build, ssh -N -L, docker push, \
                 ssh (docker pull, docker tag, docker compose up -d)"
            }
            Way::Load => {
                "one image of one stage for all services: docker build, docker save | ssh docker load, \
                 ssh docker compose up -d"
            }
        }
    }

    fn images(&self) -> Vec<String> {
        match self.way {
            Way::Push => vec![IMAGE.to_owned(), self.pushed()],
            Way::Load => vec![IMAGE.to_owned()],
        }
    }

    fn build(&self) -> Result<()> {
        self.build_command().run()
    }

    /// The Compose file and its variables, copied once.
    fn set_up(&self, robot: &TestRobot<'_>) -> Result<()> {
        let variables = robot.variables()?.into_iter().map(|(name, value)| format!("{name}={value}\n"));
        let files = [("compose.yaml", self.copy.compose_with(IMAGE)?), (".env", variables.collect())];
        files.into_iter().try_for_each(|(name, text)| {
            let script = format!("mkdir -p bench && cat >bench/{name}");
            robot.endpoint().command(["sh", "-c", &script]).stdin(text).run()
        })
    }

    fn deploy(&self, robot: &TestRobot<'_>) -> Result<()> {
        self.build_command().run()?;
        match self.way {
            Way::Push => self.push(robot)?,
            Way::Load => {
                let load = robot.endpoint().command(["docker", "load", "--quiet"]);
                let _bytes = load.feed(&Cmd::new("docker").args(["save", IMAGE]))?;
            }
        }
        robot.endpoint().command(["sh", "-c", &self.start()]).run()
    }
}
