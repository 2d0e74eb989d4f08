//! What each robot is being done to, on one line per robot that is redrawn below everything else; where
//! nobody watches (CI, a pipe, a dumb terminal) a line now and then instead.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::{CYAN, bytes, on_one_line, paint, step};
use crate::process;

/// How often a line without motion of its own is redrawn, to show that time passes.
const REDRAWN: Duration = Duration::from_millis(200);

/// How much time passes between two plain lines about the same bytes.
const PLAIN: Duration = Duration::from_secs(5);

/// A rate that was measured for less time than this says nothing yet.
const SETTLED: Duration = Duration::from_millis(500);

/// The lines that are on the terminal; none where there is no terminal that can redraw.
static LINES: OnceLock<Option<MultiProgress>> = OnceLock::new();

fn lines() -> Option<&'static MultiProgress> {
    let redraws = || {
        let terminal = std::env::var("TERM").is_ok_and(|name| name != "dumb");
        let shown = terminal && std::io::stderr().is_terminal() && !process::mode().dry_run;
        shown.then(MultiProgress::new)
    };
    LINES.get_or_init(redraws).as_ref()
}

/// Lets `write` have the terminal for itself: the lines are taken away before and put back after it.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    match LINES.get() {
        Some(Some(lines)) => lines.suspend(write),
        _ => write(),
    }
}

/// The line of one robot; it disappears when the last of its clones is dropped. Threads may share it.
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

/// What is being done.
#[derive(Debug)]
struct State {
    what: String,
    /// Whether what is done is told to those who read plain lines.
    told: bool,
    began: Instant,
    last_line: Instant,
}

impl Progress {
    /// A line under the name of what it is about: a robot.
    pub fn new(scope: &str) -> Self {
        let bar = ProgressBar::hidden();
        let bar = match lines() {
            Some(lines) => lines.add(bar),
            None => bar,
        };
        bar.set_prefix(paint(CYAN, &format!("{scope:>12}")));
        let now = Instant::now();
        let state = State { what: String::new(), told: false, began: now, last_line: now };
        Self { line: Arc::new(Line { scope: scope.to_owned(), bar, state: Mutex::new(state) }) }
    }

    /// Says what is done from now on, and how many bytes of it there are to send, if that is known.
    ///
    /// Where lines are not redrawn it is one plain line, and in a dry run a comment.
    pub fn doing(&self, what: &str, total: Option<u64>) {
        if process::mode().dry_run {
            return step(&self.line.scope, what);
        }
        self.line.begin(what, total, true);
    }

    /// Says what is waited for: of interest to those only who watch.
    pub fn waiting(&self, what: &str) {
        self.line.begin(what, None, false);
    }

    /// So many more bytes have gone.
    pub fn advance(&self, count: u64) {
        self.line.bar.inc(count);
        self.line.tell();
    }

    /// So many bytes there will be in all, as it looks now.
    pub fn expect(&self, total: u64) {
        if self.line.bar.length().is_none() {
            self.line.bar.set_style(style(true));
        }
        self.line.bar.set_length(total);
    }

    /// So many bytes have gone, of what is being done: where counting starts anew after a lost connection.
    pub fn set(&self, count: u64) {
        self.line.bar.set_position(count);
        self.line.tell();
    }

    /// How many bytes have gone, of what is being done.
    pub fn gone(&self) -> u64 {
        self.line.bar.position()
    }

    /// What was done has been done: a line that stays says what came of it.
    pub fn done(&self, text: &str) {
        self.line.state.lock().unwrap_or_else(PoisonError::into_inner).told = false;
        if !process::mode().dry_run {
            step(&self.line.scope, text);
        }
    }

    /// Nothing is done any more: the line is gone until something is.
    pub fn finish(&self) {
        self.line.end();
        self.line.bar.disable_steady_tick();
        self.line.bar.set_style(empty());
        self.line.bar.force_draw();
    }
}

impl Line {
    fn begin(&self, what: &str, total: Option<u64>, told: bool) {
        self.end();
        self.bar.set_style(style(total.is_some()));
        self.bar.set_message(on_one_line(what));
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.reset();
        if lines().is_some() {
            self.bar.enable_steady_tick(REDRAWN);
        } else if told {
            let total = total.map(|total| format!(": {}", bytes(total))).unwrap_or_default();
            step(&self.scope, &format!("{what}{total}"));
        }
        let now = Instant::now();
        let state = State { what: what.to_owned(), told, began: now, last_line: now };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// A plain line, when the last one is old enough.
    fn tell(&self) {
        if lines().is_some() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told && state.last_line.elapsed() >= PLAIN {
            state.last_line = Instant::now();
            let took = state.began.elapsed();
            let figures = figures(self.bar.position(), self.bar.length(), self.bar.per_sec(), took);
            step(&self.scope, &format!("{}: {figures}", state.what));
        }
    }

    /// Says in a plain line what went, if anything was to.
    fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.bar.position();
        if lines().is_none() && state.told && gone > 0 {
            let took = state.began.elapsed().as_secs_f32();
            step(&self.scope, &format!("{}: {} in {took:.1} s", state.what, bytes(gone)));
        }
        state.told = false;
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

/// How a line looks on a terminal.
fn style(with_bar: bool) -> ProgressStyle {
    // The figures have room for the longest of them: the bar stands still while they change.
    let template = if with_bar {
        "{prefix} {wide_msg} {bar:10} {figures:36}"
    } else {
        "{prefix} {wide_msg} {figures:36}"
    };
    template_style(template).progress_chars("━╸ ").with_key(
        "figures",
        |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let text = figures(state.pos(), state.len(), state.per_sec(), state.elapsed());
            // Writing to a line that is made cannot fail.
            let _ = write!(out, "{text}");
        },
    )
}

fn empty() -> ProgressStyle {
    template_style("")
}

fn template_style(template: &str) -> ProgressStyle {
    // The templates are those above: a wrong one would show at once, and costs the looks only.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// `12.3 of 72.0 MB, 4.5 MB/s, 13 s left`, as far as there is something to say.
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
    if rate > 0 && took >= SETTLED {
        text.push_str(&format!(", {}/s", bytes(rate)));
        if let Some(left) = total.and_then(|total| total.checked_sub(gone)).filter(|left| *left > 0) {
            text.push_str(&format!(", {} left", duration(Duration::from_secs(left.div_ceil(rate)))));
        }
    }
    text
}

/// `12.3 of 72.0 MB`: the unit once where it is the same.
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
    fn a_line_says_what_it_knows_and_no_more() {
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
    fn more_bytes_than_expected_are_no_reason_to_stop() {
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
