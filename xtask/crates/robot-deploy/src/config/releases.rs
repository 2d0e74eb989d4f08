//! `[releases]`: how many a robot keeps, and when one counts as well.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::keys::Reader;
use super::raw::RawReleases;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releases {
    /// How many a robot keeps, with their images, the one that runs included.
    pub keep: u32,
    /// How long a service without a health check has to run, without being restarted, to count as well.
    pub settle: Duration,
    /// How long a release may take to be well; one that takes longer is rolled back.
    pub deadline: Duration,
}

impl Default for Releases {
    fn default() -> Self {
        Self { keep: 5, settle: Duration::from_secs(8), deadline: Duration::from_secs(60) }
    }
}

/// What is written, and the default for what is not.
pub fn releases(raw: &RawReleases, reader: &mut Reader<'_>) -> Releases {
    let default = Releases::default();
    let seconds = |value: Option<u32>| value.map(|seconds| Duration::from_secs(seconds.into()));
    let keep =
        number("keep", raw.keep.as_ref(), 2..=1000, "how many releases a robot keeps, at least 2", reader);
    let settle = number("settle", raw.settle.as_ref(), 0..=3600, "seconds, from 0 to 3600", reader);
    let deadline = number("deadline", raw.deadline.as_ref(), 1..=3600, "seconds, from 1 to 3600", reader);
    let releases = Releases {
        keep: keep.unwrap_or(default.keep),
        settle: seconds(settle).unwrap_or(default.settle),
        deadline: seconds(deadline).unwrap_or(default.deadline),
    };
    if let Some(written) =
        raw.deadline.as_ref().or(raw.settle.as_ref()).filter(|_| releases.deadline <= releases.settle)
    {
        let help = format!(
            "`deadline` ({} s) has to be longer than `settle` ({} s): no service without a health check could be well in time",
            releases.deadline.as_secs(),
            releases.settle.as_secs()
        );
        reader.refuse(written.span(), "every release would be rolled back", help);
    }
    releases
}

/// A number that is within its bounds.
pub fn number(
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
