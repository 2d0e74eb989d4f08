//! Third stage of the pipeline: a live connection to one robot.
//!
//! All connections use the system's `ssh`, so `~/.ssh/config`, ports, jump hosts and SSH agents work. A
//! [`Session`] is one master connection. Commands, files and the [`Tunnel`] to the robot's registry share
//! that connection and end with it.

pub mod checks;
pub(crate) mod connecting;
pub mod credential;
mod endpoint;
pub mod host_key;
mod kept;
pub(crate) mod others;
pub mod outcome;
pub mod registry;
mod relay;
mod socket_dir;
mod ssh;
pub mod survey;
pub mod tunnel;

pub use credential::Credential;
pub use endpoint::Endpoint;
pub use ssh::Session;
pub use survey::Survey;
pub use tunnel::Tunnel;
