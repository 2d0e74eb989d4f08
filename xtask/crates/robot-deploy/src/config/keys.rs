//! Strict reader of TOML tables that collects every mistake.
//!
//! `serde` stops at the first unknown key or wrong type; a user wants to see all mistakes at once. So each
//! key is read by name, and a key that nothing reads is reported as unknown.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Mistakes, Source};
use super::names::{self, Refusal};

/// `robots.toml`, and the mistakes found in it so far.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub source: &'a Source,
    pub mistakes: Mistakes,
}

impl Reader<'_> {
    /// Adds a mistake and a suggestion.
    pub(super) fn refuse(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.mistakes.add(self.source.mistake(span, message).help(help));
    }

    /// Refuses a name that breaks `rule`.
    pub(super) fn check_name(&mut self, name: &Spanned<&str>, rule: fn(&str) -> Result<(), Refusal>) {
        if let Err((problem, help)) = rule(name.get_ref()) {
            self.refuse(name.span(), problem, help);
        }
    }
}

/// A string, or a list of strings.
#[derive(Debug)]
pub(super) enum OneOrMore<'a> {
    One(Spanned<&'a str>),
    More(Vec<Spanned<&'a str>>),
}

/// A table, and the keys that were read from it.
pub(super) struct Keys<'a> {
    table: &'a DeTable<'a>,
    /// Dotted path of the table: `robots.main`; empty for the top level of the file.
    path: String,
    /// Place of the table's name.
    pub span: Range<usize>,
    read: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// Starts at the top level of the file.
    pub(super) fn top(table: &'a DeTable<'a>) -> Self {
        Self { table, path: String::new(), span: 0..0, read: Vec::new() }
    }

    fn sub(&self, key: &Spanned<Cow<'a, str>>, table: &'a DeTable<'a>) -> Self {
        let name = key.get_ref().escape_debug();
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        Self { table, path, span: key.span(), read: Vec::new() }
    }

    /// Name of the table for messages.
    pub(super) fn name(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("`[{}]`", self.path) }
    }

    /// Returns whether the table has neither `key` nor a misspelling of it. A misspelling is reported as an
    /// unknown key.
    pub(super) fn lacks(&self, key: &str) -> bool {
        !self.table.keys().any(|other| names::nearest(other.get_ref(), [key]).is_some())
    }

    fn value(&mut self, key: &'static str) -> Option<(&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.read.push(key);
        self.table.get_key_value(key)
    }

    pub(super) fn string(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Spanned<&'a str>> {
        let (_, value) = self.value(key)?;
        string(value, &format!("`{key}`"), reader)
    }

    /// Reads the value under `key`; one that `read` does not take has the wrong type.
    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        help: &str,
        reader: &mut Reader<'_>,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let (_, value) = self.value(key)?;
        match read(value.get_ref()) {
            Some(read) => Some(Spanned::new(value.span(), read)),
            None => wrong_type(value, &format!("`{key}`"), wanted, help, reader),
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Spanned<bool>> {
        self.typed(key, "a boolean", "write `true` or `false`, without quotes", reader, DeValue::as_bool)
    }

    /// Reads the integer under `key`; one that does not fit becomes `i64::MAX`, which every range check
    /// refuses.
    pub(super) fn integer(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Spanned<i64>> {
        self.typed(key, "an integer", "write a number, without quotes", reader, |value| {
            let integer = value.as_integer()?;
            Some(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX))
        })
    }

    pub(super) fn strings(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Spanned<Vec<Spanned<&'a str>>>> {
        let list =
            self.typed(key, "a list of strings", "write `[\"…\", \"…\"]`", reader, DeValue::as_array)?;
        let (span, array) = (list.span(), list.into_inner());
        let element = format!("an element of `{key}`");
        let strings: Vec<_> = array.iter().filter_map(|value| string(value, &element, reader)).collect();
        // A list whose elements were all refused must not pass as an empty list.
        (array.is_empty() || !strings.is_empty()).then(|| Spanned::new(span, strings))
    }

    pub(super) fn string_or_strings(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<OneOrMore<'a>> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => {
                self.strings(key, reader).map(|list| OneOrMore::More(list.into_inner()))
            }
            _ => self.string(key, reader).map(OneOrMore::One),
        }
    }

    pub(super) fn string_table(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Vec<(Spanned<&'a str>, Spanned<&'a str>)> {
        let help = "write `{ NAME = \"…\" }`";
        let table = self.typed(key, "a table of strings", help, reader, DeValue::as_table);
        let entry = |(name, value): (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let what = format!("`{}` in `{key}`", name.get_ref().escape_debug());
            Some((Spanned::new(name.span(), name.get_ref().as_ref()), string(value, &what, reader)?))
        };
        table.into_iter().flat_map(Spanned::into_inner).filter_map(entry).collect()
    }

    pub(super) fn table(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Self> {
        let (name, value) = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.sub(name, table)),
            None => {
                let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
                let help = format!("write `[{path}]` and its keys on the lines below");
                wrong_type(value, &format!("`{key}`"), "a table", &help, reader)
            }
        }
    }

    /// Reads the tables inside the table under `key`, with their names.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Vec<(Spanned<&'a str>, Self)> {
        let Some(outer) = self.table(key, reader) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, value) in outer.table {
            match value.get_ref().as_table() {
                Some(table) => {
                    let named = Spanned::new(name.span(), name.get_ref().as_ref());
                    found.push((named, outer.sub(name, table)));
                }
                None => {
                    let what = format!("`{}` in `[{key}]`", name.get_ref().escape_debug());
                    wrong_type::<()>(
                        value,
                        &what,
                        "a table",
                        &format!("write `[{key}.NAME]` and its keys on the lines below"),
                        reader,
                    );
                }
            }
        }
        found
    }

    /// Place of `key`, or of the table's name if the key is missing.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or(self.span.clone(), |(name, _)| name.span())
    }

    /// Refuses a key that does not go with another one, if it is there.
    pub(super) fn refuse(&mut self, key: &'static str, other: &str, help: &str, reader: &mut Reader<'_>) {
        if self.table.contains_key(key) {
            self.read.push(key);
            let message = format!("{} has `{key}` and `{other}`", self.name());
            reader.refuse(self.span_of(key), message, help);
        }
    }

    /// Reports every key that was not read.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for key in self.table.keys().filter(|key| !self.read.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let message = format!("unknown key `{}` in {}", name.escape_debug(), self.name());
            reader.refuse(key.span(), message, names::instead("keys", name, self.read.iter().copied()));
        }
    }
}

fn string<'a>(
    value: &'a Spanned<DeValue<'a>>,
    what: &str,
    reader: &mut Reader<'_>,
) -> Option<Spanned<&'a str>> {
    match value.get_ref() {
        DeValue::String(text) => Some(Spanned::new(value.span(), text.as_ref())),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            let written = reader.source.text.get(value.span()).unwrap_or("…");
            let help = format!("write it in quotes: `\"{written}\"`");
            wrong_type(value, what, "a string", &help, reader)
        }
        DeValue::Array(_) | DeValue::Table(_) => wrong_type(value, what, "a string", "write `\"…\"`", reader),
    }
}

fn wrong_type<T>(
    value: &Spanned<DeValue<'_>>,
    what: &str,
    wanted: &str,
    help: &str,
    reader: &mut Reader<'_>,
) -> Option<T> {
    let found = match value.get_ref().type_str() {
        vowel @ ("array" | "integer") => format!("an {vowel}"),
        other => format!("a {other}"),
    };
    reader.refuse(value.span(), format!("{what} must be {wanted}, not {found}"), help);
    None
}
