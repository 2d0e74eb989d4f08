//! `cargo xtask bench`: `deploy` against what people do by hand, on slow links.

use super::workspace;
use crate::bench::{self, Case, Choice, Link, Options};
use crate::error::Result;
use crate::host::{self, Need};
use crate::image::Builder;
use crate::{process, ui};

/// Measure deploys on simulated robots with slow links, against what people do by hand
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to measure; everything if nothing is named
    #[arg(value_name = "CASE")]
    cases: Vec<Case>,

    /// The rates of the robots' links in both directions, as tc(8) writes them
    #[arg(long = "link", value_name = "RATE", value_delimiter = ',', default_value = "50mbit,10mbit")]
    links: Vec<String>,

    /// How often each case is measured; what takes long is measured once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    repeat: u8,

    /// Who deploys; everybody if nobody is named
    #[arg(long = "contender", value_name = "NAME", value_delimiter = ',')]
    contenders: Vec<Choice>,

    /// Measure also what takes many minutes and shows nothing new
    #[arg(long)]
    thorough: bool,

    /// Measure nothing: put the results of the last run into README.md and docs/bench.svg
    #[arg(long, conflicts_with_all = ["cases", "links", "repeat", "contenders", "thorough", "keep"])]
    publish: bool,

    /// Leave the images and the copy of the workspace
    #[arg(long)]
    keep: bool,

    /// Do not ask before installing what this machine lacks
    #[arg(long, short)]
    yes: bool,
}

/// Measures, prints a table, and leaves all samples and a plot in `target/xtask/bench/`. A dry run prints what
/// would be measured.
///
/// # Errors
/// Fails when a deploy does, or the robot does not run what was deployed.
pub fn run(args: &Args) -> Result<()> {
    let workspace = workspace()?;
    if args.publish {
        return bench::publish(&workspace);
    }
    let options = args.options();
    let plan = bench::Plan::new(&options);
    if process::mode().dry_run {
        ui::step("bench", &plan.describe());
        return Ok(());
    }
    let zstd = plan.needs_zstd().then_some(Need::Zstd);
    host::ensure(args.yes, &Need::ALWAYS.into_iter().chain(zstd).collect::<Vec<_>>())?;
    let builder = Builder::for_engine(host::engine()?);
    let report = bench::run(&workspace, builder, &options, &plan)?;
    ui::result(&format!("{}\n\n{}", report.table(), report.caption()))?;
    let dir = bench::dir(&workspace);
    ui::done("bench", &format!("all samples in {dir}/bench.json, plotted in {dir}/bench.svg"));
    Ok(())
}

impl Args {
    fn options(&self) -> Options {
        Options {
            links: self.links.iter().cloned().map(Link).collect(),
            repeat: self.repeat.into(),
            cases: if self.cases.is_empty() { Case::ALL.to_vec() } else { self.cases.clone() },
            contenders: if self.contenders.is_empty() {
                Choice::ALL.to_vec()
            } else {
                self.contenders.clone()
            },
            thorough: self.thorough,
            keep: self.keep,
        }
    }
}
