//! The workloads that are deployed: sources, and the robots that run them.

/// The robots that run the example workspace.
pub(crate) const ROBOTS: [&str; 3] = ["main", "second", "third"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Example workspace.
    Workspace,
    /// Third-party image with all dependencies in one layer.
    Layer,
    /// Third-party image with the program and its dependencies in one layer.
    Monolith,
}

impl Workload {
    pub const ALL: [Self; 3] = [Self::Workspace, Self::Layer, Self::Monolith];

    /// Workloads with a third-party Dockerfile, which all methods build unchanged.
    pub const THIRD_PARTY: [Self; 2] = [Self::Layer, Self::Monolith];

    /// Robots that run the workload. Most cases use only the first.
    pub fn robots(self) -> &'static [&'static str] {
        match self {
            Self::Workspace => &ROBOTS,
            Self::Layer => &["layer"],
            Self::Monolith => &["monolith"],
        }
    }

    /// Name of the first robot; for a third-party image also its name in `robots.toml` and its directory in
    /// `docker/bench/`.
    pub fn name(self) -> &'static str {
        self.robots()[0]
    }

    /// Directory of a third-party image, relative to the root of the repository.
    pub fn dir(self) -> Option<String> {
        Self::THIRD_PARTY.contains(&self).then(|| format!("docker/bench/{}", self.name()))
    }

    /// Name of the image that is built by hand, on this machine and on the robot.
    pub fn image_by_hand(self) -> &'static str {
        match self {
            Self::Workspace => "bench-one-stage:latest",
            Self::Layer => "bench-layer:latest",
            Self::Monolith => "bench-monolith:latest",
        }
    }
}
