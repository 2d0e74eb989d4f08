//! Connections to robots that are made while this machine reads what is to be deployed.

use std::collections::BTreeMap;
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::Context as _;
use parking_lot::Mutex;

use super::{Activate, Target};
use crate::config::{Robot, Workspace};
use crate::error::Result;
use crate::parallel;
use crate::reach::reach;
use crate::robot::registry;

/// A connection to each robot of a deploy, made in a thread of its own.
pub(crate) struct Connecting<'scope, 'a>(
    Mutex<BTreeMap<&'a str, ScopedJoinHandle<'scope, Result<Target<'a>>>>>,
);

impl<'scope, 'a: 'scope> Connecting<'scope, 'a> {
    /// Begins to connect to all robots. [`crate::process::stop`] ends that early.
    pub(crate) fn begin(
        scope: &'scope Scope<'scope, '_>,
        workspace: &'a Workspace,
        robots: &[&'a Robot],
        options: Activate,
    ) -> Self {
        let begin = |robot: &&'a Robot| {
            let robot = *robot;
            let repository = registry::repository(robot.registry_port, &workspace.project.name);
            let connect = move || Target::connect(workspace, robot, reach, &repository, options);
            (robot.name.as_str(), scope.spawn(connect))
        };
        Self(Mutex::new(robots.iter().map(begin).collect()))
    }
}

impl<'a> Connecting<'_, 'a> {
    /// Waits for the connection to a robot, which belongs to the caller from then on.
    pub(super) fn wait_for(&self, robot: &Robot) -> Result<Target<'a>> {
        let thread = self.0.lock().remove(robot.name.as_str()).context("internal error: no connection")?;
        parallel::joined(thread.join())
    }
}
