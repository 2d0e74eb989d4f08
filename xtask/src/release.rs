//! Last stage: what runs on a robot.
//!
//! A [`compose::Project`] is the robot's Compose file with its variables filled in and its images named by
//! digest. With what an [`about::About`] says of it, it is a release: [`activate`] has the robot go over to it, while
//! this run has the robot's [`lock`] and the robot is not [`busy`]. [`services`] asks and tells what runs.

pub mod about;
pub mod activate;
pub mod busy;
pub mod compose;
pub mod difference;
pub mod fetch;
mod files;
pub mod kept;
pub mod lock;
pub mod prune;
pub mod services;
pub mod state;
pub mod status;
