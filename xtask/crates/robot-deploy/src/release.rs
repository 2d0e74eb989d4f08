//! Last stage of a deploy: activates releases on robots.
//!
//! A [`compose::ComposeProject`] is the robot's Compose file with its variables filled in and its images
//! named by digest. Together with its [`metadata::Metadata`] it is a release. [`activate`] starts it, while
//! this run holds the [`lock`] of the robot and the robot is not [`busy`]. [`services`] runs Compose commands
//! on what was deployed.

pub(crate) mod activate;
pub(crate) mod busy;
pub(crate) mod compose;
pub(crate) mod data;
pub(crate) mod difference;
pub(crate) mod fetch;
mod files;
pub(crate) mod history;
pub(crate) mod lock;
pub(crate) mod metadata;
pub(crate) mod prune;
pub(crate) mod seen;
pub(crate) mod services;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod stored;
