//! The whole command line, against fakes on PATH.

#![allow(clippy::unwrap_used, reason = "a lab that cannot be set up ends the test")]

mod answers;
mod deploy;
mod dry_run;
mod lab;
mod registry;
mod shell;
