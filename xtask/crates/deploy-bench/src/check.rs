//! Compares the figures of a run with the published ones: what got slower, or sends more, is a failure.

use super::figures::seconds;
use super::method::MethodId;
use super::publish::FIGURES;
use super::report::{Measurement, Report, Sample};
use robot_deploy::config::Workspace;
use robot_deploy::error::{Failure, Result};
use robot_deploy::ui;

/// Factor by which times vary from run to run, for cases that are measured once or twice.
const VARIATION: f64 = 1.25;

/// Factor and number by which bytes vary from run to run: the handshakes of SSH, and repeated packets.
const MORE_BYTES: (f64, f64) = (1.1, 4096.0);

/// Compares a run's figures of `deploy` and `watch` with the published ones.
///
/// # Errors
/// Fails if any got worse, or if none of the cases has a published figure.
pub fn check(workspace: &Workspace, report: &Report) -> Result<()> {
    let published = Report::load_file(&workspace.root.join(FIGURES)).map_err(|error| {
        Failure::failed("there are no published figures to compare with")
            .hint("`cargo xtask bench --publish` writes them after a run")
            .because(error)
    })?;
    let compared = compare(report, &published);
    if compared.is_empty() {
        let hint = format!("they are of `{}`", published.command);
        return Err(Failure::failed("none of these cases has a published figure").hint(hint).into());
    }
    let worse: Vec<&str> = compared.iter().filter_map(|(_, worse)| worse.as_deref()).collect();
    if worse.is_empty() {
        ui::done(
            "bench",
            &format!("none of {} figures is worse than at {}", compared.len(), published.revision),
        );
        return Ok(());
    }
    let message =
        format!("{} of {} figures got worse since {}", worse.len(), compared.len(), published.revision);
    Err(worse.into_iter().fold(Failure::failed(message), Failure::hint).into())
}

/// The measurements that both reports have, each with what got worse.
fn compare<'a>(report: &'a Report, published: &Report) -> Vec<(&'a Measurement, Option<String>)> {
    let ours = [MethodId::Xtask, MethodId::Watch].map(MethodId::as_str);
    let ours = report.results.iter().filter(|now| ours.contains(&&*now.method));
    ours.filter_map(|now| {
        let is_same =
            |then: &&Measurement| (&then.method, then.case, &then.link) == (&now.method, now.case, &now.link);
        Some((now, worse(now, published.results.iter().find(is_same)?)))
    })
    .collect()
}

/// Figures that got worse. Times are those that the machine would have needed if it were as fast as it was for the published
/// figures. Three or more samples have to be slower than all published ones; one or two by [`VARIATION`].
fn worse(now: &Measurement, then: &Measurement) -> Option<String> {
    let speed = then.work().zip(now.work()).map_or(1.0, |(then, now)| then / now);
    let fastest = now.samples.iter().map(|sample| sample.seconds * speed).fold(f64::INFINITY, f64::min);
    let slowest = then.samples.iter().map(|sample| sample.seconds).fold(0.0, f64::max);
    let allowed = if now.samples.len().min(then.samples.len()) < 3 { slowest * VARIATION } else { slowest };
    let name = format!("{}: {}, over {}", now.method, now.case.title(), now.link);
    let mut worse = Vec::new();
    if fastest > allowed {
        worse.push(format!(
            "{} instead of {}, on a machine that takes {:.2} times as long for the same work",
            seconds(now.seconds()),
            seconds(then.seconds()),
            1.0 / speed
        ));
    }
    let least = |samples: &[Sample]| samples.iter().map(Sample::wire).min().unwrap_or_default();
    let most = |samples: &[Sample]| samples.iter().map(Sample::wire).max().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a comparison with a tolerance")]
    if least(&now.samples) as f64 > most(&then.samples) as f64 * MORE_BYTES.0 + MORE_BYTES.1 {
        worse.push(format!("{} instead of {}", ui::bytes(now.wire()), ui::bytes(then.wire())));
    }
    (!worse.is_empty()).then(|| format!("{name}: {}", worse.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    /// The report of tests, with other times of its first measurement, and other bytes.
    fn run(times: &[f64], bytes: u64, work: f64) -> Report {
        let mut run = report();
        let sample = Sample { to_robot: bytes, work: Some(work), ..run.results[0].samples[0].clone() };
        run.results[0].samples = times.iter().map(|&seconds| Sample { seconds, ..sample.clone() }).collect();
        run
    }

    #[test]
    fn only_what_is_worse_than_all_published_samples_counts() {
        let published = run(&[1.0, 2.0, 3.0], 900, 0.1);
        let worse = |now: &Report| {
            let compared = compare(now, &published);
            assert_eq!(compared.len(), 2, "`push` is not ours");
            compared.into_iter().find_map(|(_, worse)| worse)
        };
        assert_eq!(worse(&run(&[4.0, 2.9, 9.0], 900, 0.1)), None);
        let slower = worse(&run(&[3.1, 4.0, 5.0], 900, 0.1)).unwrap();
        assert!(
            slower.starts_with("xtask: a line of Python, over 50mbit: 4.00 s instead of 2.00 s"),
            "{slower}"
        );
        assert_eq!(worse(&run(&[3.1, 4.0, 5.0], 900, 0.2)), None, "the machine is slower");
        assert_eq!(worse(&run(&[3.5], 900, 0.1)), None, "one sample");
        assert_eq!(worse(&run(&[1.0, 1.0, 1.0], 4900, 0.1)), None);
        let more = worse(&run(&[1.0, 1.0, 1.0], 9900, 0.1)).unwrap();
        assert!(more.ends_with("10.0 kB instead of 1.0 kB"), "{more}");
    }
}
