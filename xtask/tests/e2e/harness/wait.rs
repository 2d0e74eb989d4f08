//! Waiting for conditions.

use std::time::{Duration, Instant};

/// No condition here takes nearly as long on a machine that works at all.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives something.
///
/// # Panics
/// Names `what` when it never comes.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "waited {} s for {what}", DEADLINE.as_secs());
        // Asking a robot costs time that others have use for.
        std::thread::sleep((3 * asked.elapsed()).clamp(Duration::from_millis(20), Duration::from_secs(1)));
    }
}
