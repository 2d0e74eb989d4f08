//! Several robots at once: each in a thread of its own, none in another's way.

use crate::config::Robot;
use crate::error::{Failure, Result, exit_of};
use crate::{process, timeline, ui};

/// Does `work` for all robots at the same time. One that fails does not stop the others: its error is
/// printed under its name, and what came of the others is given back.
///
/// # Errors
/// With one robot its own error; with several, after all of them have ended, one that counts the failed.
pub fn each<T: Send>(
    robots: &[&Robot],
    work: impl Fn(&Robot) -> Result<T> + Sync,
) -> (Vec<(String, T)>, Result<()>) {
    if process::mode().dry_run {
        // One after another: what is printed has to be readable.
        let results = robots.iter().map(|robot| (robot.name.clone(), work(robot)));
        return divide(robots.len(), results.collect());
    }
    let results: Vec<(String, Result<T>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = robots.iter().map(|robot| (robot, scope.spawn(|| work(robot)))).collect();
        threads
            .into_iter()
            .map(|(robot, thread)| {
                let result = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (robot.name.clone(), result)
            })
            .collect()
    });
    divide(robots.len(), results)
}

/// What came of those that succeeded, and what to say of the others.
fn divide<T>(count: usize, results: Vec<(String, Result<T>)>) -> (Vec<(String, T)>, Result<()>) {
    let mut done = Vec::new();
    let mut failed: Vec<(String, anyhow::Error)> = Vec::new();
    for (name, result) in results {
        match result {
            Ok(value) => done.push((name, value)),
            Err(error) => {
                timeline::failed(&name, &error);
                failed.push((name, error));
            }
        }
    }
    (done, summary(count, failed))
}

fn summary(count: usize, mut failed: Vec<(String, anyhow::Error)>) -> Result<()> {
    if count == 1
        && let Some((_, error)) = failed.pop()
    {
        return Err(error);
    }
    let Some(exit) = failed.iter().map(|(_, error)| exit_of(error)).max() else { return Ok(()) };
    for (name, error) in &failed {
        ui::error(Some(name), error);
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    Err(Failure::new(exit, format!("{} of {count} robots failed: {}", failed.len(), names.join(", "))).into())
}
