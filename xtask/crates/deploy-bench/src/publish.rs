//! Publishes the results of the last run: a table in the README, the plot that the README shows, and all figures for
//! [`check`](super::check()).

use camino::Utf8Path;

use super::plot;
use super::report::Report;
use robot_deploy::config::Workspace;
use robot_deploy::error::{Failure, Result};
use robot_deploy::{process, ui};

/// First line of the generated part of the README.
const BEGIN: &str = "<!-- written by `cargo xtask bench --publish` -->\n";
/// Last line of the generated part.
const END: &str = "<!-- end of the benchmark results -->\n";

/// Path of the plot, relative to the root of the repository.
const PLOT: &str = "docs/bench.svg";

/// Path of the figures, relative to the root of the repository.
pub(super) const FIGURES: &str = "docs/bench.json";

/// Writes the table, the plot and the figures.
pub fn publish(workspace: &Workspace) -> Result<()> {
    let dir = super::dir(workspace);
    let report = Report::load(&dir).map_err(|error| {
        Failure::failed("there are no results to publish")
            .hint("run `cargo xtask bench` first")
            .because(error)
    })?;
    let readme = workspace.root.join("README.md");
    let text = insert(&fs_err::read_to_string(&readme)?, &report)?;
    write(&workspace.root.join(PLOT), &plot::render(&report.chart())?)?;
    write(&workspace.root.join(FIGURES), &(serde_json::to_string(&report)? + "\n"))?;
    write(&readme, &text)
}

fn write(path: &Utf8Path, text: &str) -> Result<()> {
    ui::step("bench", &format!("writing {path}"));
    process::write_file(path, text)
}

/// Returns the README with the results in their place.
fn insert(readme: &str, report: &Report) -> Result<String> {
    if report.seconds == 0.0 {
        return Err(Failure::failed("the last benchmark run did not finish")
            .hint("run `cargo xtask bench` again")
            .into());
    }
    let place = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = place else {
        return Err(Failure::failed("README.md has no place for the results")
            .hint(format!(
                "put these two lines where the results should be: `{}` and `{}`",
                BEGIN.trim(),
                END.trim()
            ))
            .into());
    };
    Ok(format!("{before}{BEGIN}\n{}\n\n{END}{after}", report.markdown(PLOT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn results_replace_results_and_nothing_else() -> Result<()> {
        let readme = format!("before\n{BEGIN}last year{END}after\n");
        let text = insert(&readme, &report())?;
        assert!(
            text.starts_with("before\n") && text.ends_with("after\n") && !text.contains("last year"),
            "{text}"
        );
        assert!(text.contains("| a line of Python | 50 Mbit/s |"), "{text}");
        assert_eq!(insert(&text, &report())?, text);
        insert("nothing", &report()).unwrap_err();
        insert(&readme, &Report { seconds: 0.0, ..report() }).unwrap_err();
        Ok(())
    }

    #[test]
    fn the_readme_has_a_place() -> Result<()> {
        let readme = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../README.md");
        insert(&fs_err::read_to_string(readme)?, &report()).map(drop)
    }
}
