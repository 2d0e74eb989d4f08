//! The only module that writes to the terminal: results on stdout, progress and problems on stderr.
//!
//! Whatever is written passes [`printable`], and our own colours are added after that. Children get the terminal itself only
//! from [`Cmd::interactive`](crate::process::Cmd::interactive).

mod printable;
mod progress;
mod text;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use crate::error::{exit_of, hints_of};
use crate::process;

use printable::on_one_line;
pub use printable::printable;
pub use progress::Progress;
pub use text::{bytes, table, utc};

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Whether stderr takes colour: a terminal, and <https://no-color.org> respected.
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

/// Pieces of text, each with its style, or with none: one whole line at a time, so that the lines of robots served in
/// parallel never mix.
fn stderr_line(pieces: &[(&str, &str)]) {
    let line: String = pieces.iter().map(|(style, text)| paint(style, text)).collect();
    // A closed stderr is no reason to stop half-way through a deploy.
    progress::aside(|| drop(writeln!(std::io::stderr().lock(), "{line}")));
}

/// Text whose further lines are set in by `columns`: where a line of ours has its name, text of others has none.
fn set_in(text: &str, columns: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(columns)))
}

/// A line under the name of what it is about.
fn scoped(scope_style: &str, scope: &str, style: &str, text: &str) {
    stderr_line(&[(scope_style, &format!("{scope:>12}")), ("", " "), (style, &set_in(text, 13))]);
}

/// A result: what the command was asked for, on stdout, for people and pipes.
///
/// # Errors
/// Fails when stdout is closed, for instance because `head` has seen enough.
pub fn result(text: &str) -> std::io::Result<()> {
    write_result(&printable(text))
}

/// A result in the place of what the terminal shows.
///
/// # Errors
/// As [`result`].
pub fn redraw(text: &str) -> std::io::Result<()> {
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    write_result(&format!("{clear}{}", printable(text)))
}

fn write_result(text: &str) -> std::io::Result<()> {
    progress::aside(|| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    })
}

/// A step that begins or has been done, under the name of what it is about (a robot, an image, `host`).
///
/// In dry-run mode it is a comment in the script of commands that would run.
pub fn step(scope: &str, text: &str) {
    if process::mode().dry_run {
        return planned(&format!("\n# {scope}: {}", text.replace('\n', "\n# ")));
    }
    scoped(CYAN, scope, "", text);
}

/// A line that a tool printed, shown under the name of what it is about.
pub fn output(scope: &str, line: &str) {
    scoped(CYAN, scope, DIM, line);
}

/// Something finished that a person waits for.
pub fn done(scope: &str, text: &str) {
    scoped(GREEN, scope, "", text);
}

/// Something that is not as it should be but does not stop the work.
pub fn warn(scope: &str, text: &str) {
    scoped(YELLOW, scope, "", text);
}

/// A command that runs, as one could paste it into a shell: progress, in verbose mode.
pub fn command(line: &str) {
    stderr_line(&[(DIM, "$"), ("", " "), (BOLD, line)]);
}

/// A command that would run: what `--dry-run` is asked for, so on stdout, and nothing around it, so that
/// all of them together are a shell script.
pub fn planned(line: &str) {
    // Who has seen enough closes the pipe.
    drop(result(line));
}

/// The whole chain of an error, then what to do about it.
pub fn error(scope: Option<&str>, error: &anyhow::Error) {
    let scope = scope.map(|name| format!("{name}: ")).unwrap_or_default();
    stderr_line(&[(RED, "error:"), ("", &set_in(&format!(" {scope}{error}"), 7))]);
    for cause in error.chain().skip(1) {
        for (number, line) in cause.to_string().lines().enumerate() {
            let head = if number == 0 { "caused by:" } else { "          " };
            stderr_line(&[("", "  "), (DIM, head), ("", " "), ("", line)]);
        }
    }
    for hint in hints_of(error) {
        stderr_line(&[("", "  "), (GREEN, "help:"), ("", " "), ("", &set_in(hint, 8))]);
    }
    tracing_exit(error);
}

/// In verbose mode scripts' authors see which exit code this will be.
fn tracing_exit(error: &anyhow::Error) {
    if process::mode().verbose {
        stderr_line(&[("", &format!("  exit code {}", exit_of(error) as i32))]);
    }
}

/// Prints this program's own mistakes before their threads end; for [`std::panic::set_hook`].
pub fn panic(info: &std::panic::PanicHookInfo<'_>) {
    let text = paint(RED, &format!("xtask {info}"));
    let trace = Backtrace::capture();
    let trace =
        if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
    // Not aside: whoever panics may be drawing.
    drop(writeln!(std::io::stderr().lock(), "{text}{}", printable(&trace)));
}

/// Whether a command that gets the terminal finds one, to read from and to write to.
pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks a yes/no question on the terminal; without a terminal the answer is no.
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
