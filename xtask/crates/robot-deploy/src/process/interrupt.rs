//! Ctrl-C, SIGTERM and SIGHUP: end the children, let errors and guards do the rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context as _;
use duct::unix::HandleExt as _;

use crate::error::Result;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<Vec<Weak<duct::Handle>>> = Mutex::new(Vec::new());

/// Wakes those who [`wait`]; they hold `RUNNING`.
static SIGNAL: Condvar = Condvar::new();

/// `signal(7)`.
pub(super) const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

fn running() -> MutexGuard<'static, Vec<Weak<duct::Handle>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over the signals that end programs.
///
/// # Errors
/// Fails when the system refuses the handler.
pub fn install() -> Result<()> {
    ctrlc::set_handler(stop).context("install the signal handler")
}

/// Ends the run as a signal would: children are ended, every further command fails, guards clean up.
/// Children that go on all the same are killed the second time; what cleans up is left alone.
pub fn stop() {
    let again = INTERRUPTED.swap(true, Ordering::SeqCst);
    let running = running();
    SIGNAL.notify_all();
    for handle in running.iter().filter_map(Weak::upgrade) {
        // It may have ended this very moment, which is what we want.
        drop(if again { handle.kill() } else { handle.send_signal(SIGTERM) });
    }
}

/// Fails once the run has been interrupted.
///
/// # Errors
/// Fails with [`Exit::Interrupted`](crate::error::Exit::Interrupted) after a signal.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(super::interrupted()) } else { Ok(()) }
}

/// Waits for as long, or until a signal comes.
pub(super) fn wait(duration: Duration) -> Result<()> {
    let (_running, _timeout) = SIGNAL
        .wait_timeout_while(running(), duration, |_| !INTERRUPTED.load(Ordering::SeqCst))
        .unwrap_or_else(PoisonError::into_inner);
    check()
}

/// Makes a signal end `handle` for as long as the result lives.
pub(super) fn register(handle: &Arc<duct::Handle>) -> Registered {
    let weak = Arc::downgrade(handle);
    running().push(weak.clone());
    if check().is_err() {
        // The signal came between the start and the registration.
        drop(handle.send_signal(SIGTERM));
    }
    Registered(weak)
}

/// See [`register`].
#[derive(Debug)]
pub(super) struct Registered(Weak<duct::Handle>);

impl Drop for Registered {
    fn drop(&mut self) {
        running().retain(|other| !other.ptr_eq(&self.0));
    }
}
