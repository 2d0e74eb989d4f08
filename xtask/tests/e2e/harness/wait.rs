//! Waiting for conditions.

use std::time::{Duration, Instant};

/// Much longer than any condition takes on a working machine. An activation alone may take `deadline`, a minute, for
/// each of two attempts, and a busy machine makes that longer.
const DEADLINE: Duration = Duration::from_secs(300);

/// Waits until `condition` returns a value.
///
/// # Panics
///
/// Panics with the name `what` at the deadline.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "waited {} s for {what}", DEADLINE.as_secs());
        // Polling a robot takes CPU time from other tests.
        std::thread::sleep((3 * asked.elapsed()).clamp(Duration::from_millis(20), Duration::from_secs(1)));
    }
}
