//! Last stage: what runs on a robot.
//!
//! A [`compose::Project`] is the robot's Compose file with its variables filled in and its images named by
//! digest; [`start`] puts it on the robot and brings it up there; [`services`] asks and tells what runs.

pub mod compose;
mod files;
pub mod services;
pub mod start;
