//! Fuzzing on stable Rust: parsers of foreign input get mutated samples.
//!
//! A fuzz target is a test beside the parser: [`fuzz`] with a name, samples, and a function of bytes. A case
//! fails by a panic, by allocating more than [`MEMORY`] at a time, or by running forever. `cargo test` runs
//! the same few cases each time, in seconds. A longer run, with the time for each target and new seeds each
//! time:
//!
//! ```text
//! FUZZ_SECONDS=3600 cargo test --workspace --lib -- --nocapture fuzz
//! ```
//!
//! A failure shows its seed and input; `FUZZ_SEED=… cargo test --workspace --lib fuzzed_…` repeats that
//! case. The samples are the first cases: add an input that once failed to the samples.

mod mutate;

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use mutate::with_sums;

/// Most memory that a case may use at a time, in bytes.
const MEMORY: u64 = 64 << 20;

/// Number of cases that one thread runs. The thread's name has their seeds: a stack overflow reports nothing
/// else.
const BATCH: u64 = 32;

/// Longest time for a batch of cases.
const BATCH_TIMEOUT: Duration = Duration::from_secs(300);

type Target = dyn Fn(&[u8]) + Send + Sync;

/// Runs `target` with `cases` mutations of the samples in `corpus`, or for `FUZZ_SECONDS`.
pub fn fuzz(name: &str, cases: u64, corpus: &[&[u8]], target: impl Fn(&[u8]) + Send + Sync + 'static) {
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

/// Seeds to run, and the time at which to stop.
fn plan(samples: u64, cases: u64) -> ([Range<u64>; 2], Option<Instant>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("FUZZ_SEED") {
        return ([seed..seed + 1, 0..0], None);
    }
    match number("FUZZ_SECONDS") {
        Some(seconds) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // Each run has new seeds.
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

/// Runs a batch of cases in a thread and panics with the first failure.
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
    match receiver.recv_timeout(BATCH_TIMEOUT) {
        Ok(None) => running.unwrap().join().unwrap(),
        Ok(Some((seed, why, input))) => panic!(
            "fuzz {name} failed with FUZZ_SEED={seed}: {why}; the input, {} bytes: {}",
            input.len(),
            input.escape_ascii().to_string().chars().take(3_000).collect::<String>()
        ),
        Err(RecvTimeoutError::Timeout) => {
            panic!("fuzz {name}: one of the seeds {seeds:?} runs forever; FUZZ_SEED=… runs a single one")
        }
        Err(RecvTimeoutError::Disconnected) => panic!("fuzz {name}: seeds {seeds:?} ended early"),
    }
}

/// Reason why a case fails, if it does.
fn failure(target: &dyn Fn(&[u8]), input: &[u8]) -> Option<String> {
    let mut panicked = None;
    let memory = allocation_counter::measure(|| {
        panicked = catch_unwind(AssertUnwindSafe(|| target(input))).err();
    });
    if let Some(panic) = panicked {
        return Some(message(&*panic).to_owned());
    }
    let used = memory.bytes_max;
    (used > MEMORY).then(|| format!("{} MB of memory at a time", used >> 20))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

/// Converts bytes to text like the output of a command.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn panics_and_high_memory_use_are_found() {
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
