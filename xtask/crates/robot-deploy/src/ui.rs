//! The only module that writes to the terminal: results to stdout, progress and problems to stderr.
//!
//! All text passes [`printable()`]; our own colours are added afterwards. Only
//! [`Cmd::interactive`](crate::process::Cmd::interactive) gives a child direct access to the terminal.

mod printable;
mod progress;
mod text;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use crate::error::{Planned, exit_of, hints_of};

pub(crate) use printable::on_one_line;
pub use printable::printable;
pub use progress::Progress;
pub use text::{bytes, count, table, time, utc};

/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Returns whether to colour stderr: it is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
fn colour() -> bool {
    static COLOUR: OnceLock<bool> = OnceLock::new();
    *COLOUR.get_or_init(|| {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    })
}

fn paint(style: &str, text: &str) -> String {
    let text = printable(text);
    if colour() && !style.is_empty() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.into_owned() }
}

/// Writes pieces of text, each with a style or `""`, as one line: lines of robots served in parallel never
/// mix.
fn stderr_line(pieces: &[(&str, &str)]) {
    let line: String = pieces.iter().map(|(style, text)| paint(style, text)).collect();
    // A closed stderr must not stop a deploy half-way.
    progress::aside(|| drop(writeln!(std::io::stderr().lock(), "{line}")));
}

/// Indents all lines but the first by `columns`, so that text of others cannot imitate a line with a label.
fn indent(text: &str, columns: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(columns)))
}

/// Writes a line that is labelled with `scope`.
fn scoped(scope_style: &str, scope: &str, style: &str, text: &str) {
    stderr_line(&[(scope_style, &format!("{scope:>12}")), ("", " "), (style, &indent(text, 13))]);
}

/// Writes the result of a subcommand to stdout; fails when stdout is closed (`… | head`).
pub fn result(text: &str) -> std::io::Result<()> {
    write_result(&printable(text))
}

/// Like [`result`], but clears the terminal first.
pub fn redraw(text: &str) -> std::io::Result<()> {
    let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    write_result(&format!("{clear}{}", printable(text)))
}

/// Clears the terminal, if stderr is one, for a new page of progress output.
pub(crate) fn new_page() {
    if std::io::stderr().is_terminal() {
        // A closed stderr must not stop a deploy half-way.
        progress::aside(|| drop(write!(std::io::stderr().lock(), "{CLEAR}")));
    }
}

/// Writes what a verb found out about a change to make; in a dry run as comments of the printed script.
pub fn finding(text: &str) -> std::io::Result<()> {
    if crate::mode::dry_run() { result(&format!("# {}", text.replace('\n', "\n# "))) } else { result(text) }
}

fn write_result(text: &str) -> std::io::Result<()> {
    progress::aside(|| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    })
}

/// Reports a step, labelled with its scope: a robot, an image, `host`.
///
/// In dry-run mode the step is a comment in the printed script.
pub fn step(scope: &str, text: &str) {
    if crate::mode::dry_run() {
        return planned(&format!("\n# {scope}: {}", text.replace('\n', "\n# ")));
    }
    scoped(CYAN, scope, "", text);
}

/// Names the steps of a dry run that depend on the outcome of a change.
pub fn follows(scope: &str, planned: &Planned) {
    let steps = planned.steps();
    if !steps.is_empty() {
        step(scope, &format!("what follows depends on the outcome:\n- {}", steps.join("\n- ")));
    }
}

/// Shows a line that a tool printed.
pub fn output(scope: &str, line: &str) {
    scoped(CYAN, scope, DIM, line);
}

/// Reports that a task is complete.
pub fn done(scope: &str, text: &str) {
    scoped(GREEN, scope, "", text);
}

/// Reports a problem that does not stop the run.
pub fn warn(scope: &str, text: &str) {
    scoped(YELLOW, scope, "", text);
}

/// Shows a command that is about to run, in verbose mode.
pub fn command(line: &str) {
    stderr_line(&[(DIM, "$"), ("", " "), (BOLD, line)]);
}

/// Prints a command that `--dry-run` does not run: alone on stdout, so that the whole output is a shell
/// script.
pub fn planned(line: &str) {
    // A closed stdout (`… | head`) is not a failure.
    drop(result(line));
}

/// Prints the whole chain of an error, then its hints.
pub fn error(scope: Option<&str>, error: &anyhow::Error) {
    let scope = scope.map(|name| format!("{name}: ")).unwrap_or_default();
    stderr_line(&[(RED, "error:"), ("", &indent(&format!(" {scope}{error}"), 7))]);
    for cause in error.chain().skip(1) {
        for (number, line) in cause.to_string().lines().enumerate() {
            let head = if number == 0 { "caused by:" } else { "          " };
            stderr_line(&[("", "  "), (DIM, head), ("", " "), ("", line)]);
        }
    }
    for hint in hints_of(error) {
        stderr_line(&[("", "  "), (GREEN, "help:"), ("", " "), ("", &indent(hint, 8))]);
    }
    show_exit_code(error);
}

/// Says that a person or a signal has ended the run.
pub fn interrupted() {
    stderr_line(&[("", "interrupted")]);
}

/// Prints the exit code in verbose mode, for authors of scripts.
fn show_exit_code(error: &anyhow::Error) {
    if crate::mode::verbose() {
        stderr_line(&[("", &format!("  exit code {}", exit_of(error) as i32))]);
    }
}

/// Panic hook: prints the panic through [`printable()`].
pub fn panic(info: &std::panic::PanicHookInfo<'_>) {
    let text = paint(RED, &format!("xtask {info}"));
    let trace = Backtrace::capture();
    let trace =
        if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
    // Not through `aside`: the thread that panics may hold the lock of the progress lines.
    drop(writeln!(std::io::stderr().lock(), "{text}{}", printable(&trace)));
}

/// Returns whether stdin and stdout are a terminal.
pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks a yes/no question; without a terminal the answer is no.
pub fn confirm(question: &str) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    progress::aside(|| {
        let mut err = std::io::stderr().lock();
        if write!(err, "{} [y/N] ", paint(BOLD, question)).and_then(|()| err.flush()).is_err() {
            return false;
        }
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    })
}
