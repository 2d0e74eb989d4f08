//! `cargo xtask bench`: builds and starts the benchmark, which is a program of its own.

use anyhow::Context as _;
use camino::Utf8PathBuf;
use robot_deploy::Options;
use robot_deploy::error::Result;
use robot_deploy::process::Cmd;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Arguments of the benchmark; `cargo xtask bench -- --help` lists them
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the benchmark and hands the terminal to it.
pub(crate) fn run(args: &Args, options: Options) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let this = Utf8PathBuf::try_from(std::env::current_exe().context("find this program")?)?;
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/deploy-bench/Cargo.toml");
    Cmd::new(cargo)
        .args(["run", "--quiet", "--manifest-path", manifest, "--", "--xtask", this.as_str()])
        .args(options.verbose.then_some("--verbose"))
        .args(&args.arguments)
        .interactive()
}
