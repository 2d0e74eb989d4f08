//! What people do by hand: one Dockerfile for the whole workspace, one image for all services, and one of
//! two ways of getting it onto the robot.
//!
//! One image, because it costs them least: images of one stage hold the whole workspace, so that an image
//! per service is as many builds and as many new layers for every edit, and no byte less for the first deploy.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;

use super::contender::Contender;
use super::copy::Workshop;
use super::robot::TestRobot;
use super::subject::Subject;
use crate::config::{Platform, Store};
use crate::error::Result;
use crate::image::{Builder, service};
use crate::process::{self, Cmd};
use crate::robot::registry::RegistryClient;

/// Address of people's own registry on the robot. As they start it, it asks for no login.
const REGISTRY: &str = "127.0.0.1:5001";

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
pub struct ByHand<'a> {
    workshop: &'a Workshop,
    way: Way,
    /// Where the tunnel begins.
    port: u16,
}

impl<'a> ByHand<'a> {
    /// Finds a free port.
    pub fn new(workshop: &'a Workshop, way: Way) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let port = listener.local_addr().context("find a free port")?.port();
        Ok(Self { workshop, way, port })
    }

    fn pushed(&self, subject: Subject) -> String {
        format!("{}/{}", self.workshop.builder.registry_host(self.port), subject.image_by_hand())
    }

    /// `ssh -N -L`, `docker tag`, `docker push`, and the tunnel closed again.
    fn push(&self, subject: Subject, robot: &TestRobot<'_>) -> Result<()> {
        let endpoint = robot.endpoint();
        let forward = format!("127.0.0.1:{}:{REGISTRY}", self.port);
        let tunnel =
            endpoint.ssh_that_forwards().args(["-N", "-L", &forward, "--", &endpoint.destination]).spawn()?;
        let registry = RegistryClient::on_port(self.port);
        process::poll("the registry to answer", Duration::from_secs(20), || registry.ping())?;
        let pushed = self.pushed(subject);
        Cmd::new("docker").args(["tag", subject.image_by_hand(), &pushed]).run()?;
        Cmd::new("docker").args(["push", "--quiet", &pushed]).run()?;
        drop(tunnel);
        Ok(())
    }

    /// Starts a registry, once: the image is there.
    fn start_registry(&self, robot: &TestRobot<'_>) -> Result<()> {
        let (copy, builder) = (&self.workshop.copy, self.workshop.builder);
        let image = service::registry(copy.workspace(), builder, &Platform::of_this_machine())?;
        let address = format!("REGISTRY_HTTP_ADDR={REGISTRY}");
        let run = ["docker", "run", "--detach", "--restart", "always", "--network", "host"];
        let volume = ["--name", "registry", "--volume", "registry:/var/lib/registry"];
        let settings = ["--env", &address, "--env", "REGISTRY_AUTH=none", &image];
        robot.endpoint().command([&run[..], &volume, &settings].concat()).run()
    }

    /// What happens on the robot once the image has arrived, in one connection.
    fn start(&self, subject: Subject) -> String {
        let up = "cd bench && docker compose up --detach";
        match self.way {
            Way::Push => {
                let image = subject.image_by_hand();
                let name = format!("{REGISTRY}/{image}");
                format!("docker pull --quiet {name} && docker tag {name} {image} && {up}")
            }
            Way::Load => up.to_owned(),
        }
    }
}

/// How `docker build` leaves an image where nobody else has built: engines with a containerd store would take the
/// layers that they have as others left them, uncompressed for instance, which costs more on the way.
fn output(builder: Builder, image: &str) -> [String; 2] {
    match builder {
        Builder::Engine { store: Store::Containerd } => {
            let format = "compression=gzip,force-compression=true,unpack=true";
            ["--output".to_owned(), format!("type=image,name={image},{format}")]
        }
        _ => ["--tag".to_owned(), image.to_owned()],
    }
}

impl Contender for ByHand<'_> {
    fn title(&self) -> &'static str {
        match self.way {
            Way::Push => "docker push over ssh -L",
            Way::Load => "docker save | ssh docker load",
        }
    }

    fn description(&self) -> &'static str {
        match self.way {
            Way::Push => {
                "of the workspace one image of one stage for all services: docker build, ssh -N -L, docker push, \
                 ssh (docker pull, docker tag, docker compose up -d)"
            }
            Way::Load => {
                "of the workspace one image of one stage for all services: docker build, \
                 docker save | ssh docker load, ssh docker compose up -d"
            }
        }
    }

    fn images(&self, subject: Subject) -> Vec<String> {
        vec![subject.image_by_hand().to_owned()]
    }

    fn build(&self, subject: Subject) -> Result<()> {
        let output = output(self.workshop.builder, subject.image_by_hand());
        subject.build_by_hand(self.workshop).args(output).run()
    }

    /// The Compose file and its variables, copied once.
    fn set_up(&self, robot: &TestRobot<'_>) -> Result<()> {
        if self.way == Way::Push {
            self.start_registry(robot)?;
        }
        let image = robot.subject().image_by_hand();
        let variables = robot.variables()?.into_iter().map(|(name, value)| format!("{name}={value}\n"));
        let compose = self.workshop.copy.compose_with(robot.name(), image)?;
        let files = [("compose.yaml", compose), (".env", variables.collect())];
        files.into_iter().try_for_each(|(name, text)| {
            let script = format!("mkdir -p bench && cat >bench/{name}");
            robot.endpoint().command(["sh", "-c", &script]).stdin(text).run()
        })
    }

    fn deploy(&self, subject: Subject, robots: &[TestRobot<'_>]) -> Result<()> {
        self.build(subject)?;
        for robot in robots {
            match self.way {
                Way::Push => self.push(subject, robot)?,
                Way::Load => {
                    let load = robot.endpoint().command(["docker", "load", "--quiet"]);
                    let _bytes = load.feed(&Cmd::new("docker").args(["save", subject.image_by_hand()]))?;
                }
            }
            robot.endpoint().command(["sh", "-c", &self.start(subject)]).run()?;
        }
        Ok(())
    }

    fn status(&self, _robots: &[TestRobot<'_>]) -> Result<String> {
        anyhow::bail!("by hand there is no status of robots: the plan leaves it out")
    }
}

impl Drop for ByHand<'_> {
    /// The names that `docker push` needed; the images themselves go with everybody's.
    fn drop(&mut self) {
        if self.way == Way::Push {
            let names = Subject::ALL.map(|subject| self.pushed(subject));
            Cmd::new("docker").args(["image", "rm", "--force"]).args(names).clean_up();
        }
    }
}
