//! Environment files: the part of Docker Compose's `.env` syntax that every reader interprets in the same
//! way.
//!
//! A line is `NAME=VALUE`, optionally after `export `. Empty lines and lines that begin with `#` are ignored.
//! A value is written
//!
//! - bare: up to the end of the line or to ` #`, without the spaces around it;
//! - in single quotes: literally, with `\'` for a single quote;
//! - in double quotes: with the escapes `\"`, `\\`, `\$` and `\t`.
//!
//! Variables are not expanded. Compose would expand `$NAME` in bare and double-quoted values, so a `$` is
//! refused there; write it in single quotes or as `\$`. Multi-line values, `NAME: VALUE`, and a `NAME` alone
//! (which would take its value from the developer's own environment) are refused.

use std::collections::BTreeMap;
use std::ops::Range;

use super::diagnostic::{Mistake, Mistakes, Source};
use super::names;

/// Returns the variables of a file, or all mistakes in it.
pub(super) fn parse(source: &Source) -> Result<BTreeMap<String, String>, Mistakes> {
    let mut variables: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut mistakes = Mistakes::default();
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let offset = start;
        start += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        match assignment(line) {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                if let Some((earlier, _)) = variables.get(name) {
                    let mistake =
                        source.mistake(offset..offset + line.len(), format!("`{name}` is set twice"));
                    let note = format!("it was first set at {}", source.place(*earlier));
                    mistakes.add(mistake.note(note).help("remove one of the two"));
                } else {
                    variables.insert(name.to_owned(), (offset, value));
                }
            }
            Err(problem) => mistakes.add(problem.mistake(source, offset)),
        }
    }
    if mistakes.is_empty() {
        Ok(variables.into_iter().map(|(name, (_, value))| (name, value)).collect())
    } else {
        Err(mistakes)
    }
}

struct Problem {
    /// Byte offsets in the line.
    span: Range<usize>,
    message: String,
    help: &'static str,
}

impl Problem {
    fn mistake(self, source: &Source, offset: usize) -> Mistake {
        let span = self.span.start + offset..self.span.end + offset;
        source.mistake(span, self.message).help(self.help)
    }
}

fn assignment(line: &str) -> Result<Option<(&str, String)>, Problem> {
    let trimmed = line.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(None);
    }
    let begin = line.len() - line.trim_start().len();
    let Some(equals) = line.find('=') else {
        let help = "write `NAME=VALUE`; comments begin with `#`";
        return Err(Problem {
            span: begin..line.len(),
            message: "this line does not set a variable".to_owned(),
            help,
        });
    };
    let left = line[..equals].trim();
    let name = left.strip_prefix("export ").map_or(left, str::trim_start);
    if !names::is_variable(name) {
        let help = "use letters, digits and `_`, beginning with a letter or `_`, then `=`";
        let message = "the text before `=` is not a valid variable name".to_owned();
        return Err(Problem { span: begin..equals, message, help });
    }
    let value_at = equals + 1 + (line[equals + 1..].len() - line[equals + 1..].trim_start().len());
    let value = line[value_at..].trim_end();
    let value = match value.chars().next() {
        Some(quote @ ('\'' | '"')) => quoted(value, quote),
        _ => bare(value, line[..value_at].ends_with([' ', '\t'])),
    };
    let value = value.map_err(|problem| Problem {
        span: value_at + problem.span.start..value_at + problem.span.end,
        ..problem
    })?;
    Ok(Some((name, value)))
}

const LITERAL: &str = "variables are not expanded here: put the value in single quotes to keep the `$`";

fn bare(value: &str, after_blank: bool) -> Result<String, Problem> {
    let comment = value
        .char_indices()
        .find(|(at, character)| {
            *character == '#' && if *at == 0 { after_blank } else { value[..*at].ends_with([' ', '\t']) }
        })
        .map_or(value.len(), |(at, _)| at);
    let value = value[..comment].trim_end();
    if let Some(at) = value.find('$') {
        return Err(Problem {
            span: at..value.len(),
            message: "`$` in a bare value".to_owned(),
            help: LITERAL,
        });
    }
    control(value)?;
    Ok(value.to_owned())
}

fn quoted(written: &str, quote: char) -> Result<String, Problem> {
    let mut value = String::new();
    let mut characters = written.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == quote {
            check_rest(written, at + 1)?;
            control(&value)?;
            return Ok(value);
        }
        let next = characters.peek().map(|(_, next)| *next);
        match (character, next) {
            ('\\', Some(next)) if next == quote => value.push(next),
            ('\\', Some(next @ ('\\' | '$'))) if quote == '"' => value.push(next),
            ('\\', Some('t')) if quote == '"' => value.push('\t'),
            ('\\', Some(next)) if quote == '"' => {
                let message = format!("unknown escape `\\{next}`");
                let help = "the escapes in double quotes are `\\\"`, `\\\\`, `\\$` and `\\t`; multi-line values are not supported";
                return Err(Problem { span: at..at + 1 + next.len_utf8(), message, help });
            }
            ('$', _) if quote == '"' => {
                let message = "`$` in double quotes".to_owned();
                return Err(Problem { span: at..at + 1, message, help: LITERAL });
            }
            _ => {
                value.push(character);
                continue;
            }
        }
        // Skip the escaped character.
        characters.next();
    }
    let message = format!("this value has no closing {quote}");
    Err(Problem {
        span: 0..written.len(),
        message,
        help: "close the quote on the same line: multi-line values are not supported",
    })
}

/// Fails if something other than a comment follows a closing quote.
fn check_rest(written: &str, end: usize) -> Result<(), Problem> {
    let rest = written[end..].trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(());
    }
    Err(Problem {
        span: end..written.len(),
        message: "unexpected text after the closing quote".to_owned(),
        help: "remove it, or begin a comment with ` #`",
    })
}

fn control(value: &str) -> Result<(), Problem> {
    match value.char_indices().find(|(_, character)| character.is_control() && *character != '\t') {
        Some((at, character)) => Err(Problem {
            span: at..at + character.len_utf8(),
            message: format!("control character `{}` in a value", character.escape_debug()),
            help: "remove it",
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
        let source = Source { shown: "match.env".to_owned(), text: text.to_owned(), is_secret: true };
        parse(&source).map_err(|mistakes| mistakes.into_error().to_string())
    }

    #[test]
    fn fuzzed_files_are_read_or_refused() {
        let file =
            b"# a comment\nexport A=1 # one\r\nB='it\\'s $5'\nC=\"a \\\"b\\\" \\$x\\t\"\n\nD=\nE=\"unclosed";
        fuzz("env file", 1_000, &[file], |bytes| {
            let text = text(bytes);
            // Each mistake is looked up from the beginning.
            let Some(Ok(variables)) = (text.lines().count() < 200).then(|| read(&text)) else { return };
            for (name, value) in variables {
                assert!(names::is_variable(&name), "{name:?}");
                assert!(
                    !value.chars().any(|character| character.is_control() && character != '\t'),
                    "{value:?}"
                );
            }
        });
    }

    #[test]
    fn values_are_read_as_compose_reads_them() {
        for (line, value) in [
            ("A=b", "b"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("export A = b c # why", "b c"),
            ("A=b#c", "b#c"),
            ("A=#c", "#c"),
            ("A='$B # x' # y", "$B # x"),
            (r"A='it\'s \n'", r"it's \n"),
            (r#"A="a \"b\" \\ \$c\t""#, "a \"b\" \\ $c\t"),
            ("A=b\r", "b"),
        ] {
            let read = read(&format!("# comment\n\n{line}\n"));
            assert_eq!(read.unwrap()["A"], value, "{line}");
        }
    }

    #[test]
    fn what_others_would_read_differently_is_refused_with_its_place() {
        for (line, place, message) in [
            ("A", "3:1", "does not set a variable"),
            ("A: b", "3:1", "does not set a variable"),
            ("1A=b", "3:1", "not a valid variable name"),
            ("A-B=b", "3:1", "not a valid variable name"),
            ("A=$B", "3:3", "`$` in a bare value"),
            ("A=\"x $B\"", "3:6", "`$` in double quotes"),
            ("A=\"x", "3:3", "no closing"),
            ("A='x", "3:3", "no closing"),
            ("A='x' y", "3:6", "after the closing quote"),
            ("A=\"a\\nb\"", "3:5", "unknown escape"),
            ("B=2", "3:1", "set twice"),
            ("A=a\u{0}b", "3:4", "control character"),
        ] {
            let error = read(&format!("B=1\n\n{line}\nC=3\n")).unwrap_err();
            assert!(
                error.contains(&format!("match.env:{place}\n")) && error.contains(message),
                "{line}: {error}"
            );
        }
    }

    #[test]
    fn mistakes_show_no_values() {
        for line in [
            "KEY=\"swordfish",
            "KEY=$swordfish",
            "swordfish",
            "sword-fish=x",
            "KEY='x' swordfish",
            "KEY=swordfish\nKEY=swordfish",
        ] {
            let error = read(line).unwrap_err();
            assert!(!error.contains("sword") && error.contains("**"), "{error}");
            assert!(!line.starts_with("KEY") || error.contains("KEY=*"), "{error}");
        }
    }
}
