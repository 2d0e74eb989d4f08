//! Waiting, with a deadline.

use std::time::{Duration, Instant};

use super::interrupt;
use crate::error::{Failure, Result};

/// Waits until `condition` gives a value, asking again and again until `deadline` has passed.
///
/// `what` completes "waited … s for": the error names it and the last reason why it was not so.
///
/// # Errors
/// Fails when the deadline passes or the run is interrupted.
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

/// Lets time pass, for a verb that watches something; a signal ends it early.
///
/// # Errors
/// Fails when the run is interrupted.
pub fn pause(duration: Duration) -> Result<()> {
    interrupt::wait(duration)
}
