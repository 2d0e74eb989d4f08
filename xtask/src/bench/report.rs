//! What came of a benchmark: every sample, as JSON; the medians, as a table.

use std::fmt;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::contender::{Choice, Contender};
use super::floor::Floor;
use super::gap::Gap;
use super::link::Link;
use super::machine::Machine;
use super::plan::{Plan, Step};
use super::{Options, plot};
use crate::config::Workspace;
use crate::error::Result;
use crate::files;
use crate::process::Cmd;
use crate::ui;

/// Everything that was measured, and what it takes to measure it again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// When, in UTC.
    pub(super) date: String,
    /// Of what.
    pub(super) revision: String,
    /// How to repeat it.
    pub(super) command: String,
    /// The rates of the robots' links.
    pub(super) links: Vec<String>,
    pub(super) machine: Machine,
    /// What `cargo xtask` takes longer than the program itself, which is what was measured.
    pub(super) cargo_seconds: Option<f64>,
    /// What the whole run took; nothing if it did not come to its end.
    pub(super) seconds: f64,
    pub(super) contenders: Vec<Entrant>,
    pub(super) results: Vec<Measured>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) floors: Vec<Floor>,
}

/// Who deployed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entrant {
    pub id: String,
    pub title: String,
    pub description: String,
}

/// One case of one contender over one link.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub contender: String,
    pub case: Case,
    pub link: String,
    pub samples: Vec<Sample>,
}

/// What was not measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    pub contender: String,
    pub case: Case,
    pub link: String,
    pub why: String,
}

impl LeftOut {
    /// A step, and why.
    pub fn new(step: &Step, why: &str) -> Self {
        let (contender, link) = (step.contender.id().to_owned(), step.link.0.clone());
        Self { contender, case: step.case, link, why: why.to_owned() }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (case, link) = (self.case.title(), Link(self.link.clone()));
        write!(f, "{}: {case}, over {link} ({})", self.contender, self.why)
    }
}

/// A line of a table: one case over one link, and what each contender made of it.
#[derive(Debug)]
pub struct Row<'a> {
    pub case: Case,
    pub link: Link,
    /// In the order of the contenders.
    pub measured: Vec<Option<&'a Measured>>,
    /// Bytes, for all robots of the case.
    pub floor: Option<u64>,
}

/// One deploy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// From the edit until the deploy says it is done.
    pub seconds: f64,
    /// Bytes at the robot's network interface, everything of every protocol included.
    pub to_robot: u64,
    /// See `to_robot`.
    pub from_robot: u64,
    /// Containers that were made anew.
    pub recreated: usize,
    /// How long the edited service was interrupted, of several robots the longest; none where that is not told, and in
    /// what was saved before it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// The load average before.
    pub load: Option<f64>,
}

impl Sample {
    /// Bytes in both directions.
    pub fn wire(&self) -> u64 {
        self.to_robot + self.from_robot
    }

    /// One line for people who watch.
    pub fn summary(&self) -> String {
        let gap = self.gap.map_or(String::new(), |gap| format!(", a gap of {}", seconds(gap.seconds())));
        format!("{}, {} on the wire{gap}", seconds(self.seconds), ui::bytes(self.wire()))
    }
}

impl Measured {
    pub fn new(step: &Step, samples: Vec<Sample>) -> Self {
        let (contender, link) = (step.contender.id().to_owned(), step.link.0.clone());
        Self { contender, case: step.case, link, samples }
    }

    pub fn seconds(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.seconds)).unwrap_or_default()
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes, shown with three digits"
    )]
    pub fn wire(&self) -> u64 {
        median(self.samples.iter().map(|sample| sample.wire() as f64)).unwrap_or_default() as u64
    }

    /// Seconds in which the edited service did not work, where that was measured.
    pub fn gap(&self) -> Option<f64> {
        median(self.samples.iter().filter_map(|sample| sample.gap).map(Gap::seconds))
    }
}

/// The middle value; of an even number the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Seconds with as many digits as are worth reading.
pub fn seconds(value: f64) -> String {
    if value < 10.0 { format!("{value:.2} s") } else { format!("{value:.1} s") }
}

/// How many times as much.
pub fn ratio(value: f64, of: f64) -> String {
    match value / of {
        ratio if !ratio.is_finite() => String::new(),
        ratio if ratio < 10.0 => format!("{ratio:.1}×"),
        ratio => format!("{ratio:.0}×"),
    }
}

impl Report {
    pub(super) fn new(
        options: &Options,
        plan: &Plan,
        machine: Machine,
        workspace: &Workspace,
        contenders: &[(Choice, Box<dyn Contender + '_>)],
    ) -> Result<Self> {
        let git = |args: &[&str]| Cmd::new("git").args(args.iter().copied()).dir(&workspace.root).read();
        let dirty = if git(&["status", "--porcelain"])?.is_empty() { "" } else { ", with changes" };
        let entrant = |(choice, contender): &(Choice, Box<dyn Contender + '_>)| Entrant {
            id: choice.id().to_owned(),
            title: contender.title().to_owned(),
            description: contender.description().to_owned(),
        };
        Ok(Self {
            date: Cmd::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).read()?,
            revision: format!("{}{dirty}", git(&["rev-parse", "--short=12", "HEAD"])?),
            command: options.command(),
            links: options.links.iter().map(|link| link.0.clone()).collect(),
            machine,
            cargo_seconds: None,
            seconds: 0.0,
            contenders: contenders.iter().map(entrant).collect(),
            results: Vec::new(),
            left_out: plan.left_out.clone(),
            floors: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, measured: Measured) {
        self.results.push(measured);
    }

    /// What the last run saved.
    ///
    /// # Errors
    /// Fails when there is none, or another version of this program wrote it.
    pub fn load(dir: &Utf8Path) -> Result<Self> {
        Ok(serde_json::from_str(&fs_err::read_to_string(dir.join("bench.json"))?)?)
    }

    /// Writes `bench.json` and `bench.svg`.
    ///
    /// # Errors
    /// Fails when they cannot be written.
    pub fn save(&self, dir: &Utf8Path) -> Result<()> {
        files::replace(&dir.join("bench.json"), &format!("{}\n", serde_json::to_string_pretty(self)?))?;
        files::replace(&dir.join("bench.svg"), &plot::render(&self.chart()))
    }

    /// Cases in the order of [`Case::ALL`], links in theirs; what nobody was measured with has no row.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for case in Case::ALL {
            for link in &self.links {
                let of = |entrant: &Entrant| {
                    self.results.iter().find(|result| {
                        result.contender == entrant.id && result.case == case && result.link == *link
                    })
                };
                let measured: Vec<Option<&Measured>> = self.contenders.iter().map(of).collect();
                if measured.iter().any(Option::is_some) {
                    rows.push(Row { case, link: Link(link.clone()), measured, floor: self.floor(case) });
                }
            }
        }
        rows
    }

    fn floor(&self, case: Case) -> Option<u64> {
        let bytes = |case: Case| self.floors.iter().find(|floor| floor.case == case).map(|floor| floor.bytes);
        match case {
            // The difference of a tree from itself.
            Case::Nothing => Some(0),
            Case::Fleet => bytes(Case::Python).map(|bytes| 3 * bytes),
            _ => bytes(case),
        }
    }

    /// The medians, for a terminal.
    pub fn table(&self) -> String {
        let mut lines: Vec<[String; 11]> = Vec::new();
        for row in self.rows() {
            let first = row.measured.first().copied().flatten();
            for (entrant, measured) in self.contenders.iter().zip(&row.measured) {
                let Some(measured) = measured else { continue };
                let compared = |value: fn(&Measured) -> Option<f64>| {
                    let values = value(measured).zip(first.and_then(value));
                    values.map_or(String::new(), |(value, of)| ratio(value, of))
                };
                #[expect(clippy::cast_precision_loss, reason = "a ratio with two digits")]
                let wire = |measured: &Measured| Some(measured.wire() as f64);
                let recreated = measured.samples.iter().map(|sample| sample.recreated).max();
                lines.push([
                    row.case.title().to_owned(),
                    row.link.to_string(),
                    entrant.title.clone(),
                    seconds(measured.seconds()),
                    compared(|measured| Some(measured.seconds())),
                    ui::bytes(measured.wire()),
                    compared(wire),
                    measured.gap().map_or(String::new(), seconds),
                    compared(Measured::gap),
                    row.floor.map_or(String::new(), ui::bytes),
                    recreated.unwrap_or_default().to_string(),
                ]);
            }
        }
        let head = [
            "CASE",
            "LINK",
            "DEPLOYED BY",
            "TIME",
            "",
            "ON THE WIRE",
            "",
            "GAP",
            "",
            "FLOOR",
            "CONTAINERS MADE",
        ];
        ui::table(head, &lines)
    }

    /// What surrounds the table: what was left out, machine, command.
    pub fn caption(&self) -> String {
        let mut lines: Vec<String> =
            self.left_out.iter().map(|left_out| format!("left out: {left_out}")).collect();
        if self.results.iter().any(|measured| measured.gap().is_some()) {
            lines.push(
                "gap: from the end of the edited service's old container until the new node is ready"
                    .to_owned(),
            );
        }
        lines.push(format!(
            "medians; {}; measured in {:.0} minutes",
            self.machine.summary(),
            self.seconds / 60.0
        ));
        lines.extend(
            self.cargo_seconds
                .map(|seconds| format!("`cargo xtask` itself adds {seconds:.2} s to the first of each")),
        );
        lines.push(format!("repeat: {}", self.command));
        lines.join("\n")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn numbers_have_the_digits_worth_reading() {
        assert_eq!([0.0, 1.234, 83.21].map(seconds), ["0.00 s", "1.23 s", "83.2 s"]);
        assert_eq!([(5.0, 2.0), (83.0, 2.0)].map(|(a, b)| ratio(a, b)), ["2.5×", "42×"]);
        assert_eq!(ratio(1.0, 0.0), "");
    }

    /// A line of Python over two links: by us over both, by hand over the first.
    pub fn report() -> Report {
        let entrant = |id: &str| Entrant { id: id.into(), title: id.into(), description: String::new() };
        let measured = |contender: &str, link: &str, times: &[f64]| Measured {
            contender: contender.into(),
            case: Case::Python,
            link: link.into(),
            samples: times
                .iter()
                .map(|&seconds| Sample {
                    seconds,
                    to_robot: 900,
                    from_robot: 100,
                    recreated: 1,
                    gap: (link == "50mbit").then_some(Gap { to_start: 0.25, to_ready: seconds / 4.0 }),
                    load: None,
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
            contenders: vec![entrant("xtask"), entrant("push")],
            results: vec![
                measured("xtask", "50mbit", &[2.0, 1.0, 9.0]),
                measured("push", "50mbit", &[30.0]),
                measured("xtask", "10mbit", &[3.0]),
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
    fn what_is_saved_can_be_read() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        Report::load(dir).unwrap_err();
        report().save(dir)?;
        assert_eq!(Report::load(dir)?.table(), report().table());
        Ok(())
    }

    #[test]
    fn what_was_saved_before_there_were_gaps_can_be_read() -> Result<()> {
        let text = r#"{ "seconds": 3.8, "to_robot": 1, "from_robot": 2, "recreated": 1, "load": null }"#;
        assert_eq!(serde_json::from_str::<Sample>(text)?.gap, None);
        Ok(())
    }
}
