//! Medians, ratios, and how they are written.

/// Median; for an even number of values, the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Formats seconds with a sensible number of digits.
pub(crate) fn seconds(value: f64) -> String {
    if value < 10.0 { format!("{value:.2} s") } else { format!("{value:.1} s") }
}

/// Formats `value / of`, as in `2.5×`.
pub(crate) fn ratio(value: f64, of: f64) -> String {
    match value / of {
        ratio if !ratio.is_finite() => String::new(),
        ratio if ratio < 10.0 => format!("{ratio:.1}×"),
        ratio => format!("{ratio:.0}×"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn numbers_have_a_sensible_number_of_digits() {
        assert_eq!([0.0, 1.234, 83.21].map(seconds), ["0.00 s", "1.23 s", "83.2 s"]);
        assert_eq!([(5.0, 2.0), (83.0, 2.0)].map(|(a, b)| ratio(a, b)), ["2.5×", "42×"]);
        assert_eq!(ratio(1.0, 0.0), "");
    }
}
