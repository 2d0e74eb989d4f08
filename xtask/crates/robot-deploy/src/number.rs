//! Numbers from robots, registries and bundles. They are capped at [`MOST`], so that arithmetic on a few of
//! them does not overflow.

use serde::{Deserialize as _, Deserializer};

/// More bytes than a disk has and more seconds than a clock shows.
pub(crate) const MOST: u64 = 1 << 50;

/// Parses a number.
pub(crate) fn said(word: &str) -> Option<u64> {
    word.parse::<u64>().ok().map(|number| number.min(MOST))
}

/// Parses a number of kibibytes and returns bytes.
pub(crate) fn kibibytes(word: &str) -> Option<u64> {
    Some((said(word)? * 1024).min(MOST))
}

/// Reads a number from JSON: `#[serde(deserialize_with = "number::read")]`.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    u64::deserialize(from).map(|number| number.min(MOST))
}

/// Sum, capped at [`MOST`].
pub(crate) fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add).min(MOST)
}

/// Parses a size as Docker and BuildKit print it, `12.17kB`; more words may follow.
pub(crate) fn docker_bytes(text: &str) -> Option<u64> {
    let word = text.split(' ').next()?;
    let (digits, unit) = word.split_at(word.find(|letter: char| letter.is_ascii_alphabetic())?);
    let factor = match unit {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => return None,
    };
    let bytes = digits.parse::<f64>().ok()? * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is rounded and not negative"
    )]
    (bytes >= 0.0).then(|| (bytes.round() as u64).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_docker_are_read() {
        let sizes =
            ["0B", "12.17kB done", "2.00GB 20.1s", "1e99TB", "-1B", "NaNB", "7", "x"].map(docker_bytes);
        let expected = [Some(0), Some(12_170), Some(2_000_000_000), None, None, None, None, None];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn large_numbers_are_capped() {
        let most = u64::MAX.to_string();
        assert_eq!([said("7"), said(&most), said("-1"), said("")], [Some(7), Some(MOST), None, None]);
        assert_eq!([kibibytes("2"), kibibytes(&most), kibibytes("x")], [Some(2048), Some(MOST), None]);
        assert_eq!(said("18446744073709551616"), None);
        assert_eq!([sum([1, 2]), sum([u64::MAX, u64::MAX]), sum([])], [3, MOST, 0]);
    }
}
