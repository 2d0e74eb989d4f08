//! `cargo xtask`: the verbs of robot-deploy, and those of this repository itself.

mod bench;
mod test;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Build ROS 2 packages into images and bring them onto robots over the local network.
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
    Test(test::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let Cli { verb, options } = Cli::parse();
    robot_deploy::main(options, || match verb {
        Verb::Robots(verb) => verb.run(Cli::command()),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args, options),
    })
}
