//! The report of a benchmark: every sample as JSON, and the medians as a table.

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::downtime::Downtime;
use super::figures::{median, ratio, seconds};
use super::floor::Floor;
use super::link::Link;
use super::machine::Machine;
use super::method::{Method, MethodId};
use super::plan::{LeftOut, Plan, Step};
use super::{Options, plot};
use robot_deploy::config::Workspace;
use robot_deploy::error::{Failure, Result};
use robot_deploy::files;
use robot_deploy::process::Cmd;
use robot_deploy::ui;

/// All results, with the data needed to repeat the benchmark. The JSON keys keep their earlier names, so that
/// reports of earlier versions can be loaded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Date and time of the run in UTC.
    pub(super) date: String,
    /// Git revision of the workspace.
    pub(super) revision: String,
    /// Command that repeats the run.
    pub(super) command: String,
    pub(super) links: Vec<String>,
    pub(super) machine: Machine,
    /// Seconds that `cargo xtask` takes longer than the program itself; the samples do not include them.
    pub(super) cargo_seconds: Option<f64>,
    /// Duration of the whole run; zero if it did not finish.
    pub(super) seconds: f64,
    /// Seconds until the last of the results.
    #[serde(default)]
    pub(super) so_far: f64,
    #[serde(rename = "contenders")]
    pub(super) methods: Vec<MethodInfo>,
    pub(super) results: Vec<Measurement>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) floors: Vec<Floor>,
}

/// Description of a deploy method.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MethodInfo {
    pub id: String,
    pub title: String,
    pub description: String,
}

/// One case of one method over one link.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    #[serde(rename = "contender")]
    pub method: String,
    pub case: Case,
    pub link: String,
    pub samples: Vec<Sample>,
}

/// A line of a table: one case over one link, with the results of all methods.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub case: Case,
    pub link: Link,
    /// Results in the order of the methods.
    pub measurements: Vec<Option<&'a Measurement>>,
    /// Floor in bytes, for all robots of the case.
    pub floor: Option<u64>,
}

/// One sample: a deploy, or a `status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Time from the edit until the deploy command returns.
    pub seconds: f64,
    /// Bytes received at the robot's network interface, with all protocol overhead.
    pub to_robot: u64,
    /// Bytes sent at the robot's network interface.
    pub from_robot: u64,
    /// Number of new containers.
    pub recreated: usize,
    /// Downtime of the edited service, the longest of several robots; `None` if the service logs no ready
    /// message, and in reports of earlier versions.
    #[serde(rename = "gap", default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<Downtime>,
    /// Seconds from the edit until the new node is ready, on the slowest of several robots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<f64>,
    /// Load average before the sample.
    pub load: Option<f64>,
    /// Seconds of a fixed piece of work just before the sample ([`super::machine::work`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<f64>,
}

impl Sample {
    /// Bytes in both directions.
    pub(crate) fn wire(&self) -> u64 {
        self.to_robot + self.from_robot
    }

    /// One line of progress output.
    pub(crate) fn summary(&self) -> String {
        let downtime = self
            .downtime
            .map_or(String::new(), |downtime| format!(", downtime {}", seconds(downtime.seconds())));
        let ready = self.ready.map_or(String::new(), |ready| format!(", ready after {}", seconds(ready)));
        format!("{}{ready}, {} on the wire{downtime}", seconds(self.seconds), ui::bytes(self.wire()))
    }
}

impl Measurement {
    pub(crate) fn new(step: &Step, samples: Vec<Sample>) -> Self {
        let (method, link) = (step.method.as_str().to_owned(), step.link.0.clone());
        Self { method, case: step.case, link, samples }
    }

    pub(crate) fn seconds(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.seconds)).unwrap_or_default()
    }

    /// Median seconds of a fixed piece of work before the samples.
    pub(crate) fn work(&self) -> Option<f64> {
        median(self.samples.iter().filter_map(|sample| sample.work))
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes, shown with three digits"
    )]
    pub(crate) fn wire(&self) -> u64 {
        median(self.samples.iter().map(|sample| sample.wire() as f64)).unwrap_or_default() as u64
    }

    /// Median seconds until the new node is ready, if the command returns before.
    pub(crate) fn ready_later(&self) -> Option<f64> {
        median(self.samples.iter().filter_map(|sample| sample.ready)).filter(|ready| *ready > self.seconds())
    }

    /// Median downtime of the edited service in seconds, if it was measured.
    pub(crate) fn downtime(&self) -> Option<f64> {
        median(self.samples.iter().filter_map(|sample| sample.downtime).map(Downtime::seconds))
    }
}

impl Report {
    pub(super) fn new(
        options: &Options,
        plan: &Plan,
        machine: Machine,
        workspace: &Workspace,
        methods: &[(MethodId, Box<dyn Method + '_>)],
    ) -> Result<Self> {
        let git = |args: &[&str]| Cmd::new("git").args(args.iter().copied()).dir(&workspace.root).read();
        let dirty =
            if git(&["status", "--porcelain"])?.is_empty() { "" } else { ", with uncommitted changes" };
        let info = |(id, method): &(MethodId, Box<dyn Method + '_>)| MethodInfo {
            id: id.as_str().to_owned(),
            title: method.title().to_owned(),
            description: method.description().to_owned(),
        };
        Ok(Self {
            date: Cmd::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).read()?,
            revision: format!("{}{dirty}", git(&["rev-parse", "--short=12", "HEAD"])?),
            command: options.command(),
            links: options.links.iter().map(|link| link.0.clone()).collect(),
            machine,
            cargo_seconds: None,
            seconds: 0.0,
            so_far: 0.0,
            methods: methods.iter().map(info).collect(),
            results: Vec::new(),
            left_out: plan.left_out.clone(),
            floors: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, measurement: Measurement) {
        self.results.push(measurement);
    }

    /// Takes over the results of an earlier run of the same command on the same revision.
    pub(super) fn take_over(&mut self, earlier: Self) -> Result<()> {
        let run = |report: &Self| (report.revision.clone(), report.command.clone());
        if run(self) != run(&earlier) {
            let Self { revision, command, .. } = earlier;
            return Err(Failure::failed(format!("the last run was `{command}` at `{revision}`"))
                .hint("only a run of the same command on the same revision goes on; without `--resume`, a new one begins")
                .into());
        }
        (self.date, self.so_far, self.results) = (earlier.date, earlier.so_far, earlier.results);
        Ok(())
    }

    /// Returns whether a step has been measured.
    pub(super) fn has(&self, step: &Step) -> bool {
        let is_of = |result: &Measurement| {
            result.method == step.method.as_str() && result.case == step.case && result.link == step.link.0
        };
        self.results.iter().any(is_of)
    }

    /// Loads the report of the last run.
    pub fn load(dir: &Utf8Path) -> Result<Self> {
        Self::load_file(&dir.join("bench.json"))
    }

    pub(super) fn load_file(file: &Utf8Path) -> Result<Self> {
        Ok(serde_json::from_str(&fs_err::read_to_string(file)?)?)
    }

    /// Writes `bench.json` and `bench.svg`.
    pub fn save(&self, dir: &Utf8Path) -> Result<()> {
        files::replace(&dir.join("bench.json"), &format!("{}\n", serde_json::to_string_pretty(self)?))?;
        files::replace(&dir.join("bench.svg"), &plot::render(&self.chart())?)
    }

    /// Rows of the table: cases in the order of [`Case::ALL`], then links in order. Rows without any result
    /// are left out.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for case in Case::ALL {
            for link in &self.links {
                let measurement = |method: &MethodInfo| {
                    self.results.iter().find(|result| {
                        result.method == method.id && result.case == case && result.link == *link
                    })
                };
                let measurements: Vec<Option<&Measurement>> = self.methods.iter().map(measurement).collect();
                if measurements.iter().any(Option::is_some) {
                    rows.push(Row { case, link: Link(link.clone()), measurements, floor: self.floor(case) });
                }
            }
        }
        rows
    }

    fn floor(&self, case: Case) -> Option<u64> {
        let bytes = |case: Case| self.floors.iter().find(|floor| floor.case == case).map(|floor| floor.bytes);
        match case {
            // No file changes.
            Case::Nothing => Some(0),
            Case::Fleet => bytes(Case::Python).map(|bytes| 3 * bytes),
            _ => bytes(case),
        }
    }

    /// Table of the medians, for a terminal.
    pub fn table(&self) -> String {
        let mut lines: Vec<[String; 11]> = Vec::new();
        for row in self.rows() {
            let first = row.measurements.first().copied().flatten();
            for (method, measurement) in self.methods.iter().zip(&row.measurements) {
                let Some(measurement) = measurement else { continue };
                let compared = |value: fn(&Measurement) -> Option<f64>| {
                    let values = value(measurement).zip(first.and_then(value));
                    values.map_or(String::new(), |(value, of)| ratio(value, of))
                };
                #[expect(clippy::cast_precision_loss, reason = "a ratio with two digits")]
                let wire = |measurement: &Measurement| Some(measurement.wire() as f64);
                let recreated = measurement.samples.iter().map(|sample| sample.recreated).max();
                lines.push([
                    row.case.title().to_owned(),
                    row.link.to_string(),
                    method.title.clone(),
                    seconds(measurement.seconds()),
                    compared(|measurement| Some(measurement.seconds())),
                    ui::bytes(measurement.wire()),
                    compared(wire),
                    measurement.downtime().map_or(String::new(), seconds),
                    compared(Measurement::downtime),
                    row.floor.map_or(String::new(), ui::bytes),
                    recreated.unwrap_or_default().to_string(),
                ]);
            }
        }
        let head =
            ["CASE", "LINK", "METHOD", "TIME", "", "TRAFFIC", "", "DOWNTIME", "", "FLOOR", "NEW CONTAINERS"];
        ui::table(head, &lines)
    }

    /// Text below the table: steps left out, explanations, machine, command.
    pub fn caption(&self) -> String {
        let mut lines: Vec<String> =
            self.left_out.iter().map(|left_out| format!("left out: {left_out}")).collect();
        if self.results.iter().any(|measurement| measurement.downtime().is_some()) {
            lines.push(
                "downtime: from the end of the edited service's old container until the new node is ready"
                    .to_owned(),
            );
        }
        lines.push(format!(
            "medians; {}; measured in {:.0} minutes",
            self.machine.summary(),
            self.seconds / 60.0
        ));
        lines.extend(self.cargo_seconds.map(|seconds| {
            format!("`cargo xtask` adds {seconds:.2} s to each call, which the times do not include")
        }));
        lines.push(format!("repeat: {}", self.command));
        lines.join("\n")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A line of Python over two links: by `xtask` over both, by `push` over the first.
    pub(crate) fn report() -> Report {
        let method = |id: &str| MethodInfo { id: id.into(), title: id.into(), description: String::new() };
        let measurement = |method: &str, link: &str, times: &[f64]| Measurement {
            method: method.into(),
            case: Case::Python,
            link: link.into(),
            samples: times
                .iter()
                .map(|&seconds| Sample {
                    seconds,
                    to_robot: 900,
                    from_robot: 100,
                    recreated: 1,
                    downtime: (link == "50mbit").then_some(Downtime {
                        to_start: 0.25,
                        to_ready: seconds / 4.0,
                        ready_at: 0,
                    }),
                    ready: (method == "push").then_some(seconds + 1.5),
                    load: None,
                    work: None,
                })
                .collect(),
        };
        Report {
            date: "2026-01-01T00:00:00Z".into(),
            revision: "abc".into(),
            command: "cargo xtask bench".into(),
            links: vec!["50mbit".into(), "10mbit".into()],
            machine: Machine::unknown(),
            cargo_seconds: None,
            seconds: 600.0,
            so_far: 0.0,
            methods: vec![method("xtask"), method("push")],
            results: vec![
                measurement("xtask", "50mbit", &[2.0, 1.0, 9.0]),
                measurement("push", "50mbit", &[30.0]),
                measurement("xtask", "10mbit", &[3.0]),
            ],
            left_out: Vec::new(),
            floors: vec![Floor { case: Case::Python, bytes: 400, levels: vec![(9, 400)] }],
        }
    }

    #[test]
    fn the_table_compares_with_the_first() {
        let table = report().table();
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows[1][4..],
            [
                "50", "Mbit/s", "xtask", "2.00", "s", "1.0×", "1.0", "kB", "1.0×", "0.75", "s", "1.0×",
                "400", "B", "1"
            ]
        );
        assert_eq!(
            rows[2][4..],
            [
                "50", "Mbit/s", "push", "30.0", "s", "15×", "1.0", "kB", "1.0×", "7.75", "s", "10×", "400",
                "B", "1"
            ]
        );
        assert_eq!(
            rows[3][4..],
            ["10", "Mbit/s", "xtask", "3.00", "s", "1.0×", "1.0", "kB", "1.0×", "400", "B", "1"]
        );
    }

    #[test]
    fn a_saved_report_can_be_loaded() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        Report::load(dir).unwrap_err();
        report().save(dir)?;
        assert_eq!(Report::load(dir)?.table(), report().table());
        Ok(())
    }

    #[test]
    fn the_keys_of_saved_reports_stay() -> Result<()> {
        let json = serde_json::to_value(report())?;
        assert_eq!(json["contenders"][0]["id"], "xtask");
        assert_eq!(json["results"][1]["contender"], "push");
        assert_eq!(json["results"][0]["samples"][0]["gap"]["to_start"], 0.25);
        Ok(())
    }

    #[test]
    fn a_run_goes_on_with_one_of_the_same_command_only() -> Result<()> {
        let mut later = Report { results: Vec::new(), ..report() };
        let step = |method| Step { method, case: Case::Python, link: Link("10mbit".into()) };
        later.take_over(Report { so_far: 60.0, ..report() })?;
        assert!(later.has(&step(MethodId::Xtask)) && !later.has(&step(MethodId::Push)));
        assert!((later.so_far - 60.0).abs() < 1e-9);
        later.take_over(Report { revision: "def".into(), ..report() }).unwrap_err();
        Ok(())
    }

    #[test]
    fn a_sample_saved_without_downtime_can_be_loaded() -> Result<()> {
        let text = r#"{ "seconds": 3.8, "to_robot": 1, "from_robot": 2, "recreated": 1, "load": null }"#;
        assert_eq!(serde_json::from_str::<Sample>(text)?.downtime, None);
        Ok(())
    }
}
