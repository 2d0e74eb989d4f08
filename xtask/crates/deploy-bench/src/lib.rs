//! Reproducible benchmark of `deploy` against deploying by hand: the time from an edit to the running
//! container, and the bytes sent over a slow link.
//!
//! Every method ([`method`]) deploys the same sources (a copy of the workspace, [`copy`]) over the same
//! shaped links to simulated robots ([`robot`]) that are created from scratch for that method. All methods
//! start equally warm: the base image, the dependencies, the sources and, except for an empty robot, a first
//! deploy are in place before the clock starts. A sample counts only if the robot itself confirms that the
//! edit runs. The robot also reports the downtime of the edited service ([`downtime`]).

mod by_hand;
mod case;
mod chart;
mod check;
mod copy;
mod downtime;
mod figures;
mod fixture;
mod floor;
mod link;
mod live;
mod machine;
mod markdown;
mod method;
mod methods;
mod plan;
mod plot;
mod publish;
mod report;
mod robot;
mod robots_toml;
mod sync;
mod workload;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use camino::Utf8PathBuf;

use robot_deploy::config::Workspace;
use robot_deploy::error::Result;
use robot_deploy::image::Builder;
use robot_deploy::ui;

use case::Edit;
use downtime::Downtime;
use fixture::Fixture;
use machine::Machine;
use method::Method;
use plan::Step;
use report::{Measurement, Sample};
use robot::{Snapshot, TestRobot, Traffic};
use workload::Workload;

pub use case::Case;
pub use check::check;
pub use link::Link;
pub use method::MethodId;
pub use plan::Plan;
pub use publish::publish;
pub use report::Report;

/// Selection of what the benchmark measures.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rates of the robots' links.
    pub links: Vec<Link>,
    /// Samples per case; slow cases and the first deploy to an empty robot are measured once.
    pub repeat: usize,
    pub cases: Vec<Case>,
    pub methods: Vec<MethodId>,
    /// Also measure the cases that [`Plan`] leaves out to save time.
    pub thorough: bool,
    /// Keep the images and the copy of the workspace.
    pub keep: bool,
    /// Take over the results of the last run of the same command.
    pub resume: bool,
    /// The program that is measured.
    pub xtask: Utf8PathBuf,
}

impl Options {
    /// Command line that repeats this benchmark.
    fn command(&self) -> String {
        let links: Vec<&str> = self.links.iter().map(|link| link.0.as_str()).collect();
        let mut words =
            vec![format!("cargo xtask bench --link {} --repeat {}", links.join(","), self.repeat)];
        if self.methods != MethodId::ALL {
            let names: Vec<&str> = self.methods.iter().map(|method| method.as_str()).collect();
            words.push(format!("--method {}", names.join(",")));
        }
        words.extend(self.thorough.then(|| "--thorough".to_owned()));
        if self.cases != Case::ALL {
            words.extend(self.cases.iter().map(name));
        }
        words.join(" ")
    }
}

/// Name of a value on the command line.
fn name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// A sample that takes more than this many seconds is not repeated: random variation hardly matters at that
/// scale.
const SLOW_SAMPLE: f64 = 20.0;

/// Time over which the background traffic is measured: nodes send on their own, and that is counted as well.
const BACKGROUND_WINDOW: Duration = Duration::from_secs(4);

/// Directory of the results.
pub fn dir(workspace: &Workspace) -> Utf8PathBuf {
    workspace.state_dir().join("bench")
}

/// Runs the benchmark. Results are saved after every case, so that an interrupted run is not lost.
///
/// # Errors
/// A failed deploy, or a robot that does not run the edit, ends the benchmark; with `options.resume`, another run goes on
/// with it. The robots, the images and the copy of the workspace are removed in any case, unless `options.keep` is set.
pub fn run(workspace: &Workspace, builder: Builder, options: &Options, plan: &Plan) -> Result<Report> {
    let begin = Instant::now();
    ui::step("bench", &format!("{} measurements, about {} minutes", plan.steps.len(), plan.minutes()));
    let dir = dir(workspace);
    let fixture = Fixture::new(workspace, &options.xtask, &dir, builder)?;
    let copy = &fixture.copy;
    let methods = options
        .methods
        .iter()
        .map(|id| Ok((*id, methods::create(*id, &fixture)?)))
        .collect::<Result<Vec<(MethodId, Box<dyn Method>)>>>()?;
    let images = methods
        .iter()
        .flat_map(|(_, method)| Workload::ALL.map(|workload| method.images(workload)))
        .flatten()
        .collect();
    let guard = copy.clean_up(images, options.keep);
    let mut report = Report::new(options, plan, Machine::this()?, workspace, &methods)?;
    if options.resume {
        report.take_over(Report::load(&dir)?)?;
    }
    let before = report.so_far;
    report.cargo_seconds = machine::cargo_overhead(copy.program())?;
    for workload in Workload::ALL {
        for (id, method) in &methods {
            let mut steps = plan.of(workload, *id);
            steps.retain(|step| !report.has(step));
            if steps.is_empty() {
                continue;
            }
            ui::step("bench", &format!("{}: {}", id.as_str(), method.description()));
            let method_run = MethodRun { workload, id: *id, method: method.as_ref(), fixture: &fixture };
            method_run.measure_all(&steps, options.repeat, |measurement| {
                report.add(measurement);
                report.so_far = before + begin.elapsed().as_secs_f64();
                report.save(&dir)
            })?;
        }
    }
    if let Some((_, method)) = methods.first() {
        report.floors = floor::all(&plan.floors, method.as_ref(), copy, &dir)?;
    }
    report.seconds = before + begin.elapsed().as_secs_f64();
    report.save(&dir)?;
    drop(guard);
    Ok(report)
}

/// All cases of one workload with one method, on robots of their own.
struct MethodRun<'a> {
    workload: Workload,
    id: MethodId,
    method: &'a dyn Method,
    fixture: &'a Fixture,
}

impl<'a> MethodRun<'a> {
    fn measure_all(
        &self,
        steps: &[&Step],
        repeat: usize,
        mut save: impl FnMut(Measurement) -> Result<()>,
    ) -> Result<()> {
        self.fixture.copy.reset()?;
        self.method.build(self.workload)?;
        let (firsts, others): (Vec<&Step>, Vec<&Step>) =
            steps.iter().partition(|step| step.case == Case::First);
        let (fleet, others): (Vec<&Step>, Vec<&Step>) =
            others.into_iter().partition(|step| step.case.uses_fleet());
        let mut robots = Vec::new();
        for step in firsts {
            robots = vec![self.robot(self.workload.name())?];
            save(self.measure(step, 1, 0, &robots)?)?;
        }
        if robots.is_empty() {
            robots.push(self.robot(self.workload.name())?);
            self.method.deploy(self.workload, &robots)?;
        }
        let background = robots[0].background(BACKGROUND_WINDOW)?;
        ui::step("bench", &format!("{}: {background} B/s of background traffic", self.id.as_str()));
        let mut number = 0;
        for step in others {
            let measurement = self.measure(step, repeat, number, &robots)?;
            number += measurement.samples.len();
            save(measurement)?;
        }
        // Started only now: they would have slowed down the other cases.
        if !fleet.is_empty() {
            self.complete_fleet(&mut robots)?;
        }
        for step in fleet {
            save(self.measure(step, repeat, 0, &robots)?)?;
        }
        TestRobot::remove(&self.fixture.copy, self.workload)
    }

    /// Starts the workload's other robots, and deploys to all.
    fn complete_fleet(&self, robots: &mut Vec<TestRobot<'a>>) -> Result<()> {
        for name in &self.workload.robots()[1..] {
            robots.push(self.robot(name)?);
        }
        robots[0].shape("off")?;
        self.method.deploy(self.workload, robots)
    }

    /// Creates an empty robot and sets it up for the method.
    fn robot(&self, name: &str) -> Result<TestRobot<'a>> {
        let robot = TestRobot::make(self.fixture, self.workload, name)?;
        self.method.set_up(&robot)?;
        Ok(robot)
    }

    /// Takes all samples of a step; `number` is that of the first edit (see [`Case::edit`]).
    fn measure(
        &self,
        step: &Step,
        repeat: usize,
        number: usize,
        robots: &[TestRobot<'_>],
    ) -> Result<Measurement> {
        for robot in robots {
            robot.shape(&step.link.0)?;
        }
        let repeat = if step.is_measured_once() { 1 } else { repeat };
        let mut samples: Vec<Sample> = Vec::new();
        while samples.len() < repeat && samples.iter().all(|sample| sample.seconds < SLOW_SAMPLE) {
            let sample = self.sample(step.case, number + samples.len(), robots)?;
            let (id, case, link) = (self.id.as_str(), step.case.title(), &step.link);
            ui::step("bench", &format!("{id}, {case}, {link}: {}", sample.summary()));
            samples.push(sample);
        }
        Ok(Measurement::new(step, samples))
    }

    /// Edits, deploys, and checks on the robots that the edit runs.
    fn sample(&self, case: Case, number: usize, robots: &[TestRobot<'_>]) -> Result<Sample> {
        let copy = &self.fixture.copy;
        let edit = case.edit(number);
        if let Some(edit) = edit.filter(|_| case.is_built_in_advance()) {
            copy.apply(&edit)?;
            self.fixture.build_by_hand(self.workload).args(["--output", "type=cacheonly"]).run()?;
        }
        let (load, work) = (machine::load(), Some(machine::work()));
        let before = snapshots(robots, case, edit)?;
        let traffic_before = total_traffic(robots)?;
        let (begin, began_at) = (Instant::now(), SystemTime::now());
        if let Some(edit) = edit.filter(|_| !case.is_built_in_advance()) {
            copy.apply(&edit)?;
        }
        let mut status = None;
        match case {
            Case::Status => status = Some(self.method.status(robots)?),
            _ => self.method.deploy(self.workload, robots)?,
        }
        let seconds = begin.elapsed().as_secs_f64();
        let traffic = total_traffic(robots)?.since(traffic_before);
        // Before the snapshots: this query waits until the edited services are ready.
        let downtimes = robots.iter().zip(&before).map(|(robot, before)| robot.downtime(edit, before));
        let downtimes = downtimes.collect::<Result<Vec<Option<Downtime>>>>()?;
        let ready = downtimes.iter().flatten().map(|downtime| downtime.ready_at).max();
        let ready =
            ready.and_then(|at| (UNIX_EPOCH + Duration::from_nanos(at)).duration_since(began_at).ok());
        let ready = ready.map(|time| time.as_secs_f64());
        let downtime =
            downtimes.into_iter().flatten().max_by(|one, two| one.seconds().total_cmp(&two.seconds()));
        let after = snapshots(robots, case, edit)?;
        if let Some(status) = status {
            robots.iter().try_for_each(|robot| robot::check_status(&status, robot.name()))?;
        }
        let mut recreated = 0;
        for (after, before) in after.iter().zip(&before) {
            after.check(case, edit, before, self.method.replaces_containers(case))?;
            recreated += after.recreated(before);
        }
        let Traffic { to_robot, from_robot } = traffic;
        Ok(Sample { seconds, to_robot, from_robot, recreated, downtime, ready, load, work })
    }
}

fn snapshots(robots: &[TestRobot<'_>], case: Case, edit: Option<Edit>) -> Result<Vec<Snapshot>> {
    robots.iter().map(|robot| robot.snapshot(case, edit)).collect()
}

fn total_traffic(robots: &[TestRobot<'_>]) -> Result<Traffic> {
    robots.iter().try_fold(Traffic::default(), |sum, robot| Ok(sum.plus(robot.traffic()?)))
}
