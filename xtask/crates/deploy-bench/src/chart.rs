//! The chart of a report.

use super::case::Case;
use super::plot::{Bar, Chart, Group};
use super::report::Report;

impl Report {
    /// Chart of all medians of deploys.
    pub fn chart(&self) -> Chart {
        let groups = self.rows().into_iter().filter(|row| row.case != Case::Status).map(|row| {
            let bars = row.measurements.iter().enumerate().filter_map(|(series, measurement)| {
                let measurement = (*measurement)?;
                Some(Bar { series, seconds: measurement.seconds(), bytes: measurement.wire() })
            });
            Group {
                title: row.case.title().to_owned(),
                subtitle: row.link.to_string(),
                bars: bars.collect(),
                floor: row.floor.filter(|bytes| *bytes > 0),
            }
        });
        Chart {
            title: "From an edit to the running container".to_owned(),
            series: self.methods.iter().map(|method| method.title.clone()).collect(),
            groups: groups.collect(),
            floor: "zstd --patch-from of the file trees".to_owned(),
            note: format!("{} · {} · {}", self.machine.summary(), self.revision, &self.date[..10]),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

    #[test]
    fn each_case_and_link_is_a_group() {
        let chart = report().chart();
        let bars: Vec<usize> = chart.groups.iter().map(|group| group.bars.len()).collect();
        assert_eq!(bars, [2, 1]);
        assert_eq!(chart.groups[1].subtitle, "10 Mbit/s");
        assert_eq!(chart.groups[0].floor, Some(400));
    }
}
