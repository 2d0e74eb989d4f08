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

pub mod bundle;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod deploy;
pub mod digest;
pub mod doctor;
pub mod error;
pub mod files;
pub mod fleet;
pub mod host;
mod http;
pub mod hub;
pub mod image;
pub mod loopback;
pub mod mode;
pub mod number;
pub mod process;
pub mod publish;
pub mod reach;
pub mod release;
pub mod robot;
pub mod robot_side;
pub mod sim;
pub mod timeline;
pub mod timings;
pub mod ui;
pub mod verbs;
pub mod watcher;

pub use cli::{HELP, Options, Verb, main};
