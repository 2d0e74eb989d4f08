//! The way to a robot: real ones as they are, simulated ones started first.

use crate::config::{Host, Robot, Workspace};
use crate::error::Result;
use crate::host;
use crate::image::Builder;
use crate::robot::Endpoint;
use crate::sim::Simulation;

/// Returns the endpoint of a robot. A simulated robot is created and started if necessary.
pub(crate) fn reach(workspace: &Workspace, robot: &Robot) -> Result<Endpoint> {
    match &robot.host {
        Host::Simulated { .. } => {
            Simulation::new(workspace).up(robot, || Ok(Builder::for_engine(host::engine()?)))
        }
        Host::Ssh { .. } => endpoint(workspace, robot),
    }
}

/// Returns the endpoint of a robot, without starting a simulated one.
pub(crate) fn endpoint(workspace: &Workspace, robot: &Robot) -> Result<Endpoint> {
    match &robot.host {
        Host::Simulated { .. } => Simulation::new(workspace).endpoint(robot),
        Host::Ssh { destination, port } => Ok(Endpoint {
            robot: robot.name.clone(),
            destination: destination.clone(),
            port: *port,
            known_hosts: workspace.known_hosts(),
            identity: None,
            compressed: false,
            reconnect: robot.reconnect,
            keep: robot.keep_connection,
            registry_port: robot.registry_port,
        }),
    }
}
