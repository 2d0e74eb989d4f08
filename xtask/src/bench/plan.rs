//! What is measured, in which order, what is left out and why, and how long all of that takes.

use super::case::Case;
use super::contender::Choice;
use super::link::Link;
use super::report::LeftOut;
use super::subject::Subject;
use super::{Options, PATIENCE};

/// One case of one contender over one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who deploys.
    pub contender: Choice,
    /// What.
    pub case: Case,
    /// Over which link.
    pub link: Link,
}

/// The whole run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which they are measured.
    pub steps: Vec<Step>,
    /// What might have been measured as well.
    pub left_out: Vec<LeftOut>,
    /// The cases of which the floor is found out.
    pub floors: Vec<Case>,
    repeat: usize,
}

impl Plan {
    /// What the options ask for.
    pub fn new(options: &Options) -> Self {
        let mut plan = Self { repeat: options.repeat, ..Self::default() };
        let slowest = options.links.iter().all(Link::is_slow);
        for subject in Subject::ALL {
            for &contender in &options.contenders {
                for link in &options.links {
                    for case in options.cases.iter().copied().filter(|case| case.subject() == subject) {
                        let step = Step { contender, case, link: link.clone() };
                        match step.left_out(options.thorough || slowest) {
                            None => plan.steps.push(step),
                            Some(why) => plan.left_out.push(LeftOut::new(&step, why)),
                        }
                    }
                }
            }
        }
        // Of nothing it is nothing, and of three robots three times that of one.
        let wanted = |case: &Case| {
            !matches!(case, Case::Nothing | Case::Fleet | Case::Status)
                && plan.steps.iter().any(|step| step.case == *case)
        };
        plan.floors = Case::ALL.into_iter().filter(wanted).collect();
        plan
    }

    /// The steps of a contender with a subject.
    pub fn of(&self, subject: Subject, contender: Choice) -> Vec<&Step> {
        self.steps
            .iter()
            .filter(|step| step.contender == contender && step.case.subject() == subject)
            .collect()
    }

    /// Whether `zstd` is run.
    pub fn needs_zstd(&self) -> bool {
        !self.floors.is_empty()
    }

    /// Seconds that the run takes, more or less: from runs on two cores.
    fn estimate(&self) -> f64 {
        let steps: f64 = self.steps.iter().map(|step| step.estimate(self.repeat)).sum();
        let mut preparations = 0.0;
        for subject in Subject::ALL {
            for contender in Choice::ALL {
                if !self.of(subject, contender).is_empty() {
                    preparations += if subject == Subject::Layer { 80.0 } else { 40.0 };
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

    /// The estimate, as people say it.
    pub fn minutes(&self) -> String {
        format!("{:.0}", (self.estimate() / 60.0).ceil())
    }

    /// For people who want to know before it runs.
    pub fn describe(&self) -> String {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|step| {
                let Step { contender, case, link } = step;
                format!("{}: {}, over {link}", contender.id(), case.title())
            })
            .collect();
        lines.extend(self.left_out.iter().map(|left_out| format!("left out: {left_out}")));
        let floors: Vec<&str> = self.floors.iter().map(|case| case.title()).collect();
        lines.push(format!("the floor of: {}", floors.join("; ")));
        lines.push(format!("in all about {} minutes", self.minutes()));
        lines.join("\n")
    }
}

impl Step {
    /// Why it is not measured, unless it is.
    fn left_out(&self, thorough: bool) -> Option<&'static str> {
        use Case::{Cpp, First, Fleet, Nothing, Status};
        match (self.contender, self.case) {
            (Choice::Push | Choice::Load, Fleet) => Some("by hand robots are served one after another"),
            (Choice::Push | Choice::Load, Status) => Some("there is no such thing by hand"),
            _ if thorough => None,
            (Choice::Load, _) if self.link.is_slow() => Some("sends all, every time: many minutes"),
            (Choice::Load, Cpp) => Some("sends as much as for a line of Python"),
            (_, Nothing | Cpp | First | Status) if self.link.is_slow() => {
                Some("measured over the faster link")
            }
            _ => None,
        }
    }

    /// Seconds of all samples.
    fn estimate(&self, repeat: usize) -> f64 {
        // Seconds of work, and megabytes that travel.
        let (work, megabytes): (f64, f64) = match (self.contender, self.case) {
            (Choice::Xtask, Case::Nothing | Case::Status) => (1.0, 0.0),
            (Choice::Xtask, Case::Python | Case::Cpp) => (6.0, 0.2),
            (Choice::Xtask, Case::Fleet) => (10.0, 0.6),
            (Choice::Xtask, Case::First) => (8.0, 70.0),
            (Choice::Xtask, Case::Layer) => (45.0, 2.0),
            (Choice::Xtask, Case::Monolith) => (8.0, 0.3),
            (_, Case::Fleet | Case::Status) => (0.0, 0.0),
            (Choice::Push, Case::Nothing) => (1.0, 0.0),
            (Choice::Push, Case::Python | Case::Cpp) => (40.0, 6.0),
            (Choice::Push, Case::First) => (14.0, 361.0),
            (Choice::Push, Case::Layer) => (60.0, 205.0),
            (Choice::Push, Case::Monolith) => (14.0, 18.0),
            (Choice::Load, Case::Nothing) => (4.0, 361.0),
            (Choice::Load, Case::Python | Case::Cpp) => (55.0, 361.0),
            (Choice::Load, Case::First) => (13.0, 361.0),
            (Choice::Load, Case::Layer) => (75.0, 296.0),
            (Choice::Load, Case::Monolith) => (14.0, 80.0),
        };
        let travel = self.link.rate().map_or(0.0, |rate| megabytes * 8e6 / rate);
        let once = work + travel;
        let samples = if once > PATIENCE || self.is_measured_once() { 1 } else { repeat };
        #[expect(clippy::cast_precision_loss, reason = "a few samples")]
        let all = once * samples as f64;
        all
    }

    /// Whether one sample is enough whatever it takes: the robot would have to be emptied, or a layer of
    /// hundreds of megabytes built, for each.
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
            contenders: Choice::ALL.to_vec(),
            thorough: false,
            keep: false,
        }
    }

    #[test]
    fn every_case_is_measured_or_said_to_be_left_out() {
        let plan = Plan::new(&options());
        assert_eq!(plan.steps.len() + plan.left_out.len(), Case::ALL.len() * 3 * 2);
        let has = |contender, case, link: &str| {
            let step = Step { contender, case, link: Link(link.to_owned()) };
            plan.steps.contains(&step)
        };
        assert!(has(Choice::Push, Case::Layer, "10mbit") && has(Choice::Xtask, Case::Layer, "10mbit"));
        assert!(has(Choice::Load, Case::First, "50mbit") && !has(Choice::Load, Case::Layer, "10mbit"));
        let fleet = plan.steps.iter().filter(|step| step.case.is_of_fleet());
        assert!(fleet.clone().count() == 3 && fleet.clone().all(|step| step.contender == Choice::Xtask));
        assert!(has(Choice::Xtask, Case::Status, "50mbit"));
    }

    #[test]
    fn a_thorough_run_leaves_out_only_what_nobody_does() {
        let plan = Plan::new(&Options { thorough: true, ..options() });
        assert!(plan.left_out.iter().all(|left_out| left_out.case.is_of_fleet()), "{:?}", plan.left_out);
        assert!(plan.estimate() > Plan::new(&options()).estimate());
    }

    #[test]
    fn one_slow_link_is_measured_as_a_fast_one() {
        let options =
            Options { links: vec![Link("10mbit".to_owned())], cases: vec![Case::First], ..options() };
        assert_eq!(Plan::new(&options).steps.len(), 3);
    }
}
