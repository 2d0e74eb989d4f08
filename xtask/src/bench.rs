//! A benchmark that anybody can repeat: the time from an edit to its container running, and the bytes that
//! took on a slow link, for `deploy` and for what people do by hand.
//!
//! Everybody deploys the same sources (a copy, [`copy`]) onto the same simulated robots ([`robot`]), made
//! anew for each contender ([`contender`]), over the same shaped links. What is warm for one is warm for all:
//! base, dependencies, sources and the first deploy are there before the clock starts. A sample counts only
//! if the robot itself says that the edit runs. It also says how long the edited service did not ([`gap`]).

mod by_hand;
mod case;
mod chart;
mod contender;
mod copy;
mod floor;
mod gap;
mod link;
mod machine;
mod markdown;
mod plan;
mod plot;
mod publish;
mod report;
mod robot;
mod robots_toml;
mod subject;

use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use crate::config::Workspace;
use crate::error::Result;
use crate::image::Builder;
use crate::ui;

use contender::Contender;
use copy::Workshop;
use gap::Gap;
use machine::Machine;
use plan::Step;
use report::{Measured, Sample};
use robot::{Look, TestRobot, Traffic};
use subject::Subject;

pub use case::Case;
pub use contender::Choice;
pub use link::Link;
pub use plan::Plan;
pub use publish::publish;
pub use report::Report;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rates of the robots' links.
    pub links: Vec<Link>,
    /// How often each case is measured; what takes long and the first deploy to an empty robot once.
    pub repeat: usize,
    /// What is deployed.
    pub cases: Vec<Case>,
    /// Who deploys.
    pub contenders: Vec<Choice>,
    /// Leave nothing out that can be measured.
    pub thorough: bool,
    /// Leave the images and the copy of the workspace.
    pub keep: bool,
}

impl Options {
    /// The command line that repeats the run.
    fn command(&self) -> String {
        let links: Vec<&str> = self.links.iter().map(|link| link.0.as_str()).collect();
        let mut words =
            vec![format!("cargo xtask bench --link {} --repeat {}", links.join(","), self.repeat)];
        if self.contenders != Choice::ALL {
            let names: Vec<&str> = self.contenders.iter().map(|choice| choice.id()).collect();
            words.push(format!("--contender {}", names.join(",")));
        }
        words.extend(self.thorough.then(|| "--thorough".to_owned()));
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
const PATIENCE: f64 = 20.0;

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
pub fn run(workspace: &Workspace, builder: Builder, options: &Options, plan: &Plan) -> Result<Report> {
    let begin = Instant::now();
    ui::step("bench", &format!("{} cases, about {} minutes", plan.steps.len(), plan.minutes()));
    let dir = dir(workspace);
    let workshop = Workshop::new(workspace, &dir, builder)?;
    let copy = &workshop.copy;
    let contenders = options
        .contenders
        .iter()
        .map(|choice| Ok((*choice, choice.enter(&workshop)?)))
        .collect::<Result<Vec<(Choice, Box<dyn Contender>)>>>()?;
    let images = contenders
        .iter()
        .flat_map(|(_, contender)| Subject::ALL.map(|subject| contender.images(subject)))
        .flatten()
        .collect();
    let guard = copy.clean_up(images, options.keep);
    let mut report = Report::new(options, plan, Machine::this()?, workspace, &contenders)?;
    report.cargo_seconds = machine::cargo_overhead(workspace, copy.program())?;
    for subject in Subject::ALL {
        for (choice, contender) in &contenders {
            let steps = plan.of(subject, *choice);
            if steps.is_empty() {
                continue;
            }
            ui::step("bench", &format!("{}: {}", choice.id(), contender.description()));
            let bout = Bout { subject, choice: *choice, contender: contender.as_ref(), workshop: &workshop };
            bout.compete(&steps, options.repeat, |measured| {
                report.add(measured);
                report.save(&dir)
            })?;
        }
    }
    if let Some((_, contender)) = contenders.first() {
        report.floors = floor::all(&plan.floors, contender.as_ref(), copy, &dir)?;
    }
    report.seconds = begin.elapsed().as_secs_f64();
    report.save(&dir)?;
    drop(guard);
    Ok(report)
}

/// One contender, all cases of a subject, on robots of their own.
struct Bout<'a> {
    subject: Subject,
    choice: Choice,
    contender: &'a dyn Contender,
    workshop: &'a Workshop,
}

impl<'a> Bout<'a> {
    fn compete(
        &self,
        steps: &[&Step],
        repeat: usize,
        mut save: impl FnMut(Measured) -> Result<()>,
    ) -> Result<()> {
        let copy = &self.workshop.copy;
        copy.reset()?;
        self.contender.build(self.subject)?;
        let (firsts, others): (Vec<&Step>, Vec<&Step>) =
            steps.iter().partition(|step| step.case == Case::First);
        let (fleet, others): (Vec<&Step>, Vec<&Step>) =
            others.into_iter().partition(|step| step.case.is_of_fleet());
        let mut robots = Vec::new();
        for step in firsts {
            robots = vec![self.robot(self.subject.name())?];
            save(self.measure(step, 1, 0, &robots)?)?;
        }
        if robots.is_empty() {
            robots.push(self.robot(self.subject.name())?);
            self.contender.deploy(self.subject, &robots)?;
        }
        let background = robots[0].background(QUIET)?;
        ui::step("bench", &format!("{}: {background} B/s on the quiet link", self.choice.id()));
        let mut number = 0;
        for step in others {
            let measured = self.measure(step, repeat, number, &robots)?;
            number += measured.samples.len();
            save(measured)?;
        }
        if !fleet.is_empty() {
            // Not before: they would take the machine's time from the others.
            for name in &self.subject.robots()[1..] {
                robots.push(self.robot(name)?);
            }
            robots[0].shape("off")?;
            self.contender.deploy(self.subject, &robots)?;
        }
        for step in fleet {
            save(self.measure(step, repeat, 0, &robots)?)?;
        }
        TestRobot::remove(copy, self.subject)
    }

    /// An empty robot that knows the contender.
    fn robot(&self, name: &str) -> Result<TestRobot<'a>> {
        let robot = TestRobot::make(self.workshop, self.subject, name)?;
        self.contender.set_up(&robot)?;
        Ok(robot)
    }

    /// All samples of a step; `number` edits of the kind have been made before.
    fn measure(
        &self,
        step: &Step,
        repeat: usize,
        number: usize,
        robots: &[TestRobot<'_>],
    ) -> Result<Measured> {
        for robot in robots {
            robot.shape(&step.link.0)?;
        }
        let repeat = if step.is_measured_once() { 1 } else { repeat };
        let mut samples: Vec<Sample> = Vec::new();
        while samples.len() < repeat && samples.iter().all(|sample| sample.seconds < PATIENCE) {
            let sample = self.sample(step.case, number + samples.len(), robots)?;
            let (id, case, link) = (self.choice.id(), step.case.title(), &step.link);
            ui::step("bench", &format!("{id}, {case}, {link}: {}", sample.summary()));
            samples.push(sample);
        }
        Ok(Measured::new(step, samples))
    }

    /// One edit, one deploy, and the robots' word for it.
    fn sample(&self, case: Case, number: usize, robots: &[TestRobot<'_>]) -> Result<Sample> {
        let copy = &self.workshop.copy;
        let edit = case.edit(number);
        let look = || robots.iter().map(|robot| robot.look(case, edit)).collect::<Result<Vec<Look>>>();
        let traffic = || -> Result<Traffic> {
            robots.iter().try_fold(Traffic::default(), |sum, robot| Ok(sum.and(robot.traffic()?)))
        };
        if let Some(edit) = edit.filter(|_| case.is_prepared()) {
            copy.apply(&edit)?;
            self.subject.build_by_hand(self.workshop).args(["--output", "type=cacheonly"]).run()?;
        }
        let load = machine::load();
        let before = look()?;
        let wire = traffic()?;
        let begin = Instant::now();
        if let Some(edit) = edit.filter(|_| !case.is_prepared()) {
            copy.apply(&edit)?;
        }
        let mut told = None;
        match case {
            Case::Status => told = Some(self.contender.status(robots)?),
            _ => self.contender.deploy(self.subject, robots)?,
        }
        let seconds = begin.elapsed().as_secs_f64();
        let wire = traffic()?.since(wire);
        // Before anything else is asked of robots that may still be starting what is new.
        let gaps = robots.iter().zip(&before).map(|(robot, before)| robot.gap(edit, before));
        let gaps = gaps.collect::<Result<Vec<Option<Gap>>>>()?;
        let gap = gaps.into_iter().flatten().max_by(|one, two| one.seconds().total_cmp(&two.seconds()));
        let after = look()?;
        if let Some(told) = told {
            robots.iter().try_for_each(|robot| robot::is_told_of(&told, robot.name()))?;
        }
        let mut recreated = 0;
        for (after, before) in after.iter().zip(&before) {
            after.check(case, edit, before)?;
            recreated += after.recreated(before);
        }
        Ok(Sample { seconds, to_robot: wire.to_robot, from_robot: wire.from_robot, recreated, gap, load })
    }
}
