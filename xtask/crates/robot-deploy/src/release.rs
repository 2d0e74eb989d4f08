//! Last stage of a deploy: activates releases on robots.
//!
//! A [`compose::ComposeProject`] is the robot's Compose file with its variables filled in and its images
//! named by digest. Together with its [`metadata::Metadata`] it is a release. [`activate`] starts it, while
//! this run holds the [`lock`] of the robot and the robot is not [`busy`]. [`services`] runs Compose commands
//! on what was deployed.

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
