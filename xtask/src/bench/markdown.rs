//! A report as the README has it: what was measured and how, and the medians as a table.

use super::report::{Measured, Report, seconds};
use crate::ui;

/// What stands where nothing was measured.
const NOTHING: &str = "–";

impl Report {
    /// Paragraphs, plot and table; the plot is at `plot`, seen from the README.
    pub fn markdown(&self, plot: &str) -> String {
        let mut text = vec![
            format!(
                "Measured on {} at `{}` by `{}`, in {:.0} minutes on {}. {METHOD}",
                &self.date[..10],
                self.revision,
                self.command,
                self.seconds / 60.0,
                self.machine.describe(),
            ),
            format!("![Times and bytes of each case]({plot})"),
            self.markdown_table(),
            FOOTNOTES.to_owned(),
        ];
        if !self.left_out.is_empty() {
            text.push(format!(
                "{NOTHING}: left out of the run, because it takes minutes and shows nothing new, or because \
                 nobody does it by hand."
            ));
        }
        text.join("\n\n")
    }

    fn markdown_table(&self) -> String {
        // A bar in a cell would end it.
        let head = self.contenders.iter().map(|entrant| format!("`{}`", entrant.title.replace('|', "\\|")));
        let mut lines =
            vec![row(["".to_owned(), "link".to_owned()].into_iter().chain(head).chain(["floor".to_owned()]))];
        lines.push(format!("|{}", "---|".repeat(self.contenders.len() + 3)));
        for each in self.rows() {
            let cells = each.measured.iter().enumerate().map(|(number, measured)| match measured {
                Some(measured) => cell(measured, number == 0),
                None => NOTHING.to_owned(),
            });
            let floor = each.floor.map_or(NOTHING.to_owned(), ui::bytes);
            let begin = [each.case.title().to_owned(), each.link.to_string()];
            lines.push(row(begin.into_iter().chain(cells).chain([floor])));
        }
        lines.join("\n")
    }
}

const METHOD: &str = "Each time is from the edit to the new container running, by `deploy` until its health check \
succeeds as well; each number of bytes is what the robot's network interface saw, both ways; medians of three, and \
what takes over 20 seconds once. By hand means: `docker build`, the commands in the column's head (`docker pull` \
after the push), `docker compose up`; and of this workspace one image of one stage for all services, which costs \
less than one for each.";

const FOOTNOTES: &str = "*Gap*: how long the edited service was interrupted, on several robots the longest: from the \
end of its old container until the new node writes that it is ready, for everybody by the clock of the robot's \
engine; from then on its health check succeeds. By hand all services are replaced at once, having one image. *An apt \
package*: one more in a layer of 680 MB of somebody else's Dockerfile, from the moment apt has finished. *A line in \
60 MB*: of Python, in a layer of that size of somebody else's Dockerfile. *Floor*: what `zstd --patch-from` makes of \
the images' whole file trees, old and new, by the level (3, 9; 19 below 300 MB) that makes least of them.";

fn cell(measured: &Measured, is_ours: bool) -> String {
    let time = seconds(measured.seconds());
    let time = if is_ours { format!("**{time}**") } else { time };
    let gap = measured.gap().map_or(String::new(), |gap| format!(", gap {}", seconds(gap)));
    format!("{time}, {}{gap}", ui::bytes(measured.wire()))
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use crate::bench::report::tests::report;

    #[test]
    fn the_table_has_a_cell_for_everybody() {
        let text = report().markdown("docs/bench.svg");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            rows,
            [
                "|  | link | `xtask` | `push` | floor |",
                "|---|---|---|---|---|",
                "| a line of Python | 50 Mbit/s | **2.00 s**, 1.0 kB, gap 0.75 s | 30.0 s, 1.0 kB, gap 7.75 s | \
                 400 B |",
                "| a line of Python | 10 Mbit/s | **3.00 s**, 1.0 kB | – | 400 B |",
            ]
        );
        assert!(text.contains("(docs/bench.svg)") && text.contains("`cargo xtask bench`"), "{text}");
    }
}
