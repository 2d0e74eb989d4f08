//! CPU time and memory of this machine during the tests.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of memory that a lab needs with both its robots running, with a margin.
const LAB: u64 = 2_500_000_000;

/// Default number of parallel labs: one more than there are CPUs, because tests spend half of their time
/// waiting.
pub fn lanes() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let fit = usize::try_from(available() / LAB).unwrap_or(usize::MAX);
    (processors + 1).min(fit).max(1)
}

/// Bytes of available memory.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// CPU time of this machine since its start, in ticks; the idle part is time in which tests wait.
struct Processors {
    all: u64,
    idle: u64,
}

impl Processors {
    /// Reads the times of proc_stat(5).
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let first = text.lines().next().unwrap();
        let ticks: Vec<u64> = first.split_whitespace().skip(1).map(|ticks| ticks.parse().unwrap()).collect();
        // user nice system idle iowait irq softirq steal; guest time is included in the first two.
        Self { all: ticks.iter().take(8).sum(), idle: ticks[3] + ticks[4] }
    }
}

/// Measures CPU time and memory from `begin` on.
pub struct Watch {
    began: Processors,
    available: u64,
    least: &'static AtomicU64,
}

impl Watch {
    pub fn begin() -> Self {
        // Runs until the program ends: it reads one file each second.
        let available = available();
        let least: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(available)));
        std::thread::spawn(|| {
            loop {
                least.fetch_min(self::available(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Self { began: Processors::now(), available, least }
    }

    /// Describes the measurement in one line.
    pub fn summary(&self) -> String {
        let now = Processors::now();
        let all = now.all.saturating_sub(self.began.all).max(1) as f64;
        let busy = 1.0 - now.idle.saturating_sub(self.began.idle) as f64 / all;
        let memory = self.available.saturating_sub(self.least.load(Ordering::Relaxed)) as f64 / 1e9;
        format!("processors {:.0} % busy, {memory:.1} GB of memory at most", busy * 100.0)
    }
}
