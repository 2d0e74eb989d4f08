//! Third stage: a live connection to one robot.
//!
//! The real `ssh` is used throughout, so that `~/.ssh/config`, ports, jump hosts and agents work. A
//! [`Session`] is one master connection; commands, files and the [`Tunnel`] to the robot's registry all go
//! through it and end with it.

pub mod checks;
pub mod credential;
pub mod host_key;
pub mod outcome;
pub mod registry;
mod relay;
pub mod ssh;
pub mod survey;
pub mod tunnel;

pub use credential::Credential;
pub use ssh::{Endpoint, Session};
pub use survey::Survey;
pub use tunnel::Tunnel;
