//! Mistakes in configuration files, shown with their place (`file:line:column`), the line, a caret, and a
//! remedy.

use std::fmt::Write as _;
use std::ops::Range;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::names;
use crate::error::{Failure, Result};

/// A configuration file, with its path as the user would write it.
#[derive(Debug)]
pub(super) struct Source {
    /// The path that messages show.
    pub shown: String,
    /// The content of the file.
    pub text: String,
    /// True if the file has secrets: messages show the names of its variables only.
    pub is_secret: bool,
}

impl Source {
    /// Reads the file at `path`, whose path is shown relative to `here`.
    pub(super) fn read(path: &Utf8Path, here: &Utf8Path) -> Result<Self> {
        Self::read_as(path, here, false)
    }

    /// Reads a file of variables: mistakes in it may end up in the log of CI, so they show no values.
    pub(super) fn read_secret(path: &Utf8Path, here: &Utf8Path) -> Result<Self> {
        Self::read_as(path, here, true)
    }

    fn read_as(path: &Utf8Path, here: &Utf8Path, is_secret: bool) -> Result<Self> {
        let shown = shown_from(path, here).into_string();
        if path.is_dir() {
            return Err(Failure::config(format!("`{shown}` is a directory, not a file"))
                .hint(format!("rename or remove the directory `{shown}`"))
                .into());
        }
        let bytes = std::fs::read(path).map_err(|error| {
            Failure::config(format!("cannot read `{shown}`"))
                .hint(format!("check its permissions with `ls -l {shown}`"))
                .because(error)
        })?;
        match String::from_utf8(bytes) {
            // Some Windows editors put a byte order mark at the start of UTF-8 files.
            Ok(text) => Ok(Self { shown, text: text.trim_start_matches('\u{feff}').to_owned(), is_secret }),
            Err(error) => Err(not_utf8(shown, &error, is_secret)),
        }
    }

    pub(super) fn mistake(&self, span: Range<usize>, message: impl Into<String>) -> Mistake {
        let (line, column) = self.position(span.start);
        let (before, from) = (self.text.get(..span.start).unwrap_or(&self.text), span.start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let shown_line = self.text[line_start..].lines().next().unwrap_or_default();
        let rest_of_line = (line_start + shown_line.len()).saturating_sub(from);
        let marked = self.text.get(from..span.end.min(from + rest_of_line)).unwrap_or_default();
        let gutter = " ".repeat(line.to_string().len());
        let excerpt = format!(
            " {gutter} |\n {line} | {}\n {gutter} | {}{}",
            if self.is_secret { masked(shown_line) } else { printable(shown_line) },
            " ".repeat(column - 1),
            "^".repeat(marked.chars().count().max(1)),
        );
        Mistake {
            place: (self.shown.clone(), from),
            message: message.into().lines().map(printable).collect::<Vec<_>>().join("\n"),
            excerpt: format!(" {gutter}--> {}:{line}:{column}\n{excerpt}", self.shown),
            notes: Vec::new(),
            helps: Vec::new(),
        }
    }

    /// Line and column of a byte offset, both counted from 1, columns in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `file:line:column` of a byte offset.
    pub(super) fn place(&self, offset: usize) -> String {
        let (line, column) = self.position(offset);
        format!("{}:{line}:{column}", self.shown)
    }
}

/// The name of the variable that a line sets, and `*` for each of its other characters.
fn masked(line: &str) -> String {
    let name = line.split_once('=').map(|(name, _)| name);
    let is_name = |name: &&str| names::is_variable(name.trim().trim_start_matches("export "));
    let (name, value) = line.split_at(name.filter(is_name).map_or(0, |name| name.len() + 1));
    format!("{name}{}", "*".repeat(value.chars().count()))
}

fn not_utf8(shown: String, error: &std::string::FromUtf8Error, is_secret: bool) -> anyhow::Error {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(at).copied().unwrap_or_default();
    let source = Source { shown, text: String::from_utf8_lossy(error.as_bytes()).into_owned(), is_secret };
    // Everything before `at` is valid UTF-8, so offsets up to there are the same in the lossy text.
    let mistake = source
        .mistake(at..at + 1, format!("this byte (0x{byte:02x}) is not UTF-8"))
        .help("save the file as UTF-8");
    let mut mistakes = Mistakes::default();
    mistakes.add(mistake);
    mistakes.into_error()
}

/// Makes a line safe for a terminal: tabs become spaces, control characters are replaced.
fn printable(line: &str) -> String {
    let cell = |character: char| match character {
        '\t' => ' ',
        other if other.is_control() => '\u{fffd}',
        other => other,
    };
    line.chars().map(cell).collect()
}

/// A mistake in a configuration file, ready to print.
#[derive(Debug)]
pub(super) struct Mistake {
    place: (String, usize),
    message: String,
    excerpt: String,
    notes: Vec<String>,
    helps: Vec<String>,
}

impl Mistake {
    /// Adds a note that refers to another place.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.helps.push(help.into());
        self
    }

    /// Adds a suggestion, if there is one.
    pub(super) fn help_if(mut self, help: Option<String>) -> Self {
        self.helps.extend(help);
        self
    }

    fn text(&self) -> String {
        let notes: String = self.notes.iter().map(|note| format!("\n  note: {note}")).collect();
        format!("{}\n{}{notes}", self.message, self.excerpt)
    }
}

/// All mistakes of one run, so that the user can fix them in one go.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(super) fn add(&mut self, mistake: Mistake) {
        self.0.push(mistake);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The first mistake with its place, without the text of the file.
    pub(super) fn in_one_line(&self) -> String {
        self.0
            .first()
            .map(|mistake| format!("{}:{}: {}", mistake.place.0, mistake.place.1, mistake.message))
            .unwrap_or_default()
    }

    /// Returns one error that shows all mistakes, file by file from top to bottom.
    pub(super) fn into_error(mut self) -> anyhow::Error {
        self.0.sort_by(|one, other| one.place.cmp(&other.place));
        if let [only] = self.0.as_slice() {
            let failure = Failure::config(only.text());
            return only.helps.iter().fold(failure, |failure, help| failure.hint(help)).into();
        }
        let mut files: Vec<_> = self.0.iter().map(|mistake| format!("`{}`", mistake.place.0)).collect();
        files.dedup();
        let mut text = format!("{} mistakes in {}", self.0.len(), files.join(", "));
        for mistake in &self.0 {
            // Writing to a String does not fail.
            let _ = write!(text, "\n\n{}", mistake.text());
            let _ = mistake.helps.iter().try_for_each(|help| write!(text, "\n  help: {help}"));
        }
        Failure::config(text).into()
    }
}

/// Returns `path` relative to the directory `here`. Both are absolute.
pub(super) fn shown_from(path: &Utf8Path, here: &Utf8Path) -> Utf8PathBuf {
    let common = path.components().zip(here.components()).take_while(|(one, other)| one == other).count();
    if common <= 1 {
        // Only the root is in common: an absolute path is easier to read than `../../..`.
        return path.to_owned();
    }
    let up = here.components().skip(common).map(|_| Utf8Component::ParentDir);
    let shown: Utf8PathBuf = up.chain(path.components().skip(common)).collect();
    if shown.as_str().is_empty() { ".".into() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hints_of;

    fn source(text: &str) -> Source {
        Source { shown: "f.toml".to_owned(), text: text.to_owned(), is_secret: false }
    }

    #[test]
    fn a_mistake_shows_file_line_column_and_caret() {
        let mut mistakes = Mistakes::default();
        mistakes.add(source("a = 1\n\tb = 'ä' # x\n").mistake(11..15, "no `ä` here").help("write `a`"));
        let error = mistakes.into_error();
        let expected = ["no `ä` here", "  --> f.toml:2:6", "   |", " 2 |  b = 'ä' # x", "   |      ^^^"];
        assert_eq!(error.to_string(), expected.join("\n"));
        assert_eq!(hints_of(&error), ["write `a`"]);
    }

    #[test]
    fn carets_stay_on_the_line_and_survive_the_end_of_the_file() {
        let shown = |text: &str, span| source(text).mistake(span, "x").text();
        assert!(shown("[[\nsecond", 0..9).ends_with(" | ^^"));
        assert!(shown("ab", 2..2).ends_with("f.toml:1:3\n   |\n 1 | ab\n   |   ^"));
        assert!(shown("", 0..0).contains("f.toml:1:1"));
    }

    #[test]
    fn nothing_in_a_file_controls_the_terminal() {
        let text = source("a\x1b[1m").mistake(0..1, "`a\x1b[1m`").text();
        assert!(text.starts_with("`a\u{fffd}[1m`\n") && !text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn several_mistakes_are_shown_in_their_order_with_their_help() {
        let file = source("a\nb\n");
        let mut mistakes = Mistakes::default();
        mistakes.add(file.mistake(2..3, "second"));
        mistakes.add(file.mistake(0..1, "first").help("do"));
        let text = mistakes.into_error().to_string();
        assert!(text.starts_with("2 mistakes in `f.toml`\n\nfirst\n"), "{text}");
        assert!(text.contains("^\n  help: do\n\nsecond\n"), "{text}");
    }

    #[test]
    fn paths_are_shown_from_where_the_user_is() {
        let shown = |path: &str, here: &str| shown_from(path.into(), here.into()).into_string();
        assert_eq!(shown("/w/team/robots.toml", "/w/team"), "robots.toml");
        assert_eq!(shown("/w/team/robots.toml", "/w/team/ros_ws/src"), "../../robots.toml");
        assert_eq!(shown("/etc/x", "/w/team"), "/etc/x");
    }
}
