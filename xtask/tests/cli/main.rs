//! The whole command line, with fakes on PATH.

#![allow(clippy::unwrap_used, reason = "a lab that cannot be set up ends the test")]

mod activation;
mod answers;
mod bases;
mod bundle;
mod completions;
mod deny;
mod dependencies;
mod deploy;
mod dev_shell;
mod docs;
mod dry_run;
mod env;
mod failures;
mod fallbacks;
mod false_robot;
mod greedy;
mod host_keys;
mod hostile;
mod hub;
mod lab;
mod launch;
mod links;
mod odd;
mod odd_arguments;
mod odd_settings;
mod publish;
mod pull_data;
mod registry;
mod shell;
mod signals;
mod signature;
mod survey;
mod usage;
mod vm;
mod words;
