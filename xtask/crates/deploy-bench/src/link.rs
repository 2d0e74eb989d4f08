//! The rate to which a robot's link is limited.

use std::fmt;

/// A rate as tc(8) writes it, `50mbit`, or `off` for no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(pub String);

/// Links below this many bits per second are slow: sending a whole image takes many minutes.
const SLOW: f64 = 20e6;

impl Link {
    /// Bits per second; `None` for `off` and unknown units.
    pub fn rate(&self) -> Option<f64> {
        let (digits, unit) = self.parts();
        let unit = match unit {
            "gbit" => 1e9,
            "mbit" => 1e6,
            "kbit" => 1e3,
            "bit" => 1.0,
            _ => return None,
        };
        digits.parse::<f64>().ok().map(|number| number * unit)
    }

    /// Returns whether the link is below [`SLOW`].
    pub fn is_slow(&self) -> bool {
        self.rate().is_some_and(|rate| rate < SLOW)
    }

    /// Digits and unit.
    fn parts(&self) -> (&str, &str) {
        let digits = self.0.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        (digits, &self.0[digits.len()..])
    }
}

impl fmt::Display for Link {
    /// Writes the rate with the usual unit, as in `50 Mbit/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, unit) = self.parts();
        match unit {
            "gbit" => write!(f, "{digits} Gbit/s"),
            "mbit" => write!(f, "{digits} Mbit/s"),
            "kbit" => write!(f, "{digits} kbit/s"),
            _ => f.write_str(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        let links = ["50mbit", "1gbit", "off"].map(|text| Link(text.to_owned()));
        assert_eq!(links.each_ref().map(ToString::to_string), ["50 Mbit/s", "1 Gbit/s", "off"]);
        assert_eq!(links.each_ref().map(Link::rate), [Some(50e6), Some(1e9), None]);
        assert!(Link("10mbit".to_owned()).is_slow() && !links[0].is_slow());
    }
}
