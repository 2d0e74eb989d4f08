//! Builds a team's ROS 2 packages into images and delivers them to robots over the local network.
//!
//! ```text
//! robots.toml ─▶ config ─▶ image ─▶ delivery ─▶ release
//!                 what     BuildKit  registry    Compose on the robot
//!                 & where            over ssh -L
//! ```
//!
//! Data flows one way: each stage has one input and one output type, and no stage calls an earlier one. The
//! subcommands in [`verbs`] connect the stages and print results.

#[cfg(test)]
use test_support::fuzz;

mod bundle;
mod cli;
mod complete;
pub mod config;
mod delivery;
mod deploy;
mod digest;
mod disk;
mod doctor;
pub mod error;
pub mod files;
mod fleet;
pub mod host;
mod http;
mod hub;
pub mod image;
mod init;
mod live;
mod loopback;
pub mod mode;
mod number;
pub mod parallel;
pub mod process;
mod publish;
mod reach;
mod release;
pub mod robot;
pub mod robot_side;
pub mod sim;
mod timeline;
mod timings;
mod told;
pub mod ui;
mod verbs;
mod watcher;

pub use cli::{HELP, Verb, main, parse};
pub use mode::Options;
