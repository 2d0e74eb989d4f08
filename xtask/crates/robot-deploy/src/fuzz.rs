//! Fuzzing on stable Rust: whatever reads what others say is given samples that are damaged in many ways.
//!
//! A target is a test beside the code that reads: [`fuzz`] with a name, samples, and a function of bytes. A case fails
//! by a panic, by more than [`MEMORY`] at a time, or by not coming to an end. `cargo test` runs the same few cases each
//! time, seconds in all. By hand, as long as wanted for each target, from another seed each time:
//!
//! ```text
//! FUZZ_SECONDS=3600 cargo test --package xtask --lib -- --nocapture fuzz
//! ```
//!
//! A case that fails names its seed and shows its input; `FUZZ_SEED=… cargo test --package xtask --lib fuzzed_…` repeats
//! that one. The samples are the first cases: an input that once failed becomes one of them.

mod mutate;

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use mutate::with_sums;

/// The most memory that a case may take at a time, in bytes.
const MEMORY: u64 = 64 << 20;

/// Cases that one thread runs; its name has their seeds, for an overflow of the stack names nothing else.
const BATCH: u64 = 32;

/// The time for a batch of cases, after which one of them is taken to have no end.
const PATIENCE: Duration = Duration::from_secs(300);

type Target = dyn Fn(&[u8]) + Send + Sync;

/// Runs `target` with `cases` mutations of the samples in `corpus`, or for as long as `FUZZ_SECONDS` says.
pub(crate) fn fuzz(name: &str, cases: u64, corpus: &[&[u8]], target: impl Fn(&[u8]) + Send + Sync + 'static) {
    let corpus: Arc<Vec<Vec<u8>>> = Arc::new(corpus.iter().map(|sample| sample.to_vec()).collect());
    let target: Arc<Target> = Arc::new(target);
    let (seeds, end) = plan(corpus.len() as u64, cases);
    let mut done = 0;
    for batch in batches(seeds) {
        if end.is_some_and(|end| Instant::now() > end) {
            break;
        }
        done += batch.end - batch.start;
        run(name, batch, Arc::clone(&corpus), Arc::clone(&target));
    }
    println!("fuzz {name}: {done} cases, none failed");
}

/// The seeds to run, and the time at which to stop.
fn plan(samples: u64, cases: u64) -> ([Range<u64>; 2], Option<Instant>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("FUZZ_SEED") {
        return ([seed..seed + 1, 0..0], None);
    }
    match number("FUZZ_SECONDS") {
        Some(seconds) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // Runs by hand have no seeds in common.
            let first = now.as_secs() << 32;
            ([0..samples, first..u64::MAX], Some(Instant::now() + Duration::from_secs(seconds)))
        }
        None => ([0..samples, samples..samples + cases], None),
    }
}

fn batches(seeds: [Range<u64>; 2]) -> impl Iterator<Item = Range<u64>> {
    seeds.into_iter().flat_map(|range| {
        let end = range.end;
        std::iter::successors(Some(range.start), |start| start.checked_add(BATCH))
            .take_while(move |start| *start < end)
            .map(move |start| start..end.min(start.saturating_add(BATCH)))
    })
}

/// Runs some cases in a thread of their own, and fails with the first of them that does.
fn run(name: &str, seeds: Range<u64>, corpus: Arc<Vec<Vec<u8>>>, target: Arc<Target>) {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name(format!("fuzz {name}, seeds {seeds:?}"));
    let cases = seeds.clone();
    let running = thread.spawn(move || {
        let failed = cases.into_iter().find_map(|seed| {
            let input = mutate::case(&corpus, seed);
            failure(&*target, &input).map(|why| (seed, why, input))
        });
        drop(sender.send(failed));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(None) => running.unwrap().join().unwrap(),
        Ok(Some((seed, why, input))) => panic!(
            "fuzz {name} failed with FUZZ_SEED={seed}: {why}; the input, {} bytes: {}",
            input.len(),
            input.escape_ascii().to_string().chars().take(3_000).collect::<String>()
        ),
        Err(RecvTimeoutError::Timeout) => {
            panic!("fuzz {name}: one of the seeds {seeds:?} has no end; FUZZ_SEED=… runs one")
        }
        Err(RecvTimeoutError::Disconnected) => panic!("fuzz {name}: seeds {seeds:?} ended early"),
    }
}

/// The reason why a case fails; none where all is well.
fn failure(target: &dyn Fn(&[u8]), input: &[u8]) -> Option<String> {
    let mut panicked = None;
    let memory = allocation_counter::measure(|| {
        panicked = catch_unwind(AssertUnwindSafe(|| target(input))).err();
    });
    if let Some(panic) = panicked {
        return Some(words(&*panic).to_owned());
    }
    let taken = memory.bytes_max;
    (taken > MEMORY).then(|| format!("{} MB of memory at a time", taken >> 20))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

/// The bytes as text, as programs' output is read.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_panics_or_takes_too_much_memory_is_found() {
    assert_eq!(failure(&|_| (), b""), None);
    assert_eq!(failure(&|bytes| assert!(bytes.is_empty(), "not empty"), b"x").as_deref(), Some("not empty"));
    let hungry = |_: &[u8]| drop(std::hint::black_box(vec![1_u8; 80 << 20]));
    assert_eq!(failure(&hungry, b"").as_deref(), Some("80 MB of memory at a time"));
}

#[test]
fn seeds_are_all_run_and_repeat_their_cases() {
    let ranges: Vec<_> = batches([0..3, 10..90]).collect();
    assert_eq!(ranges, [0..3, 10..42, 42..74, 74..90]);
    let corpus = vec![b"one\ttwo 2".to_vec(), b"{\"a\":[1]}".to_vec()];
    assert_eq!(mutate::case(&corpus, 1), corpus[1]);
    let cases: std::collections::BTreeSet<_> = (2..500).map(|seed| mutate::case(&corpus, seed)).collect();
    assert!(cases.len() > 400, "{} different cases", cases.len());
    assert!((2..50).all(|seed| mutate::case(&corpus, seed) == mutate::case(&corpus, seed)));
}
