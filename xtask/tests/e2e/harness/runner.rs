//! Runs tests in order and cleans up, also after a failure or a signal.

#![expect(clippy::print_stdout, reason = "this is what a test runner is for")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use super::Lab;

/// A name and what it runs.
pub type Test = (&'static str, fn(&Lab));

/// A list of tests with their names.
macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn(&Lab))),*]
    };
}
pub(crate) use tests;

/// Those that need what is emulated.
const EMULATED: [&str; 3] = [
    "registry_image::the_image_is_small_and_whole_on_other_processors",
    "hub::a_tag_holds_the_images_of_several_platforms",
    "bases::an_arm64_image_is_built_under_emulation",
];

/// What this machine's processors have done since it started: what a test takes without them it waits for.
struct Processors {
    all: u64,
    idle: u64,
}

impl Processors {
    /// As proc_stat(5) counts it.
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let ticks: Vec<u64> = text
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .map(|ticks| ticks.parse().unwrap())
            .collect();
        // user nice system idle iowait irq softirq steal; those of guests are in the first two. Who is nice takes
        // what others leave idle.
        Self { all: ticks.iter().take(8).sum(), idle: ticks[1] + ticks[3] + ticks[4] }
    }

    /// The part of the time since that was not idle.
    fn busy_since(&self) -> f32 {
        let now = Self::now();
        let all = now.all.saturating_sub(self.all).max(1);
        1.0 - now.idle.saturating_sub(self.idle) as f32 / all as f32
    }
}

/// Runs those tests whose names contain one of the arguments; all if there is none.
pub fn run_all(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<&Test> = tests
        .iter()
        .filter(|(name, _)| arguments.is_empty() || arguments.iter().any(|word| name.contains(word.as_str())))
        .collect();
    if std::env::args().any(|word| word == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let is_test = |wanted: &&str| tests.iter().any(|(name, _)| name == wanted);
    assert!(EMULATED.iter().all(is_test), "all of these are tests: {EMULATED:?}");
    let lab = Lab::open();
    if chosen.iter().any(|(name, _)| EMULATED.contains(name)) {
        lab.emulation.begin();
    }
    let parent = std::os::unix::process::parent_id();
    let began = Instant::now();
    let mut failed: Vec<&str> = Vec::new();
    println!("running {} tests", chosen.len());
    for (name, test) in &chosen {
        if std::os::unix::process::parent_id() != parent {
            println!("whoever started the tests is gone");
            return ExitCode::FAILURE;
        }
        let (began, before) = (Instant::now(), Processors::now());
        let passed = catch_unwind(AssertUnwindSafe(|| test(&lab))).is_ok();
        println!(
            "test {name} ... {} ({:.1} s, processors {:.0} % busy)",
            if passed { "ok" } else { "FAILED" },
            began.elapsed().as_secs_f32(),
            before.busy_since() * 100.0
        );
        if !passed {
            failed.push(name);
            lab.recover();
        }
    }
    drop(lab);
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    failed.iter().for_each(|name| println!("failed: {name}"));
    let (passed, failed) = (chosen.len() - failed.len(), failed.len());
    let seconds = began.elapsed().as_secs_f32();
    println!("test result: {word}. {passed} passed; {failed} failed; finished in {seconds:.1} s");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
