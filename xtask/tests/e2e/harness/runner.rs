//! Runs tests in order and cleans up, also after a failure or a signal.

#![expect(clippy::print_stdout, reason = "this is what a test runner is for")]

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
    let lab = Lab::open();
    let parent = std::os::unix::process::parent_id();
    let began = Instant::now();
    let mut failed: Vec<&str> = Vec::new();
    println!("running {} tests", chosen.len());
    for (name, test) in &chosen {
        if std::os::unix::process::parent_id() != parent {
            println!("whoever started the tests is gone");
            return ExitCode::FAILURE;
        }
        let began = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| test(&lab))).is_ok();
        println!(
            "test {name} ... {} ({:.1} s)",
            if passed { "ok" } else { "FAILED" },
            began.elapsed().as_secs_f32()
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
