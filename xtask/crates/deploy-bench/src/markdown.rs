//! The report as Markdown for the README: the method of measurement, and the medians as a table.

use super::figures::seconds;
use super::report::{Measurement, Report};
use robot_deploy::ui;

/// Cell without a result.
const NOTHING: &str = "–";

impl Report {
    /// Paragraphs, plot and table; `plot` is the path of the plot relative to the README.
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
                "{NOTHING}: not measured, because it takes minutes and adds no new information, or because it has \
                 no equivalent by hand."
            ));
        }
        text.join("\n\n")
    }

    fn markdown_table(&self) -> String {
        // An unescaped `|` would end the cell.
        let head = self.methods.iter().map(|method| format!("`{}`", method.title.replace('|', "\\|")));
        let mut lines =
            vec![row(["".to_owned(), "link".to_owned()].into_iter().chain(head).chain(["floor".to_owned()]))];
        lines.push(format!("|{}", "---|".repeat(self.methods.len() + 3)));
        for each in self.rows() {
            let cells = each.measurements.iter().map(|measurement| match measurement {
                Some(measurement) => {
                    cell(measurement, ["xtask", "watch"].contains(&measurement.method.as_str()))
                }
                None => NOTHING.to_owned(),
            });
            let floor = each.floor.map_or(NOTHING.to_owned(), ui::bytes);
            let begin = [each.case.title().to_owned(), each.link.to_string()];
            lines.push(row(begin.into_iter().chain(cells).chain([floor])));
        }
        lines.join("\n")
    }
}

const METHOD: &str = "Times are from the edit until the deploy command returns; `deploy` also waits until \
the health check succeeds, as `watch` does, and uses the connection that the deploy before has kept. Bytes are \
counted at the robot's network interface, in both directions. Values \
are medians; cases that take over 20 seconds, *an empty robot* and *an apt package* are measured once. \
Deploying by hand means: `docker build`, the commands in the column's header (`docker pull` after the \
push), and `docker compose up`. By hand, this workspace is one single-stage image for all services, which \
is cheaper than one image per service. `rsync` brings the package's sources into a directory that is \
mounted into its container and restarts that; `docker compose watch` (sync+restart) does so over `DOCKER_HOST=ssh://`. \
They keep nothing that a restart of the robot could start from or go back to.";

const FOOTNOTES: &str = "*Ready*: time until the new node is ready, where the command returns \
before that. *Downtime*: time without the edited service, the longest of several robots, by \
the clock of the robot's engine: from the end of the old container until the new node logs that it is \
ready, which is when its health check starts to succeed. By hand, all services are replaced at once, \
because they share one image. *An apt package*: one more package in a layer of 680 MB of a third-party \
Dockerfile; the clock starts when apt has finished. *A line in 60 MB*: a line of Python in a layer of that \
size of a third-party Dockerfile. *Floor*: size of the difference between the images' whole file trees, \
old and new, by `zstd --patch-from`; the smallest result of the levels 3, 9 and, below 300 MB, 19.";

fn cell(measurement: &Measurement, is_ours: bool) -> String {
    let time = seconds(measurement.seconds());
    let time = if is_ours { format!("**{time}**") } else { time };
    let downtime =
        measurement.downtime().map_or(String::new(), |value| format!(", downtime {}", seconds(value)));
    let ready =
        measurement.ready_later().map_or(String::new(), |value| format!(" (ready {})", seconds(value)));
    format!("{time}{ready}, {}{downtime}", ui::bytes(measurement.wire()))
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

    #[test]
    fn the_table_has_a_cell_for_every_method() {
        let text = report().markdown("docs/bench.svg");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            rows,
            [
                "|  | link | `xtask` | `push` | floor |",
                "|---|---|---|---|---|",
                "| a line of Python | 50 Mbit/s | **2.00 s**, 1.0 kB, downtime 0.75 s | 30.0 s (ready 31.5 s), 1.0 kB, downtime 7.75 s | \
                 400 B |",
                "| a line of Python | 10 Mbit/s | **3.00 s**, 1.0 kB | – | 400 B |",
            ]
        );
        assert!(text.contains("(docs/bench.svg)") && text.contains("`cargo xtask bench`"), "{text}");
    }
}
