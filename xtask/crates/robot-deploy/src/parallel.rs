//! Work in parallel threads that end before the caller goes on.

use std::thread::{self, ScopedJoinHandle};

/// Runs `work` for all items at the same time; returns the results in the order of the items, and a panic in
/// the place of its item's result.
pub(crate) fn try_map<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<thread::Result<R>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().map(ScopedJoinHandle::join).collect()
    })
}

/// Like [`try_map`], but a panic continues in this thread.
pub fn map<T: Send, R: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    try_map(items, work).into_iter().map(joined).collect()
}

/// Runs `first` in another thread while `second` runs in this one.
pub(crate) fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (joined(first.join()), second)
    })
}

/// Result of a thread; a panic of the thread continues in this one.
pub(crate) fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
