//! Deploying by hand: one Dockerfile for the whole workspace, one image for all services, and one of two ways
//! to bring the image to the robot.
//!
//! One image is the cheapest choice by hand. A single-stage image contains the whole workspace. With one
//! image per service, every edit would cause one build and one new layer per service, and the first deploy
//! would send as much.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;

use super::fixture::Fixture;
use super::method::Method;
use super::robot::TestRobot;
use super::workload::Workload;
use robot_deploy::config::{Platform, Store};
use robot_deploy::error::Result;
use robot_deploy::image::{Builder, service};
use robot_deploy::process::{self, Cmd};
use robot_deploy::robot::registry::RegistryClient;

/// Address of a plain registry on the robot. It requires no login, as usual for a registry started by hand.
const REGISTRY: &str = "127.0.0.1:5001";

/// Way of bringing the image to the robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageTransport {
    /// `docker push` through a tunnel to the robot's registry: sends only new layers.
    Push,
    /// `docker save` piped to `docker load`: sends the whole image every time.
    Load,
}

#[derive(Debug)]
pub(crate) struct ByHand<'a> {
    fixture: &'a Fixture,
    transport: ImageTransport,
    /// Local port of the tunnel.
    port: u16,
}

impl<'a> ByHand<'a> {
    pub(crate) fn new(fixture: &'a Fixture, transport: ImageTransport) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let port = listener.local_addr().context("find a free port")?.port();
        Ok(Self { fixture, transport, port })
    }

    /// Name under which `docker push` reaches the robot's registry.
    fn pushed(&self, workload: Workload) -> String {
        format!("{}/{}", self.fixture.builder.registry_host(self.port), workload.image_by_hand())
    }

    /// Runs `ssh -N -L`, `docker tag` and `docker push`, and closes the tunnel.
    fn push(&self, workload: Workload, robot: &TestRobot<'_>) -> Result<()> {
        let endpoint = robot.endpoint();
        let forward = format!("127.0.0.1:{}:{REGISTRY}", self.port);
        let tunnel = endpoint.only_forward(&forward).spawn()?;
        let registry = RegistryClient::on_port(self.port);
        process::poll("the registry to answer", Duration::from_secs(20), || registry.ping())?;
        let pushed = self.pushed(workload);
        Cmd::new("docker").args(["tag", workload.image_by_hand(), &pushed]).run()?;
        Cmd::new("docker").args(["push", "--quiet", &pushed]).run()?;
        drop(tunnel);
        Ok(())
    }

    /// Starts the registry on the robot, which has the registry's image.
    fn start_registry(&self, robot: &TestRobot<'_>) -> Result<()> {
        let image = service::registry(self.fixture.builder, &Platform::of_this_machine())?;
        let address = format!("REGISTRY_HTTP_ADDR={REGISTRY}");
        let run = ["docker", "run", "--detach", "--restart", "always", "--network", "host"];
        let volume = ["--name", "registry", "--volume", "registry:/var/lib/registry"];
        let settings = ["--env", &address, "--env", "REGISTRY_AUTH=none", &image];
        robot.endpoint().command([&run[..], &volume, &settings].concat()).run()
    }

    /// Script that starts the image on the robot, over one connection.
    fn start_script(&self, workload: Workload) -> String {
        let up = "cd bench && docker compose up --detach";
        match self.transport {
            ImageTransport::Push => {
                let image = workload.image_by_hand();
                let name = format!("{REGISTRY}/{image}");
                format!("docker pull --quiet {name} && docker tag {name} {image} && {up}")
            }
            ImageTransport::Load => up.to_owned(),
        }
    }
}

/// Output options with which `docker build` compresses all layers, as on a machine where only this method
/// builds. Engines with a containerd store would otherwise reuse layers as another method left them,
/// uncompressed for instance, which would send more bytes.
fn output(builder: Builder, image: &str) -> [String; 2] {
    match builder {
        Builder::Engine { store: Store::Containerd } => {
            let format = "compression=gzip,force-compression=true,unpack=true";
            ["--output".to_owned(), format!("type=image,name={image},{format}")]
        }
        _ => ["--tag".to_owned(), image.to_owned()],
    }
}

impl Method for ByHand<'_> {
    fn title(&self) -> &'static str {
        match self.transport {
            ImageTransport::Push => "docker push over ssh -L",
            ImageTransport::Load => "docker save | ssh docker load",
        }
    }

    fn description(&self) -> &'static str {
        match self.transport {
            ImageTransport::Push => {
                "the workspace as one single-stage image for all services; docker build, ssh -N -L, docker push, \
                 ssh (docker pull, docker tag, docker compose up -d)"
            }
            ImageTransport::Load => {
                "the workspace as one single-stage image for all services; docker build, \
                 docker save | ssh docker load, ssh docker compose up -d"
            }
        }
    }

    fn fixture(&self) -> &Fixture {
        self.fixture
    }

    fn images(&self, workload: Workload) -> Vec<String> {
        vec![workload.image_by_hand().to_owned()]
    }

    fn build(&self, workload: Workload) -> Result<()> {
        let output = output(self.fixture.builder, workload.image_by_hand());
        self.fixture.build_by_hand(workload).args(output).run()
    }

    /// Copies the Compose file, its variables and the files that it mounts.
    fn set_up(&self, robot: &TestRobot<'_>) -> Result<()> {
        let root = &self.fixture.copy.workspace().root;
        let pack = Cmd::new("tar").args(["-cf", "-", "-C", root.as_str(), "ros_ws/params"]);
        robot.endpoint().command(["tar", "-xf", "-"]).feed(&pack)?;
        if self.transport == ImageTransport::Push {
            self.start_registry(robot)?;
        }
        let image = robot.workload().image_by_hand();
        let variables = robot.variables()?.into_iter().map(|(name, value)| format!("{name}={value}\n"));
        let compose = self.fixture.copy.compose_with(robot.name(), image)?;
        let files = [("compose.yaml", compose), (".env", variables.collect())];
        files.into_iter().try_for_each(|(name, text)| {
            let script = format!("mkdir -p bench && cat >bench/{name}");
            robot.endpoint().command(["sh", "-c", &script]).stdin(text).run()
        })
    }

    fn deploy(&self, workload: Workload, robots: &[TestRobot<'_>]) -> Result<()> {
        self.build(workload)?;
        for robot in robots {
            match self.transport {
                ImageTransport::Push => self.push(workload, robot)?,
                ImageTransport::Load => {
                    let load = robot.endpoint().command(["docker", "load", "--quiet"]);
                    load.feed(&Cmd::new("docker").args(["save", workload.image_by_hand()]))?;
                }
            }
            robot.endpoint().command(["sh", "-c", &self.start_script(workload)]).run()?;
        }
        Ok(())
    }
}

impl Drop for ByHand<'_> {
    /// Removes the tags that `docker push` needed; [`super::copy::CleanUp`] removes the images.
    fn drop(&mut self) {
        if self.transport == ImageTransport::Push {
            let names = Workload::ALL.map(|workload| self.pushed(workload));
            Cmd::new("docker").args(["image", "rm", "--force"]).args(names).clean_up();
        }
    }
}
