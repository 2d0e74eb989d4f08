//! What the tests are written in: a [`Lab`] with a workspace and robots, and runs of `xtask`.

mod agent;
mod browser;
mod engine;
mod hub;
mod lab;
mod plain;
mod rival;
mod robot;
mod run;
mod runner;
mod shell;
mod small_disk;
mod tree;
mod wait;
mod workspace;

pub use agent::Agent;
pub use browser::Page;
pub use engine::Engine;
pub use hub::{AUTH, As, Hub, PASSWORD};
pub use lab::{Lab, MAIN, PROJECT, SECONDARY};
pub use plain::Plain;
pub use rival::Rival;
pub use robot::{Container, Robot};
pub use run::{Finished, Running};
pub use runner::run_all;
pub(crate) use runner::tests;
pub use shell::{kill, output, succeeds};
pub use small_disk::{RegistryDisk, SmallDisk};
pub use tree::{LIST, Tree};
pub use wait::eventually;
pub use workspace::{MAP, ODOMETRY, Workspace, incompressible};
