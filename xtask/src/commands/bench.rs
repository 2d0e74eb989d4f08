//! `cargo xtask bench`: `deploy` against what people do by hand, on a slow link.

use super::workspace;
use crate::bench::{self, Case, Choice, Options};
use crate::error::Result;
use crate::host::{self, Need};
use crate::image::Builder;
use crate::ui;

/// Measure deploys on a simulated robot with a slow link, against what people do by hand
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to measure; everything if nothing is named
    #[arg(value_name = "CASE")]
    cases: Vec<Case>,

    /// The rate of the robot's link in both directions, as tc(8) writes it
    #[arg(long, default_value = "50mbit")]
    link: String,

    /// How often each case is measured; what takes longer than a minute is measured once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    repeat: u8,

    /// Who deploys; everybody if nobody is named
    #[arg(long = "contender", value_name = "NAME", value_delimiter = ',')]
    contenders: Vec<Choice>,

    /// Leave the robot, the images and the copy of the workspace
    #[arg(long)]
    keep: bool,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,
}

/// Measures, prints a table, and leaves all samples and a plot in `target/xtask/bench/`.
///
/// # Errors
/// Fails when a deploy does, or the robot does not run what was deployed.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    host::ensure(args.yes, &Need::ALWAYS)?;
    let builder = Builder::for_engine(host::engine()?);
    let or_all = |chosen: &[Choice]| if chosen.is_empty() { Choice::ALL.to_vec() } else { chosen.to_vec() };
    let options = Options {
        link: args.link.clone(),
        repeat: args.repeat.into(),
        cases: if args.cases.is_empty() { Case::ALL.to_vec() } else { args.cases.clone() },
        contenders: or_all(&args.contenders),
        keep: args.keep,
    };
    let report = bench::run(&workspace, builder, &options)?;
    ui::result(&format!("{}\n\n{}", report.table(), report.caption()))?;
    let dir = bench::dir(&workspace);
    ui::done("bench", &format!("all samples in {dir}/bench.json, plotted in {dir}/bench.svg"));
    Ok(())
}
