//! The plan of a benchmark: the steps in order, the steps left out with the reason, and an estimate of the
//! duration.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::link::Link;
use super::method::MethodId;
use super::workload::Workload;
use super::{Options, SLOW_SAMPLE};

/// One case of one method over one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub method: MethodId,
    pub case: Case,
    pub link: Link,
}

/// Plan of the whole benchmark.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Steps in the order in which they are measured.
    pub steps: Vec<Step>,
    /// Steps that are not measured, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Cases whose floor is measured.
    pub floors: Vec<Case>,
    repeat: usize,
}

impl Plan {
    /// Plans the benchmark that `options` ask for.
    pub fn new(options: &Options) -> Self {
        let mut plan = Self { repeat: options.repeat, ..Self::default() };
        let slowest = options.links.iter().all(Link::is_slow);
        for workload in Workload::ALL {
            for &method in &options.methods {
                for link in &options.links {
                    for case in options.cases.iter().copied().filter(|case| case.workload() == workload) {
                        let step = Step { method, case, link: link.clone() };
                        match step.left_out(options.thorough || slowest) {
                            None => plan.steps.push(step),
                            Some(why) => plan.left_out.push(LeftOut::new(&step, why)),
                        }
                    }
                }
            }
        }
        // The floor is zero if nothing changed, and three times that of one robot for three robots.
        let has_floor = |case: &Case| {
            !matches!(case, Case::Nothing | Case::Fleet | Case::Status)
                && plan.steps.iter().any(|step| step.case == *case)
        };
        plan.floors = Case::ALL.into_iter().filter(has_floor).collect();
        plan
    }

    /// Steps of a workload with a method.
    pub fn of(&self, workload: Workload, method: MethodId) -> Vec<&Step> {
        self.steps.iter().filter(|step| step.method == method && step.case.workload() == workload).collect()
    }

    /// Returns whether the benchmark runs `zstd`.
    pub fn needs_zstd(&self) -> bool {
        !self.floors.is_empty()
    }

    /// Returns whether the benchmark runs `rsync`.
    pub fn needs_rsync(&self) -> bool {
        self.steps.iter().any(|step| step.method == MethodId::Rsync)
    }

    /// Estimated duration in seconds, from runs on two cores.
    fn estimate(&self) -> f64 {
        let steps: f64 = self.steps.iter().map(|step| step.estimate(self.repeat)).sum();
        let mut preparations = 0.0;
        for workload in Workload::ALL {
            for method in MethodId::ALL {
                if !self.of(workload, method).is_empty() {
                    preparations += if workload == Workload::Layer { 80.0 } else { 40.0 };
                }
            }
        }
        let floors = self.floors.iter().map(|case| match case {
            Case::Nothing | Case::Fleet | Case::Status => 0.0,
            Case::Layer => 60.0,
            Case::Python | Case::Cpp | Case::First | Case::Monolith => 55.0,
        });
        steps + preparations + floors.sum::<f64>()
    }

    /// Estimated duration in whole minutes.
    pub fn minutes(&self) -> String {
        format!("{:.0}", (self.estimate() / 60.0).ceil())
    }

    /// Describes the plan for a dry run.
    pub fn describe(&self) -> String {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|step| {
                let Step { method, case, link } = step;
                format!("{}: {}, over {link}", method.as_str(), case.title())
            })
            .collect();
        lines.extend(self.left_out.iter().map(|left_out| format!("left out: {left_out}")));
        let floors: Vec<&str> = self.floors.iter().map(|case| case.title()).collect();
        lines.push(format!("floors measured for: {}", floors.join("; ")));
        lines.push(format!("about {} minutes in total", self.minutes()));
        lines.join("\n")
    }
}

/// A step that was not measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    #[serde(rename = "contender")]
    pub method: String,
    pub case: Case,
    pub link: String,
    pub why: String,
}

impl LeftOut {
    pub fn new(step: &Step, why: &str) -> Self {
        let (method, link) = (step.method.as_str().to_owned(), step.link.0.clone());
        Self { method, case: step.case, link, why: why.to_owned() }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (case, link) = (self.case.title(), Link(self.link.clone()));
        write!(f, "{}: {case}, over {link} ({})", self.method, self.why)
    }
}

impl Step {
    /// Reason for leaving the step out, or `None` if the step is measured.
    fn left_out(&self, thorough: bool) -> Option<&'static str> {
        use Case::{Cpp, First, Fleet, Nothing, Python, Status};
        match (self.method, self.case) {
            (MethodId::Watch, Python | Cpp | Fleet) | (MethodId::Rsync | MethodId::Compose, Python) => None,
            (MethodId::Watch, _) => Some("shows edits of the workspace's packages"),
            (MethodId::Rsync | MethodId::Compose, _) => Some("brings files that need no build"),
            (MethodId::Push | MethodId::Load, Fleet) => Some("deploys to one robot at a time"),
            (MethodId::Push | MethodId::Load, Status) => Some("has no status command"),
            _ if thorough => None,
            (MethodId::Load, _) if self.link.is_slow() => {
                Some("sends the whole image every time, which takes many minutes")
            }
            (MethodId::Load, Cpp) => Some("sends as much as for a line of Python"),
            (_, Nothing | Cpp | First | Status) if self.link.is_slow() => {
                Some("measured over the faster link")
            }
            _ => None,
        }
    }

    /// Estimated duration of all samples, in seconds.
    fn estimate(&self, repeat: usize) -> f64 {
        // Seconds of work, and megabytes sent.
        let (work, megabytes): (f64, f64) = match (self.method, self.case) {
            (MethodId::Xtask, Case::Nothing | Case::Status) => (1.0, 0.0),
            (MethodId::Xtask, Case::Python | Case::Cpp) => (6.0, 0.2),
            (MethodId::Xtask, Case::Fleet) => (10.0, 0.6),
            (MethodId::Xtask, Case::First) => (8.0, 70.0),
            (MethodId::Xtask, Case::Layer) => (45.0, 2.0),
            (MethodId::Xtask, Case::Monolith) => (8.0, 0.3),
            (MethodId::Watch, Case::Cpp) => (6.0, 0.2),
            (MethodId::Watch | MethodId::Rsync | MethodId::Compose, _) => (2.0, 0.1),
            (_, Case::Fleet | Case::Status) => (0.0, 0.0),
            (MethodId::Push, Case::Nothing) => (1.0, 0.0),
            (MethodId::Push, Case::Python | Case::Cpp) => (40.0, 6.0),
            (MethodId::Push, Case::First) => (14.0, 361.0),
            (MethodId::Push, Case::Layer) => (60.0, 205.0),
            (MethodId::Push, Case::Monolith) => (14.0, 18.0),
            (MethodId::Load, Case::Nothing) => (4.0, 361.0),
            (MethodId::Load, Case::Python | Case::Cpp) => (55.0, 361.0),
            (MethodId::Load, Case::First) => (13.0, 361.0),
            (MethodId::Load, Case::Layer) => (75.0, 296.0),
            (MethodId::Load, Case::Monolith) => (14.0, 80.0),
        };
        let transfer = self.link.rate().map_or(0.0, |rate| megabytes * 8e6 / rate);
        let once = work + transfer;
        let samples = if once > SLOW_SAMPLE || self.is_measured_once() { 1 } else { repeat };
        #[expect(clippy::cast_precision_loss, reason = "a few samples")]
        let all = once * samples as f64;
        all
    }

    /// Returns whether the step has one sample, however long it takes: each would need an empty robot or a
    /// new build of a layer of hundreds of megabytes.
    pub fn is_measured_once(&self) -> bool {
        matches!(self.case, Case::First | Case::Layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            links: ["50mbit", "10mbit"].map(|link| Link(link.to_owned())).to_vec(),
            repeat: 3,
            cases: Case::ALL.to_vec(),
            methods: MethodId::ALL.to_vec(),
            thorough: false,
            keep: false,
            resume: false,
            xtask: Default::default(),
        }
    }

    #[test]
    fn every_case_is_measured_or_listed_as_left_out() {
        let plan = Plan::new(&options());
        assert_eq!(plan.steps.len() + plan.left_out.len(), Case::ALL.len() * MethodId::ALL.len() * 2);
        let has = |method, case, link: &str| {
            let step = Step { method, case, link: Link(link.to_owned()) };
            plan.steps.contains(&step)
        };
        assert!(has(MethodId::Push, Case::Layer, "10mbit") && has(MethodId::Xtask, Case::Layer, "10mbit"));
        assert!(has(MethodId::Load, Case::First, "50mbit") && !has(MethodId::Load, Case::Layer, "10mbit"));
        let fleet = plan.steps.iter().filter(|step| step.case.uses_fleet());
        let is_ours = |step: &Step| matches!(step.method, MethodId::Xtask | MethodId::Watch);
        assert!(fleet.clone().count() == 5 && fleet.clone().all(is_ours));
        assert!(has(MethodId::Xtask, Case::Status, "50mbit"));
    }

    #[test]
    fn a_thorough_run_leaves_out_only_cases_without_an_equivalent_by_hand() {
        let plan = Plan::new(&Options { thorough: true, ..options() });
        let shows_edits =
            |left_out: &LeftOut| ["watch", "rsync", "compose"].contains(&left_out.method.as_str());
        let is_known = |left_out: &LeftOut| left_out.case.uses_fleet() || shows_edits(left_out);
        assert!(plan.left_out.iter().all(is_known), "{:?}", plan.left_out);
        assert!(plan.estimate() > Plan::new(&options()).estimate());
    }

    #[test]
    fn a_single_slow_link_is_measured_like_a_fast_one() {
        let options =
            Options { links: vec![Link("10mbit".to_owned())], cases: vec![Case::First], ..options() };
        assert_eq!(Plan::new(&options).steps.len(), 3);
    }
}
