//! The whole `xtask` of a team: robot-deploy's verbs, and one of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use robot_deploy::process::Cmd;

/// Everything our team does with its robots.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = robot_deploy::HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    options: robot_deploy::Options,
}

#[derive(Subcommand)]
enum Verb {
    #[command(flatten)]
    Robots(robot_deploy::Verb),
    /// Flash the firmware of the motor controller
    Flash { port: String },
}

fn main() -> ExitCode {
    let Cli { verb, options } = robot_deploy::parse();
    robot_deploy::main(options, || match verb {
        Verb::Robots(verb) => verb.run(),
        Verb::Flash { port } => Cmd::new("echo").args(["flashing", &port]).run(),
    })
}
