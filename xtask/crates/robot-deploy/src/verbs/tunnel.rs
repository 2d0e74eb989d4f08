//! `cargo xtask tunnel`: holds a tunnel to a robot's registry open, for a manual `docker push`.

use std::time::Duration;

use super::{RobotArg, builder, workspace};
use crate::error::{FollowedBy as _, Result, until_interrupted};
use crate::host::Need;
use crate::image::service;
use crate::process;
use crate::reach::reach;
use crate::robot::{Session, Tunnel, registry, tunnel};
use crate::ui;

/// Interval between checks of the connection. Ctrl-C ends the wait at once.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

#[derive(clap::Args, Debug)]
#[command(after_help = "Example, while the tunnel is open, in another terminal:
  docker tag debian:trixie 127.0.0.1:5000/debian:trixie && docker push 127.0.0.1:5000/debian:trixie

The registry requires a login, which the tunnel adds to the requests of this user and of Docker.")]
pub struct Args {
    #[command(flatten)]
    robot: RobotArg,

    /// Local port; if it is in use, the next free one is taken
    #[arg(long, default_value_t = tunnel::PORT)]
    port: u16,

    /// Install missing tools on this machine without asking
    #[arg(long, short)]
    yes: bool,
}

/// Opens the tunnel and keeps it open until Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<()> {
    until_interrupted(keep_open(args))
}

fn keep_open(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robot = args.robot.resolve(&workspace)?;
    let builder = builder(args.yes, &Need::ALWAYS)?;
    let session = Session::open(reach(&workspace, robot)?)?;
    let by_hand = tunnel::by_hand(session.endpoint(), args.port);
    registry::ensure(&session, &service::registry(builder, &robot.platform)?)
        .followed_by(format!("keeping a tunnel open that adds the login, else like: {by_hand}"))?;
    let tunnel = Tunnel::open(&session, args.port)?;
    let host = builder.registry_host(tunnel.port());
    ui::result(&format!("{host} is the registry of {}: docker push {host}/NAME", robot.name))?;
    ui::step(&robot.name, "Ctrl-C closes the tunnel");
    loop {
        process::pause(CHECK_INTERVAL)?;
        if tunnel.ensure_open()? {
            ui::step(&robot.name, "the connection was lost; the tunnel is open again");
        }
    }
}
