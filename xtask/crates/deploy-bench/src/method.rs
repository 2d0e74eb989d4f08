//! The trait of the deploy methods, and their names.

use super::case::Case;
use super::fixture::Fixture;
use super::robot::TestRobot;
use super::robots_toml::PROJECT;
use super::workload::Workload;
use robot_deploy::error::Result;

pub(crate) trait Method {
    /// Name in tables and plots.
    fn title(&self) -> &'static str;
    /// The commands and images of the method, so that readers can judge the figures.
    fn description(&self) -> &'static str;
    fn fixture(&self) -> &Fixture;
    /// Names, on this machine, of the images that robots run; by default those of the copied workspace.
    fn images(&self, workload: Workload) -> Vec<String> {
        self.fixture().copy.images(workload).map(|image| format!("{PROJECT}:{image}")).collect()
    }
    /// Builds the images, so that the build cache is warm when the clock starts.
    fn build(&self, workload: Workload) -> Result<()> {
        self.fixture().copy.build_images(workload)
    }
    /// Sets up a robot, once before the first deploy.
    fn set_up(&self, _robot: &TestRobot<'_>) -> Result<()> {
        Ok(())
    }
    /// Builds the current sources and starts them on the robots.
    fn deploy(&self, workload: Workload, robots: &[TestRobot<'_>]) -> Result<()>;
    /// Status of the robots; an error for methods without a status command.
    fn status(&self, _robots: &[TestRobot<'_>]) -> Result<String> {
        anyhow::bail!("this method has no status command; the plan leaves this case out")
    }
    /// Returns whether an edit runs in a new container from a new image.
    fn replaces_containers(&self, _case: Case) -> bool {
        true
    }
}

/// Identifies a method on the command line and in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MethodId {
    /// `cargo xtask deploy`
    Xtask,
    /// `cargo xtask watch`
    Watch,
    /// `docker build`, `docker push` through `ssh -L`, `docker pull`, `docker compose up`
    Push,
    /// `docker build`, `docker save` into `ssh docker load`, `docker compose up`
    Load,
    /// `rsync` into a mounted directory, `docker compose restart`
    Rsync,
    /// `docker compose watch` (sync+restart) over `DOCKER_HOST=ssh://`
    Compose,
}

impl MethodId {
    /// All methods; the others are compared with the first.
    pub const ALL: [Self; 6] = [Self::Xtask, Self::Watch, Self::Push, Self::Load, Self::Rsync, Self::Compose];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xtask => "xtask",
            Self::Watch => "watch",
            Self::Push => "push",
            Self::Load => "load",
            Self::Rsync => "rsync",
            Self::Compose => "compose",
        }
    }
}
