//! Work on several robots in parallel, with one thread per robot.

use crate::config::Robot;
use crate::error::{Exit, Failure, Planned, Result, exit_of, panicked};
use crate::{parallel, timeline, ui};

/// Runs `work` for all robots in parallel. A failed robot does not stop the others. Returns the results of
/// the robots that succeeded, and an error if any has failed.
///
/// # Errors
/// With one robot, its error. With several, the errors are printed with the robots' names, and the returned
/// error counts the failed robots. A dry run that needs the outcome of a change is not an error.
pub(crate) fn each<T: Send>(
    robots: &[&Robot],
    work: impl Fn(&Robot) -> Result<T> + Sync,
) -> (Vec<(String, T)>, Result<()>) {
    if crate::mode::dry_run() {
        // One after another, so that the printed script is in order.
        let results = robots.iter().map(|robot| (robot.name.clone(), work(robot)));
        return divide(robots.len(), results.collect());
    }
    // A panic in the thread of one robot must not stop the others.
    let results = parallel::try_map(robots, |robot| work(robot))
        .into_iter()
        .map(|result| result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))));
    let names = robots.iter().map(|robot| robot.name.clone());
    divide(robots.len(), names.zip(results).collect())
}

/// Separates the results of the robots that succeeded from the errors of the others.
fn divide<T>(count: usize, results: Vec<(String, Result<T>)>) -> (Vec<(String, T)>, Result<()>) {
    let mut done = Vec::new();
    let mut failed: Vec<(String, anyhow::Error)> = Vec::new();
    for (name, result) in results {
        match result {
            Ok(value) => done.push((name, value)),
            Err(error) => match Planned::find(&error) {
                Some(planned) => ui::follows(&name, planned),
                None => {
                    timeline::failed(&name, &error);
                    failed.push((name, error));
                }
            },
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
    let is_interrupted = |error: &anyhow::Error| exit_of(error) == Exit::Interrupted;
    for (name, error) in failed.iter().filter(|(_, error)| !is_interrupted(error)) {
        ui::error(Some(name), error);
    }
    // Whoever ends the run knows which robots it was for.
    if let Some(position) = failed.iter().position(|(_, error)| is_interrupted(error)) {
        return Err(failed.swap_remove(position).1);
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    Err(Failure::new(exit, format!("{} of {count} robots failed: {}", failed.len(), names.join(", "))).into())
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::config::Workspace;

    #[test]
    fn a_robot_that_brings_a_mistake_to_light_does_not_end_the_others() -> Result<()> {
        let workspace = Workspace::load(Utf8Path::new(env!("CARGO_MANIFEST_DIR")))?;
        let robots: Vec<&Robot> = workspace.robots.values().collect();
        let (last, first) = robots.split_last().unwrap();
        let says = || -1_i64;
        let work = |robot: &Robot| {
            let number = if robot.name == last.name { says() } else { 7 };
            Ok(u64::try_from(number).expect("numbers are positive"))
        };
        let (done, result) = each(&robots, work);
        assert_eq!(done, first.iter().map(|robot| (robot.name.clone(), 7)).collect::<Vec<_>>());
        let error = result.unwrap_err();
        assert_eq!(exit_of(&error) as i32, 1);
        assert_eq!(error.to_string(), format!("1 of {} robots failed: {}", robots.len(), last.name));
        let (_, alone) = each(&[*last], work);
        assert!(alone.unwrap_err().to_string().starts_with("internal error in xtask: numbers are positive"));
        Ok(())
    }
}
