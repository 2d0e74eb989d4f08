//! The trait of the deploy methods, and their names.

use super::robot::TestRobot;
use super::workload::Workload;
use robot_deploy::error::Result;

pub(crate) trait Method {
    /// Name in tables and plots.
    fn title(&self) -> &'static str;
    /// The commands and images of the method, so that readers can judge the figures.
    fn description(&self) -> &'static str;
    /// Names, on this machine, of the images that robots run.
    fn images(&self, workload: Workload) -> Vec<String>;
    /// Builds the images, so that the build cache is warm when the clock starts.
    fn build(&self, workload: Workload) -> Result<()>;
    /// Sets up a robot, once before the first deploy.
    fn set_up(&self, robot: &TestRobot<'_>) -> Result<()>;
    /// Builds the current sources and starts them on the robots.
    fn deploy(&self, workload: Workload, robots: &[TestRobot<'_>]) -> Result<()>;
    /// Status of the robots; an error for methods without a status command.
    fn status(&self, robots: &[TestRobot<'_>]) -> Result<String>;
}

/// Identifies a method on the command line and in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MethodId {
    /// `cargo xtask deploy`
    Xtask,
    /// `docker build`, `docker push` through `ssh -L`, `docker pull`, `docker compose up`
    Push,
    /// `docker build`, `docker save` into `ssh docker load`, `docker compose up`
    Load,
}

impl MethodId {
    /// All methods; the others are compared with the first.
    pub const ALL: [Self; 3] = [Self::Xtask, Self::Push, Self::Load];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xtask => "xtask",
            Self::Push => "push",
            Self::Load => "load",
        }
    }
}
