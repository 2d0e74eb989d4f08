//! Progress: one line per robot, redrawn below all other output. Without a terminal that can redraw (CI, a
//! pipe, `TERM=dumb`) plain lines are printed from time to time instead.

use std::io::IsTerminal as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use parking_lot::Mutex;

use super::{CYAN, bytes, on_one_line, paint, step};

/// Interval at which a line is redrawn to show that time passes.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Interval between two plain lines about the same transfer.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest time after which a measured rate is meaningful.
const RATE_SETTLED: Duration = Duration::from_millis(500);

/// Lines on the terminal; `None` without a terminal that can redraw.
static LINES: OnceLock<Option<MultiProgress>> = OnceLock::new();

fn lines() -> Option<&'static MultiProgress> {
    let redraws = || {
        let terminal = std::env::var("TERM").is_ok_and(|name| name != "dumb");
        let shown = terminal && std::io::stderr().is_terminal() && !crate::mode::dry_run();
        shown.then(MultiProgress::new)
    };
    LINES.get_or_init(redraws).as_ref()
}

/// Removes the progress lines, calls `write`, and draws the lines again.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    match LINES.get() {
        Some(Some(lines)) => lines.suspend(write),
        _ => write(),
    }
}

/// Progress line of one robot, shared by clones; it disappears when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Progress {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    scope: String,
    bar: ProgressBar,
    state: Mutex<State>,
}

/// Current activity.
#[derive(Debug)]
struct State {
    what: String,
    /// True if the activity is reported in plain lines, too.
    in_plain_lines: bool,
    began: Instant,
    last_line: Instant,
}

impl Progress {
    /// Adds a line that is labelled with `scope`.
    pub fn new(scope: &str) -> Self {
        let bar = ProgressBar::hidden().with_style(empty());
        let bar = match lines() {
            Some(lines) => lines.add(bar),
            None => bar,
        };
        bar.set_prefix(paint(CYAN, &format!("{scope:>12}")));
        let now = Instant::now();
        let state = State { what: String::new(), in_plain_lines: false, began: now, last_line: now };
        Self { line: Arc::new(Line { scope: scope.to_owned(), bar, state: Mutex::new(state) }) }
    }

    /// Begins an activity, with its total of bytes if that is known.
    ///
    /// Without redrawn lines this prints a plain line, in a dry run a comment.
    pub fn doing(&self, what: &str, total: Option<u64>) {
        if crate::mode::dry_run() {
            return step(&self.line.scope, what);
        }
        self.line.begin(what, total, true);
    }

    /// Begins a wait; it is not reported in plain lines.
    pub fn waiting(&self, what: &str) {
        self.line.begin(what, None, false);
    }

    /// Adds `count` to the bytes done.
    pub fn advance(&self, count: u64) {
        self.line.bar.inc(count);
        self.line.print_if_due();
    }

    /// Sets the estimated total of bytes.
    pub fn expect(&self, total: u64) {
        if self.line.bar.length().is_none() {
            self.line.bar.set_style(style(true));
        }
        self.line.bar.set_length(total);
    }

    /// Sets the bytes done, for a transfer that restarts after a lost connection.
    pub fn set(&self, count: u64) {
        self.line.bar.set_position(count);
        self.line.print_if_due();
    }

    /// Bytes done of the current activity.
    pub fn gone(&self) -> u64 {
        self.line.bar.position()
    }

    /// Ends the activity with a line that stays on the terminal.
    pub fn done(&self, text: &str) {
        self.line.state.lock().in_plain_lines = false;
        if !crate::mode::dry_run() {
            step(&self.line.scope, text);
        }
    }

    /// Ends the activity and hides the line until the next one begins.
    pub fn finish(&self) {
        self.line.end();
        self.line.bar.disable_steady_tick();
        self.line.bar.set_style(empty());
        self.line.bar.force_draw();
    }
}

impl Line {
    fn begin(&self, what: &str, total: Option<u64>, in_plain_lines: bool) {
        self.end();
        self.bar.set_style(style(total.is_some()));
        self.bar.set_message(on_one_line(what));
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.reset();
        if lines().is_some() {
            self.bar.enable_steady_tick(REDRAW_INTERVAL);
        } else if in_plain_lines {
            let total = total.map(|total| format!(": {}", bytes(total))).unwrap_or_default();
            step(&self.scope, &format!("{what}{total}"));
        }
        let now = Instant::now();
        let state = State { what: what.to_owned(), in_plain_lines, began: now, last_line: now };
        *self.state.lock() = state;
    }

    /// Prints a plain line if the last one is old enough.
    fn print_if_due(&self) {
        if lines().is_some() {
            return;
        }
        let mut state = self.state.lock();
        if state.in_plain_lines && state.last_line.elapsed() >= PLAIN_INTERVAL {
            state.last_line = Instant::now();
            let took = state.began.elapsed();
            let figures = figures(self.bar.position(), self.bar.length(), self.bar.per_sec(), took);
            step(&self.scope, &format!("{}: {figures}", state.what));
        }
    }

    /// Prints the bytes and duration of a finished transfer as a plain line.
    fn end(&self) {
        let mut state = self.state.lock();
        let gone = self.bar.position();
        if lines().is_none() && state.in_plain_lines && gone > 0 {
            let took = state.began.elapsed().as_secs_f32();
            step(&self.scope, &format!("{}: {} in {took:.1} s", state.what, bytes(gone)));
        }
        state.in_plain_lines = false;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
        self.bar.finish_and_clear();
        if let Some(lines) = lines() {
            lines.remove(&self.bar);
        }
    }
}

/// Layout of a line on a terminal.
fn style(with_bar: bool) -> ProgressStyle {
    // The width fits the longest figures, so that the bar does not move when they change.
    let template = if with_bar {
        "{prefix} {wide_msg} {bar:10} {figures:36}"
    } else {
        "{prefix} {wide_msg} {figures:36}"
    };
    template_style(template).progress_chars("━╸ ").with_key(
        "figures",
        |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let text = figures(state.pos(), state.len(), state.per_sec(), state.elapsed());
            // Writing to this buffer cannot fail.
            let _ = write!(out, "{text}");
        },
    )
}

fn empty() -> ProgressStyle {
    template_style("")
}

fn template_style(template: &str) -> ProgressStyle {
    // The templates are constants: a wrong one is visible at once and affects only the layout.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// `12.3 of 72.0 MB, 4.5 MB/s, 13 s left`, without the parts that are unknown.
fn figures(gone: u64, total: Option<u64>, per_second: f64, took: Duration) -> String {
    if gone == 0 && total.is_none_or(|total| total == 0) {
        return duration(took);
    }
    let mut text = match total {
        Some(total) => part(gone, total),
        None => bytes(gone),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "three digits are shown")]
    let rate = per_second as u64;
    if rate > 0 && took >= RATE_SETTLED {
        text.push_str(&format!(", {}/s", bytes(rate)));
        if let Some(left) = total.and_then(|total| total.checked_sub(gone)).filter(|left| *left > 0) {
            text.push_str(&format!(", {} left", duration(Duration::from_secs(left.div_ceil(rate)))));
        }
    }
    text
}

/// `12.3 of 72.0 MB`: the unit once if it is the same for both.
fn part(gone: u64, total: u64) -> String {
    let (gone, total) = (bytes(gone), bytes(total));
    match (gone.split_once(' '), total.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} of {total}"),
        _ => format!("{gone} of {total}"),
    }
}

/// `13 s`, `2:05 min`.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        seconds => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_line_shows_known_figures_only() {
        assert_eq!(figures(0, None, 0.0, seconds(75)), "1:15 min");
        assert_eq!(figures(512, None, 0.0, seconds(0)), "512 B");
        assert_eq!(figures(0, Some(2_000_000), 0.0, seconds(1)), "0 B of 2.0 MB");
        assert_eq!(
            figures(12_300_000, Some(72_000_000), 4.5e6, seconds(3)),
            "12.3 of 72.0 MB, 4.5 MB/s, 14 s left"
        );
        assert_eq!(figures(72_000_000, Some(72_000_000), 4.5e6, seconds(16)), "72.0 of 72.0 MB, 4.5 MB/s");
    }

    #[test]
    fn more_bytes_than_expected_are_accepted() {
        assert_eq!(figures(3_000, Some(2_000), 1e3, seconds(3)), "3.0 of 2.0 kB, 1.0 kB/s");
        let line = Progress::new("main");
        line.doing("sending", Some(10));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| line.advance(3)));
            }
        });
        assert_eq!(line.line.bar.position(), 12_000);
        line.doing("pulling", None);
        assert_eq!((line.line.bar.position(), line.line.bar.length()), (0, None));
        line.expect(12);
        line.set(7);
        assert_eq!((line.line.bar.position(), line.line.bar.length()), (7, Some(12)));
        line.finish();
    }
}
