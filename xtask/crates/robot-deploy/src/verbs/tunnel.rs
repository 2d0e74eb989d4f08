//! `cargo xtask tunnel`: the tunnel to a robot's registry, held open for people's own `docker push`.

use std::time::Duration;

use super::{RobotArg, builder, reach, workspace};
use crate::error::Result;
use crate::host::Need;
use crate::image::service;
use crate::process;
use crate::robot::{Session, Tunnel, credential, registry, tunnel};
use crate::ui;

/// How often the connection is looked after; Ctrl-C ends the wait at once.
const WATCH: Duration = Duration::from_secs(2);

/// Hold a tunnel to a robot's registry open, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(after_help = "Example, while the tunnel is open, in another terminal:
  docker tag debian:trixie 127.0.0.1:5000/debian:trixie && docker push 127.0.0.1:5000/debian:trixie

The registry asks for a login. The tunnel adds it to what this user and Docker push; `--dry-run` shows how to do without.")]
pub struct Args {
    #[command(flatten)]
    robot: RobotArg,

    /// The local port; the next free one is taken where it is in use
    #[arg(long, default_value_t = tunnel::PORT)]
    port: u16,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,
}

/// Opens the tunnel and keeps it open.
///
/// # Errors
/// Fails when the robot cannot be reached, or goes away and does not come back.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    let robot = args.robot.resolve(&workspace)?;
    let builder = builder(args.yes, &Need::ALWAYS)?;
    let session = Session::open(reach(&workspace, robot)?)?;
    registry::ensure(&session, &service::registry(builder, &robot.platform)?)?;
    if process::mode().dry_run {
        ui::step(&robot.name, "the tunnel to its registry, until Ctrl-C; then log in, in another terminal");
        tunnel::by_hand(session.endpoint(), args.port).run()?;
        return credential::log_in(&session, &tunnel::local(args.port));
    }
    let tunnel = Tunnel::open(&session, args.port)?;
    let host = builder.registry_host(tunnel.port());
    ui::result(&format!("{host} is the registry of {}: docker push {host}/NAME", robot.name))?;
    ui::step(&robot.name, "Ctrl-C closes the tunnel");
    loop {
        process::pause(WATCH)?;
        if tunnel.ensure_open()? {
            ui::step(&robot.name, "the connection had dropped; the tunnel is open again");
        }
    }
}
