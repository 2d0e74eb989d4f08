//! `cargo xtask bench`: compares `deploy` with deploying by hand, over slow links.

use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::Parser;
use deploy_bench::{Case, Link, MethodId, Options, Plan};
use robot_deploy::config::{Workspace, current_dir};
use robot_deploy::error::Result;
use robot_deploy::host::{self, Need};
use robot_deploy::image::Builder;
use robot_deploy::{process, ui};

/// Measure deploys to simulated robots over slow links, compared with deploying by hand
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Args {
    #[command(flatten)]
    options: robot_deploy::Options,

    /// The program that is measured
    #[arg(long, hide = true, default_value = "xtask")]
    xtask: Utf8PathBuf,

    /// Cases to measure; all by default
    #[arg(value_name = "CASE")]
    cases: Vec<Case>,

    /// Rates of the robots' links, applied in both directions, as tc(8) writes them
    #[arg(long = "link", value_name = "RATE", value_delimiter = ',', default_value = "50mbit,10mbit")]
    links: Vec<String>,

    /// Samples per case; slow cases are measured once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    repeat: u8,

    /// Deploy methods to measure; all by default
    #[arg(long = "method", alias = "contender", value_name = "NAME", value_delimiter = ',')]
    methods: Vec<MethodId>,

    /// Also measure slow combinations that add no new information
    #[arg(long)]
    thorough: bool,

    /// Go on with the last run of the same command, which broke off: measure what it lacks
    #[arg(long)]
    resume: bool,

    /// Write the results of the last run to README.md and docs/bench.*, without measuring
    #[arg(long, conflicts_with_all = ["cases", "links", "repeat", "methods", "thorough", "keep", "check", "resume"])]
    publish: bool,

    /// Fail if a figure of `deploy` or `watch` is worse than the published one, in docs/bench.json
    #[arg(long)]
    check: bool,

    /// Keep the images and the copy of the workspace
    #[arg(long)]
    keep: bool,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,
}

/// Runs the benchmark, prints a table, and saves all samples and a plot in `target/xtask/bench/`. A dry run
/// prints the plan.
fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::load(&current_dir())?;
    if args.publish {
        return deploy_bench::publish(&workspace);
    }
    let options = args.selection();
    let plan = Plan::new(&options);
    ui::step("bench", &plan.describe());
    process::outcome_needed()?;
    let tools = [(plan.needs_zstd(), Need::Zstd), (plan.needs_rsync(), Need::Rsync)];
    let tools = tools.into_iter().filter_map(|(is_needed, tool)| is_needed.then_some(tool));
    host::ensure(args.yes, &Need::ALWAYS.into_iter().chain(tools).collect::<Vec<_>>())?;
    let builder = Builder::for_engine(host::engine()?);
    let report = deploy_bench::run(&workspace, builder, &options, &plan)?;
    ui::result(&format!("{}\n\n{}", report.table(), report.caption()))?;
    let dir = deploy_bench::dir(&workspace);
    ui::done("bench", &format!("saved all samples in {dir}/bench.json and a plot in {dir}/bench.svg"));
    if args.check { deploy_bench::check(&workspace, &report) } else { Ok(()) }
}

impl Args {
    fn selection(&self) -> Options {
        Options {
            links: self.links.iter().cloned().map(Link).collect(),
            repeat: self.repeat.into(),
            cases: if self.cases.is_empty() { Case::ALL.to_vec() } else { self.cases.clone() },
            methods: if self.methods.is_empty() { MethodId::ALL.to_vec() } else { self.methods.clone() },
            thorough: self.thorough,
            keep: self.keep,
            resume: self.resume,
            xtask: self.xtask.clone(),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    robot_deploy::main(args.options, || run(&args))
}
