//! A benchmark that anybody can repeat: the time from an edit to its container running, and the bytes that
//! took on a slow link, for `deploy` and for what people do by hand.
//!
//! Everybody deploys the same workspace (a copy, [`copy`]) onto the same simulated robot ([`robot`]), made
//! anew for each contender ([`contender`]), over the same shaped link. What is warm for one is warm for all:
//! base, dependencies, sources and the first deploy are there before the clock starts. A sample counts only
//! if the robot itself says that the edit runs.

mod by_hand;
mod case;
mod contender;
mod copy;
mod machine;
mod plot;
mod report;
mod robot;

use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use crate::config::Workspace;
use crate::error::{Failure, Result};
use crate::image::Builder;
use crate::process;
use crate::ui;

use contender::Contender;
use copy::Copy;
use machine::Machine;
use report::{Measured, Sample};
use robot::TestRobot;

pub use case::Case;
pub use contender::Choice;
pub use report::Report;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The link's rate as tc(8) writes it.
    pub link: String,
    /// How often each case is measured; what takes minutes and the first deploy to an empty robot once.
    pub repeat: usize,
    /// What is deployed.
    pub cases: Vec<Case>,
    /// Who deploys.
    pub contenders: Vec<Choice>,
    /// Leave robot, images and the copy of the workspace.
    pub keep: bool,
}

impl Options {
    /// The command line that repeats the run.
    fn command(&self) -> String {
        let mut words = vec![format!("cargo xtask bench --link {} --repeat {}", self.link, self.repeat)];
        if self.contenders != Choice::ALL {
            let names: Vec<String> = self.contenders.iter().map(name).collect();
            words.push(format!("--contender {}", names.join(",")));
        }
        if self.cases != Case::ALL {
            words.extend(self.cases.iter().map(name));
        }
        words.join(" ")
    }
}

/// The name that a value has on the command line.
fn name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What takes longer, in seconds, is measured once: the difference is no matter of chance.
const PATIENCE: f64 = 60.0;

/// How long the quiet network is looked at: what nodes say unasked is on the wire as well.
const QUIET: Duration = Duration::from_secs(4);

/// Where results go.
pub fn dir(workspace: &Workspace) -> Utf8PathBuf {
    workspace.state_dir().join("bench")
}

/// Measures; results are saved after every case, so that an interrupted run is not lost.
///
/// # Errors
/// Fails when a deploy fails, or a robot does not run what it should. What was made is removed in any case.
pub fn run(workspace: &Workspace, builder: Builder, options: &Options) -> Result<Report> {
    if process::mode().dry_run {
        return Err(Failure::config("a benchmark cannot be tried without doing it")
            .hint("without `--dry-run`; with `--verbose` it prints each command")
            .into());
    }
    let dir = dir(workspace);
    let copy = Copy::make(workspace, &dir)?;
    let contenders = options
        .contenders
        .iter()
        .map(|choice| choice.enter(&copy, builder))
        .collect::<Result<Vec<Box<dyn Contender>>>>()?;
    let images = contenders.iter().flat_map(|contender| contender.images()).collect();
    let guard = copy.clean_up(images, options.keep);
    let mut report = Report::new(options, Machine::this()?, workspace, &contenders)?;
    report.cargo_seconds = machine::cargo_overhead(workspace, copy.program())?;
    for contender in &contenders {
        compete(contender.as_ref(), &copy, builder, options, |measured| {
            report.add(measured);
            report.save(&dir)
        })?;
    }
    drop(guard);
    Ok(report)
}

/// One contender, all cases, on a robot of its own.
fn compete(
    contender: &dyn Contender,
    copy: &Copy,
    builder: Builder,
    options: &Options,
    mut save: impl FnMut(Measured) -> Result<()>,
) -> Result<()> {
    let id = contender.id();
    ui::step("bench", &format!("{id}: {}", contender.description()));
    copy.reset()?;
    contender.build()?;
    let robot = TestRobot::make(copy, builder)?;
    contender.set_up(&robot)?;
    let measured = |case: Case, samples: Vec<Sample>| {
        for sample in &samples {
            ui::step("bench", &format!("{id}, {}: {}", case.title(), sample.summary()));
        }
        Measured { contender: id.to_owned(), case, samples }
    };
    if options.cases.contains(&Case::First) {
        robot.shape(&options.link)?;
        let sample = measure(Case::First, contender, copy, &robot)?;
        save(measured(Case::First, vec![sample]))?;
    } else {
        contender.deploy(&robot)?;
        robot.shape(&options.link)?;
    }
    ui::step("bench", &format!("{id}: {} B/s on the quiet link", robot.background(QUIET)?));
    for case in options.cases.iter().copied().filter(|case| *case != Case::First) {
        let mut samples = vec![measure(case, contender, copy, &robot)?];
        while samples.len() < options.repeat && samples.iter().all(|sample| sample.seconds < PATIENCE) {
            samples.push(measure(case, contender, copy, &robot)?);
        }
        save(measured(case, samples))?;
    }
    Ok(())
}

/// One edit, one deploy, and the robot's word for it.
fn measure(case: Case, contender: &dyn Contender, copy: &Copy, robot: &TestRobot<'_>) -> Result<Sample> {
    let load = machine::load();
    let before = robot.look(case)?;
    let wire = robot.traffic()?;
    let begin = Instant::now();
    if let Some(edit) = case.edit() {
        copy.apply(&edit)?;
    }
    contender.deploy(robot)?;
    let seconds = begin.elapsed().as_secs_f64();
    let wire = robot.traffic()?.since(wire);
    let after = robot.look(case)?;
    after.check(case, &before)?;
    Ok(Sample {
        seconds,
        to_robot: wire.to_robot,
        from_robot: wire.from_robot,
        recreated: after.recreated(&before),
        load,
    })
}
