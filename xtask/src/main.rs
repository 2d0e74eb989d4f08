//! `cargo xtask`: the verbs of robot-deploy, and those of this repository itself.

mod bench;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build ROS 2 packages into images and deploy them to robots over the local network.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
#[command(after_help = robot_deploy::HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    options: robot_deploy::Options,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Robots(robot_deploy::Verb),
    /// Run the checks of this project
    ///
    /// These are formatting, lints, unit tests, ROS tests and deploys to simulated robots. CI runs all of them. While you work, --fast runs those that need neither Docker nor minutes, and
    /// --only selects single checks.
    Test(test::Args),
    /// Measure deploys to simulated robots
    ///
    /// The links are slow, and deploys by hand are measured for comparison. Each sample is one edit and one deploy, from the edit until the new container runs. Compare only
    /// numbers from the same machine.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let Cli { verb, options } = robot_deploy::parse();
    robot_deploy::main(options, || match verb {
        Verb::Robots(verb) => verb.run(),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args, options),
    })
}
