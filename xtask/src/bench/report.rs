//! What came of a benchmark: every sample, as JSON; the medians, as a table and as a plot.

use camino::Utf8Path;
use serde::Serialize;

use super::case::Case;
use super::contender::Contender;
use super::machine::Machine;
use super::{Options, plot};
use crate::config::Workspace;
use crate::error::Result;
use crate::process::Cmd;
use crate::ui;

/// Everything that was measured, and what it takes to measure it again.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When, in UTC.
    date: String,
    /// Of what.
    revision: String,
    /// How to repeat it.
    command: String,
    link: String,
    machine: Machine,
    /// What `cargo xtask` takes longer than the program itself, which is what was measured.
    pub(super) cargo_seconds: Option<f64>,
    contenders: Vec<Entrant>,
    results: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Entrant {
    id: String,
    title: String,
    description: String,
}

/// One case of one contender.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub contender: String,
    pub case: Case,
    pub samples: Vec<Sample>,
}

/// One deploy.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// From the edit until the deploy says it is done.
    pub seconds: f64,
    /// Bytes at the robot's network interface, everything of every protocol included.
    pub to_robot: u64,
    /// See `to_robot`.
    pub from_robot: u64,
    /// Containers that were made anew.
    pub recreated: usize,
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
        format!("{}, {} on the wire", seconds(self.seconds), ui::bytes(self.wire()))
    }
}

impl Measured {
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
        machine: Machine,
        workspace: &Workspace,
        contenders: &[Box<dyn Contender + '_>],
    ) -> Result<Self> {
        let git = |args: &[&str]| Cmd::new("git").args(args.iter().copied()).dir(&workspace.root).read();
        let dirty = if git(&["status", "--porcelain"])?.is_empty() { "" } else { ", with changes" };
        let entrant = |contender: &dyn Contender| Entrant {
            id: contender.id().to_owned(),
            title: contender.title().to_owned(),
            description: contender.description().to_owned(),
        };
        Ok(Self {
            date: Cmd::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).read()?,
            revision: format!("{}{dirty}", git(&["rev-parse", "--short=12", "HEAD"])?),
            command: options.command(),
            link: options.link.clone(),
            machine,
            cargo_seconds: None,
            contenders: contenders.iter().map(|contender| entrant(contender.as_ref())).collect(),
            results: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, measured: Measured) {
        self.results.push(measured);
    }

    /// Writes `bench.json` and `bench.svg`.
    ///
    /// # Errors
    /// Fails when they cannot be written.
    pub fn save(&self, dir: &Utf8Path) -> Result<()> {
        fs_err::write(dir.join("bench.json"), format!("{}\n", serde_json::to_string_pretty(self)?))?;
        Ok(fs_err::write(dir.join("bench.svg"), plot::render(&self.chart()))?)
    }

    fn of(&self, contender: &str, case: Case) -> Option<&Measured> {
        self.results.iter().find(|result| result.contender == contender && result.case == case)
    }

    /// Cases in the order of [`Case::ALL`], contenders in theirs, with what each is compared with.
    fn rows(&self) -> impl Iterator<Item = (Case, &Entrant, &Measured, Option<&Measured>)> {
        Case::ALL.into_iter().flat_map(move |case| {
            let first = self.contenders.first().and_then(|first| self.of(&first.id, case));
            self.contenders
                .iter()
                .filter_map(move |entrant| Some((case, entrant, self.of(&entrant.id, case)?, first)))
        })
    }

    /// The medians, for a terminal.
    pub fn table(&self) -> String {
        let rows: Vec<[String; 7]> = self
            .rows()
            .map(|(case, entrant, measured, first)| {
                let ratio = |value: f64, of: fn(&Measured) -> f64| {
                    first.map_or(String::new(), |first| ratio(value, of(first)))
                };
                #[expect(clippy::cast_precision_loss, reason = "a ratio with two digits")]
                let wire = |measured: &Measured| measured.wire() as f64;
                let recreated = measured.samples.iter().map(|sample| sample.recreated).max();
                [
                    case.title().to_owned(),
                    entrant.title.clone(),
                    seconds(measured.seconds()),
                    ratio(measured.seconds(), Measured::seconds),
                    ui::bytes(measured.wire()),
                    ratio(wire(measured), wire),
                    recreated.unwrap_or_default().to_string(),
                ]
            })
            .collect();
        ui::table(["CASE", "DEPLOYED BY", "TIME", "", "ON THE WIRE", "", "CONTAINERS MADE"], &rows)
    }

    /// What surrounds the table: link, machine, command.
    pub fn caption(&self) -> String {
        let cargo = self.cargo_seconds.map_or(String::new(), |seconds| {
            format!("\n`cargo xtask` itself adds {seconds:.2} s to the first of each")
        });
        format!(
            "medians; {} link; {}{cargo}\nrepeat: {}",
            rate(&self.link),
            self.machine.summary(),
            self.command
        )
    }

    fn chart(&self) -> plot::Chart {
        let bar = |entrant: &Entrant, measured: &Measured| plot::Bar {
            series: self.contenders.iter().position(|each| each.id == entrant.id).unwrap_or_default(),
            seconds: measured.seconds(),
            bytes: measured.wire(),
        };
        let mut groups: Vec<plot::Group> = Vec::new();
        for (case, entrant, measured, _) in self.rows() {
            let title = case.title();
            match groups.last_mut().filter(|group| group.title == title) {
                Some(group) => group.bars.push(bar(entrant, measured)),
                None => {
                    groups.push(plot::Group { title: title.to_owned(), bars: vec![bar(entrant, measured)] })
                }
            }
        }
        plot::Chart {
            title: format!("From an edit to its container running, over {}", rate(&self.link)),
            series: self.contenders.iter().map(|entrant| entrant.title.clone()).collect(),
            groups,
            note: format!("{} · {} · {}", self.machine.summary(), self.revision, &self.date[..10]),
        }
    }
}

/// A rate as people write it.
fn rate(link: &str) -> String {
    let digits = link.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    match &link[digits.len()..] {
        "mbit" => format!("{digits} Mbit/s"),
        "gbit" => format!("{digits} Gbit/s"),
        "kbit" => format!("{digits} kbit/s"),
        _ => link.to_owned(),
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(["50mbit", "1gbit", "off"].map(rate), ["50 Mbit/s", "1 Gbit/s", "off"]);
    }

    fn measured(contender: &str, times: &[f64]) -> Measured {
        let sample =
            |&seconds: &f64| Sample { seconds, to_robot: 900, from_robot: 100, recreated: 1, load: None };
        Measured {
            contender: contender.into(),
            case: Case::Python,
            samples: times.iter().map(sample).collect(),
        }
    }

    #[test]
    fn the_table_compares_with_the_first() {
        let entrant = |id: &str| Entrant { id: id.into(), title: id.into(), description: String::new() };
        let report = Report {
            date: "2026-01-01T00:00:00Z".into(),
            revision: "abc".into(),
            command: "cargo xtask bench".into(),
            link: "50mbit".into(),
            machine: Machine::unknown(),
            cargo_seconds: None,
            contenders: vec![entrant("xtask"), entrant("push")],
            results: vec![measured("xtask", &[2.0, 1.0, 9.0]), measured("push", &[30.0])],
        };
        let table = report.table();
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1][4..], ["xtask", "2.00", "s", "1.0×", "1.0", "kB", "1.0×", "1"]);
        assert_eq!(rows[2][4..], ["push", "30.0", "s", "15×", "1.0", "kB", "1.0×", "1"]);
        let chart = report.chart();
        assert_eq!((chart.groups.len(), chart.groups[0].bars.len()), (1, 2));
    }
}
