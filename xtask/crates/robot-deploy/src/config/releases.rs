//! `[releases]`: number of releases to keep, and the rules for when a release counts as healthy.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::keys::Reader;
use super::raw::RawReleases;

/// Policy for releases on all robots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releases {
    /// Number of releases that a robot keeps with their images, including the running one.
    pub keep: u32,
    /// Time that a service without a health check must run without a restart to count as healthy.
    pub settle: Duration,
    /// Time that a release has to become healthy before it is rolled back.
    pub deadline: Duration,
}

impl Default for Releases {
    fn default() -> Self {
        Self { keep: 5, settle: Duration::from_secs(8), deadline: Duration::from_secs(60) }
    }
}

/// Validates `[releases]`; missing keys get their defaults.
pub(super) fn releases(raw: &RawReleases, reader: &mut Reader<'_>) -> Releases {
    let default = Releases::default();
    let seconds = |value: Option<u32>| value.map(|seconds| Duration::from_secs(seconds.into()));
    let keep = number(
        "keep",
        raw.keep.as_ref(),
        2..=1000,
        "write the number of releases that a robot keeps, from 2 to 1000",
        reader,
    );
    let settle =
        number("settle", raw.settle.as_ref(), 0..=3600, "write a number of seconds, from 0 to 3600", reader);
    let deadline = number(
        "deadline",
        raw.deadline.as_ref(),
        1..=3600,
        "write a number of seconds, from 1 to 3600",
        reader,
    );
    let releases = Releases {
        keep: keep.unwrap_or(default.keep),
        settle: seconds(settle).unwrap_or(default.settle),
        deadline: seconds(deadline).unwrap_or(default.deadline),
    };
    if let Some(written) =
        raw.deadline.as_ref().or(raw.settle.as_ref()).filter(|_| releases.deadline <= releases.settle)
    {
        let help = format!(
            "`deadline` ({} s) must be longer than `settle` ({} s), the time after which a service without a health check counts as healthy",
            releases.deadline.as_secs(),
            releases.settle.as_secs()
        );
        reader.refuse(written.span(), "every release would be rolled back", help);
    }
    releases
}

/// Returns the number under `key` if it is within `bounds`.
pub(super) fn number(
    key: &str,
    written: Option<&Spanned<i64>>,
    bounds: RangeInclusive<i64>,
    help: &str,
    reader: &mut Reader<'_>,
) -> Option<u32> {
    let written = written?;
    let value = *written.get_ref();
    if bounds.contains(&value)
        && let Ok(value) = u32::try_from(value)
    {
        return Some(value);
    }
    reader.refuse(written.span(), format!("`{key}` cannot be {value}"), help);
    None
}
