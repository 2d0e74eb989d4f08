//! Last stage: what runs on a robot.
//!
//! A [`compose::ComposeProject`] is the robot's Compose file with its variables filled in and its images named by
//! digest. With what an [`metadata::Metadata`] says of it, it is a release: [`activate`] has the robot go over to it, while
//! this run has the robot's [`lock`] and the robot is not [`busy`]. [`services`] asks and tells what runs.

pub mod activate;
pub mod busy;
pub mod compose;
pub mod difference;
pub mod fetch;
mod files;
pub mod history;
pub mod lock;
pub mod metadata;
pub mod prune;
pub mod services;
pub mod state;
pub mod status;
pub mod stored;
