//! The `condition` attribute of `package.xml` (REP 149): `$ROS_VERSION == 2 and $ROS_DISTRO != humble`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Values that hold on every base, because the packages are ROS 2 packages.
const CERTAIN: [(&str, &str); 2] = [("ROS_VERSION", "2"), ("ROS_PYTHON_VERSION", "3")];

/// The variables that conditions can use: the environment of builds on a base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// `None` if the base has not been asked.
    environment: Option<BTreeMap<String, String>>,
}

impl Variables {
    /// Variables of a base, from the output of `env -0`.
    pub fn of_environment(text: &str) -> Self {
        let pair =
            |entry: &str| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { environment: Some(text.split('\0').filter_map(pair).collect()) }
    }

    /// Value of a variable; `None` if it is not known. A variable that a base does not have is empty (REP 149).
    fn value(&self, name: &str) -> Option<&str> {
        match &self.environment {
            Some(environment) => Some(environment.get(name).map_or("", String::as_str)),
            None => CERTAIN.iter().find(|(certain, _)| *certain == name).map(|(_, value)| *value),
        }
    }
}

/// Greatest number of tokens in a condition. The parser recurses at each parenthesis, so the depth needs a
/// bound.
const MAX_TOKENS: usize = 1_000;

/// Returns whether `condition` holds. A condition that cannot be parsed, or whose variables are not known, holds: one
/// dependency too many does less harm than one too few.
pub(super) fn holds(condition: &str, variables: &Variables) -> bool {
    let Some(tokens) = tokens(condition, variables).filter(|tokens| tokens.len() <= MAX_TOKENS) else {
        return true;
    };
    let mut parser = Parser { tokens: &tokens };
    match parser.either() {
        Some(value) if parser.tokens.is_empty() => value,
        _ => true,
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Value(String),
    Word(String),
    Compare(&'static str),
    Open,
    Close,
}

/// Returns `None` for a condition that cannot be parsed or evaluated.
fn tokens(condition: &str, variables: &Variables) -> Option<Vec<Token>> {
    const OPERATORS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];
    let mut tokens = Vec::new();
    let mut rest = condition.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if let Some(operator) = OPERATORS.into_iter().find(|op| rest.starts_with(op)) {
            (Token::Compare(operator), operator.len())
        } else if matches!(first, '(' | ')') {
            (if first == '(' { Token::Open } else { Token::Close }, 1)
        } else if matches!(first, '"' | '\'') {
            let inner = &rest[1..];
            let end = inner.find(first)?;
            (Token::Value(inner[..end].to_owned()), end + 2)
        } else {
            let is_word = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
            let name = rest.strip_prefix('$').unwrap_or(rest);
            let end = name.find(|character| !is_word(character)).unwrap_or(name.len());
            let (word, length) = (&name[..end], end + rest.len() - name.len());
            if word.is_empty() {
                return None;
            }
            let token = if name.len() < rest.len() {
                Token::Value(variables.value(word)?.to_owned())
            } else {
                Token::Word(word.to_owned())
            };
            (token, length)
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
}

impl Parser<'_> {
    fn take(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_next = matches!(self.tokens.first(), Some(Token::Word(next)) if next == word);
        if is_next {
            self.tokens = &self.tokens[1..];
        }
        is_next
    }

    fn either(&mut self) -> Option<bool> {
        let mut value = self.both()?;
        while self.take_word("or") {
            // Both sides are always read: the tokens have to be consumed.
            let other = self.both()?;
            value = value || other;
        }
        Some(value)
    }

    fn both(&mut self) -> Option<bool> {
        let mut value = self.comparison()?;
        while self.take_word("and") {
            let other = self.comparison()?;
            value = value && other;
        }
        Some(value)
    }

    fn comparison(&mut self) -> Option<bool> {
        if self.tokens.first() == Some(&Token::Open) {
            self.take()?;
            let value = self.either()?;
            return (self.take()? == &Token::Close).then_some(value);
        }
        let left = self.value()?;
        let Token::Compare(operator) = *self.take()? else { return None };
        let right = self.value()?;
        let order = left.cmp(&right);
        Some(match operator {
            "==" => order == Ordering::Equal,
            "!=" => order != Ordering::Equal,
            "<" => order == Ordering::Less,
            ">" => order == Ordering::Greater,
            "<=" => order != Ordering::Greater,
            _ => order != Ordering::Less,
        })
    }

    fn value(&mut self) -> Option<String> {
        match self.take()? {
            Token::Value(value) | Token::Word(value) => Some(value.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    #[test]
    fn fuzzed_conditions_hold_or_do_not() {
        let condition = b"($ROS_VERSION == 2 and $ROS_DISTRO != 'humble') or $X < \"a b\"";
        fuzz("condition", 1_000, &[condition], |bytes| {
            let _ = holds(&text(bytes), &Variables::default());
        });
    }

    #[test]
    fn conditions_know_the_environment_of_the_base() {
        let jazzy = Variables::of_environment(
            "ROS_VERSION=2\0ROS_DISTRO=jazzy\0ROS_PYTHON_VERSION=3\0GZ_VERSION=harmonic\0",
        );
        for condition in [
            "$ROS_VERSION == 2",
            "$ROS_VERSION==\"2\"",
            "$ROS_DISTRO != humble",
            "$ROS_DISTRO == humble or $ROS_DISTRO == jazzy",
            "($ROS_VERSION == 1 or $ROS_VERSION == 2) and $ROS_PYTHON_VERSION >= 3",
            "$UNKNOWN == ''",
            "$GZ_VERSION == harmonic",
            "not understood",
            "$ROS_VERSION == ",
            "'open",
            "",
        ] {
            assert!(holds(condition, &jazzy), "{condition}");
        }
        for condition in [
            "$ROS_VERSION == 1",
            "$ROS_DISTRO < humble",
            "$ROS_VERSION == 2 and $ROS_DISTRO == noetic",
            "$UNKNOWN == x",
        ] {
            assert!(!holds(condition, &jazzy), "{condition}");
        }
    }

    #[test]
    fn conditions_hold_while_the_base_is_not_known_unless_they_are_about_ros_1() {
        let unknown = Variables::default();
        for condition in
            ["$ROS_DISTRO == humble", "$ROS_DISTRO != humble", "$ROS_VERSION == 2", "$GZ_VERSION == x"]
        {
            assert!(holds(condition, &unknown), "{condition}");
        }
        assert!(!holds("$ROS_VERSION == 1", &unknown));
    }
}
