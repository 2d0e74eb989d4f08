//! Ctrl-C, SIGTERM and SIGHUP: end the children; errors propagate and guards clean up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use duct::unix::HandleExt as _;
use parking_lot::{Condvar, Mutex};

use crate::error::Result;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<Vec<Weak<duct::Handle>>> = Mutex::new(Vec::new());

/// Wakes threads in [`wait`], which lock `RUNNING`.
static SIGNAL: Condvar = Condvar::new();

/// Signal number, see signal(7).
pub(super) const SIGINT: i32 = 2;
pub(super) const SIGTERM: i32 = 15;

/// Installs the handler for the signals that end programs.
pub fn install() -> Result<()> {
    ctrlc::set_handler(stop).context("install the signal handler")
}

/// Ends the run as a signal would: registered children get SIGTERM, every further command fails, guards clean
/// up.
///
/// The second call kills registered children. Clean-up commands are not registered: no signal ends
/// them.
pub fn stop() {
    let again = INTERRUPTED.swap(true, Ordering::SeqCst);
    let running = RUNNING.lock();
    SIGNAL.notify_all();
    for handle in running.iter().filter_map(Weak::upgrade) {
        // The child may have ended in the meantime.
        drop(if again { handle.kill() } else { handle.send_signal(SIGTERM) });
    }
}

/// Lets commands run again after a signal: what a person has ended is over, and other work begins. The next signal ends
/// that.
pub fn go_on() {
    INTERRUPTED.store(false, Ordering::SeqCst);
}

/// Fails with [`Exit::Interrupted`](crate::error::Exit::Interrupted) after a signal.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(super::interrupted()) } else { Ok(()) }
}

/// Waits for `duration`; a signal ends the wait early.
pub(super) fn wait(duration: Duration) -> Result<()> {
    SIGNAL.wait_while_for(&mut RUNNING.lock(), |_| !INTERRUPTED.load(Ordering::SeqCst), duration);
    check()
}

/// Lets a signal end `handle` until the returned guard is dropped.
pub(super) fn register(handle: &Arc<duct::Handle>) -> Registered {
    let weak = Arc::downgrade(handle);
    RUNNING.lock().push(weak.clone());
    if check().is_err() {
        // The signal arrived between start and registration.
        drop(handle.send_signal(SIGTERM));
    }
    Registered(weak)
}

#[derive(Debug)]
pub(super) struct Registered(Weak<duct::Handle>);

impl Drop for Registered {
    fn drop(&mut self) {
        RUNNING.lock().retain(|other| !other.ptr_eq(&self.0));
    }
}
