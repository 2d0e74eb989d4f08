//! Waits with a deadline.

use std::time::{Duration, Instant};

use super::interrupt;
use crate::error::{Failure, Result};

/// Calls `condition` until it returns a value or `deadline` has passed.
///
/// `what` completes the error message "waited … s for"; the last error of `condition` is its cause.
pub fn poll<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        let reason = match condition() {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        interrupt::check()?;
        if begin.elapsed() >= deadline {
            return Err(
                reason.context(Failure::failed(format!("waited {} s for {what}", deadline.as_secs())))
            );
        }
        interrupt::wait(pause)?;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Sleeps between two looks at something that is watched; fails early after a signal.
pub fn pause(duration: Duration) -> Result<()> {
    interrupt::wait(duration)
}
