//! The whole command line, against fakes on PATH.

#![allow(clippy::unwrap_used, reason = "a lab that cannot be set up ends the test")]

mod answers;
mod bundle;
mod completions;
mod deploy;
mod dry_run;
mod failures;
mod fallbacks;
mod hub;
mod lab;
mod publish;
mod registry;
mod shell;
mod signals;
mod usage;
mod vm;
