//! `cargo xtask` as a program that is installed once: it works in any repository with a `robots.toml`. In a repository with an
//! alias `xtask`, cargo takes the alias.

use std::process::ExitCode;

use clap::Parser;

/// Build ROS 2 packages into images and deploy them to robots over the local network.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
#[command(after_help = robot_deploy::HELP)]
struct Cli {
    #[command(subcommand)]
    verb: robot_deploy::Verb,

    #[command(flatten)]
    options: robot_deploy::Options,
}

fn main() -> ExitCode {
    let Cli { verb, options } = robot_deploy::parse();
    robot_deploy::main(options, || verb.run())
}
