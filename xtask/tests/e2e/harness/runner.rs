//! Runs tests in parallel, prints a line as each ends, and cleans up, even after a failure or a signal.

#![expect(clippy::print_stdout, reason = "this is what a test runner is for")]

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use parking_lot::Mutex;

use super::lab::{self, Lab, World};
use super::machine::{self, Watch};
use super::scheduler::Scheduler;
use super::{Engine, emulation, evidence, transcript};

/// A test: its name, its kind of workspace, and its function.
#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    pub world: World,
    pub run: fn(&Lab),
}

/// A list of tests that work in one kind of lab.
macro_rules! tests {
    ($world:ident: $($module:ident::$name:ident),* $(,)?) => {
        [$($crate::harness::Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            world: $crate::harness::World::$world,
            run: $module::$name,
        }),*]
    };
}
pub(crate) use tests;

/// Tests that need the emulated architecture.
const EMULATED: [&str; 3] = [
    "registry_image::the_image_is_small_and_whole_on_other_processors",
    "hub::a_tag_holds_the_images_of_several_platforms",
    "bases::an_arm64_image_is_built_under_emulation",
];

/// Most tests that are run again: more failures in one run are no accident.
const MOST_REPEATED: usize = 3;

/// Deploys to simulated robots, on the real engine
#[derive(Parser)]
struct Options {
    /// Only tests whose names contain one of these
    names: Vec<String>,

    /// Number of tests that run at the same time, each with its own robots
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=8))]
    lanes: Option<u8>,

    /// Run in random order; the same seed gives the same order
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "SEED")]
    shuffle: Option<Option<u64>>,

    /// Leave the robots running, and use those of an earlier run
    #[arg(long)]
    keep: bool,

    /// Print names, and run nothing
    #[arg(long)]
    list: bool,
}

struct Outcome {
    test: Test,
    passed: bool,
    seconds: f32,
}

/// Runs the tests selected on the command line.
pub fn run_all(tests: &[Test]) -> ExitCode {
    let options = Options::parse();
    let is_meant = |test: &&Test| {
        options.names.is_empty() || options.names.iter().any(|word| test.name.contains(word.as_str()))
    };
    let mut chosen: Vec<Test> = tests.iter().filter(is_meant).copied().collect();
    if options.list {
        chosen.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    let is_test = |wanted: &&str| tests.iter().any(|test| test.name == *wanted);
    assert!(EMULATED.iter().all(is_test), "all of these are tests: {EMULATED:?}");
    if chosen.is_empty() {
        println!("no test has a name like {}", options.names.join(" or "));
        return ExitCode::FAILURE;
    }
    if let Some(seed) = options.shuffle {
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("in the order of --shuffle={seed}");
        fastrand::Rng::with_seed(seed).shuffle(&mut chosen);
    }
    let lanes = options.lanes.map_or_else(machine::lanes, usize::from);
    let _lock = begin(options.keep);
    transcript::note_panics();
    prepare();
    if chosen.iter().any(|test| EMULATED.contains(&test.name)) {
        emulation::begin();
    }
    let count = chosen.len();
    println!("running {count} tests in {lanes} lanes");
    let (began, watch) = (Instant::now(), Watch::begin());
    let mut outcomes = in_lanes(chosen, lanes, options.keep);
    let unsteady = if lanes > 1 { repeat(&mut outcomes, options.keep) } else { Vec::new() };
    let seconds = began.elapsed().as_secs_f32();
    let summary = watch.summary();
    if !options.keep {
        lab::clear();
    }
    unsteady.iter().for_each(|name| println!("unsteady, passed only when it ran again, alone: {name}"));
    tell(&outcomes, count, &format!("finished in {seconds:.1} s, {summary}"))
}

/// Runs a few tests that failed beside others once more, alone: a fault of the code stays; one of the test or of a
/// busy machine goes. Returns the names of tests that have passed so; they need a look all the same.
fn repeat(outcomes: &mut Vec<Outcome>, keep: bool) -> Vec<&'static str> {
    let failed: Vec<Test> = outcomes.iter().filter(|it| !it.passed).map(|it| it.test).collect();
    if failed.is_empty() || failed.len() > MOST_REPEATED {
        return Vec::new();
    }
    println!("running {} again, alone", failed.len());
    let again = in_lanes(failed, 1, keep);
    let unsteady = again.iter().filter(|it| it.passed).map(|it| it.test.name).collect();
    outcomes.retain(|it| it.passed);
    outcomes.extend(again);
    unsteady
}

/// Waits for other runs of the tests, whose robots and images have the same names; removes what they have
/// left.
fn begin(keep: bool) -> File {
    let lock = File::create(std::env::temp_dir().join("xtask-e2e.lock")).unwrap();
    lock.lock().unwrap();
    end(keep);
    drop(fs::remove_dir_all(evidence::dir()));
    ctrlc::set_handler(move || {
        end(keep);
        #[expect(clippy::disallowed_methods, reason = "the guards' work has just been done")]
        std::process::exit(130)
    })
    .unwrap();
    lock
}

/// Ends the runs in all labs, and removes the labs unless they are kept.
fn end(keep: bool) {
    if keep {
        super::run::end_all_runs(lab::dir());
    } else {
        lab::clear();
    }
}

/// Builds the images that the tool itself needs and keeps, so that several labs do not build them at the same
/// time. Earlier runs have left caches: makes room for this one.
fn prepare() {
    Engine::make_room();
    if ["xtask-sim", "xtask-registry"].into_iter().any(|kept| Engine::ids(kept).is_empty()) {
        let lab = Lab::open(World::Plain, 0);
        lab.workspace.xtask(&["setup-robot", "--robot", "main", "--yes"]).expect_exit(0);
        drop(transcript::take());
    }
}

fn in_lanes(tests: Vec<Test>, lanes: usize, keep: bool) -> Vec<Outcome> {
    let parent = std::os::unix::process::parent_id();
    let (scheduler, outcomes) = (Scheduler::new(tests, keep), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                let lane = || {
                    // The process that started the tests may be gone.
                    while std::os::unix::process::parent_id() == parent
                        && let Some((test, lab)) = scheduler.next()
                    {
                        let outcome = run(test, &lab);
                        outcomes.lock().push(outcome);
                        scheduler.done(test, lab);
                    }
                };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(lane)) {
                    // A lab could not be made: no test prints that.
                    println!("a lane failed: {}", transcript::take().notes.join("\n"));
                    resume_unwind(panic);
                }
            });
        }
    });
    outcomes.into_inner()
}

/// Runs one test, and prints its result.
fn run(test: Test, lab: &Lab) -> Outcome {
    let began = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(|| (test.run)(lab))).is_ok();
    let seconds = began.elapsed().as_secs_f32();
    let transcript = transcript::take();
    let word = if passed { "ok" } else { "FAILED" };
    let mut text = format!("test {} ... {word} ({seconds:.1} s)", test.name);
    for line in transcript.notes.iter().flat_map(|note| note.lines()) {
        text.push_str(&format!("\n    {line}"));
    }
    if !passed {
        let kept = evidence::keep(lab, test.name, &transcript);
        let last = transcript.runs.last().map(transcript::Log::text).unwrap_or_default();
        let robots = evidence::summary(&kept);
        text.push_str(&format!(
            "\n{last}\n{robots}    its logs, and those of the robots: {}",
            kept.display()
        ));
        lab.recover();
        drop(transcript::take());
    }
    transcript.runs.iter().flat_map(|run| &run.files).for_each(|file| drop(fs::remove_file(file)));
    println!("{text}");
    Outcome { test, passed, seconds }
}

/// Prints the summary; succeeds if `count` tests have run and all passed.
fn tell(outcomes: &[Outcome], count: usize, how: &str) -> ExitCode {
    let mut longest: Vec<&Outcome> = outcomes.iter().collect();
    longest.sort_by(|one, two| two.seconds.total_cmp(&one.seconds));
    println!("the longest:");
    longest.iter().take(10).for_each(|it| println!("{:6.1} s  {}", it.seconds, it.test.name));
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
    failed.iter().for_each(|outcome| println!("failed: {}", outcome.test.name));
    let passed = outcomes.len() - failed.len();
    let word = if passed == count { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {} failed; {how}", failed.len());
    if passed == count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
