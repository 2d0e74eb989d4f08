//! Reading TOML tables strictly, collecting every mistake on the way.
//!
//! `serde` stops at the first unknown key or wrong type; a person who edits a configuration wants to hear of
//! all of them. So a table is asked for its keys one by one, and whatever was never asked for is unknown.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Mistakes, Source};
use super::names;

/// Where mistakes in `robots.toml` go.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The file.
    pub source: &'a Source,
    /// What was found so far.
    pub mistakes: Mistakes,
}

impl Reader<'_> {
    /// Adds a mistake with what would be right.
    pub fn refuse(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.mistakes.add(self.source.mistake(span, message).help(help));
    }
}

/// A table and the keys it was asked for.
pub struct Keys<'a> {
    table: &'a DeTable<'a>,
    /// The keys that lead to it, with dots: `robots.main`; empty for the top of the file.
    path: String,
    /// The place of its name.
    pub span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// The top of the file.
    pub fn top(table: &'a DeTable<'a>) -> Self {
        Self { table, path: String::new(), span: 0..0, asked: Vec::new() }
    }

    fn sub(&self, key: &Spanned<Cow<'a, str>>, table: &'a DeTable<'a>) -> Self {
        let name = key.get_ref().escape_debug();
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        Self { table, path, span: key.span(), asked: Vec::new() }
    }

    /// Its name as messages show it.
    pub fn name(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("`[{}]`", self.path) }
    }

    /// Whether there is neither `key` nor a slip of it, which is refused as unknown anyway.
    pub fn lacks(&self, key: &str) -> bool {
        let is_slip = |other: &str| names::nearest(other, [key]).is_some();
        !self.table.keys().any(|other| is_slip(other.get_ref()))
    }

    fn ask(&mut self, key: &'static str) -> Option<(&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.asked.push(key);
        self.table.get_key_value(key)
    }

    /// The string under `key`.
    pub fn string(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Spanned<&'a str>> {
        let (_, value) = self.ask(key)?;
        string(value, &format!("`{key}`"), reader)
    }

    /// The boolean under `key`.
    pub fn boolean(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Spanned<bool>> {
        let (_, value) = self.ask(key)?;
        match value.get_ref().as_bool() {
            Some(boolean) => Some(Spanned::new(value.span(), boolean)),
            None => wrong_type(
                value,
                &format!("`{key}`"),
                "a boolean",
                "write `true` or `false`, without quotes",
                reader,
            ),
        }
    }

    /// The integer under `key`; the ones that no `i64` holds are its nearest bound.
    pub fn integer(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Spanned<i64>> {
        let (_, value) = self.ask(key)?;
        match value.get_ref().as_integer() {
            Some(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix());
                Some(Spanned::new(value.span(), number.unwrap_or(i64::MAX)))
            }
            None => {
                wrong_type(value, &format!("`{key}`"), "an integer", "write a number, without quotes", reader)
            }
        }
    }

    /// The list of strings under `key`.
    pub fn strings(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Spanned<Vec<Spanned<&'a str>>>> {
        let (_, value) = self.ask(key)?;
        let Some(array) = value.get_ref().as_array() else {
            return wrong_type(
                value,
                &format!("`{key}`"),
                "a list of strings",
                "write `[\"…\", \"…\"]`",
                reader,
            );
        };
        let element = format!("an element of `{key}`");
        let strings: Vec<_> = array.iter().filter_map(|value| string(value, &element, reader)).collect();
        // A list of which nothing is left has been complained about; it is not empty.
        (array.is_empty() || !strings.is_empty()).then(|| Spanned::new(value.span(), strings))
    }

    /// The names and strings of the table under `key`.
    pub fn string_table(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Vec<(Spanned<&'a str>, Spanned<&'a str>)> {
        let Some((_, value)) = self.ask(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            wrong_type::<()>(
                value,
                &format!("`{key}`"),
                "a table of strings",
                "write `{ NAME = \"…\" }`",
                reader,
            );
            return Vec::new();
        };
        let entry = |(name, value): (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let what = format!("`{}` in `{key}`", name.get_ref().escape_debug());
            Some((Spanned::new(name.span(), name.get_ref().as_ref()), string(value, &what, reader)?))
        };
        table.iter().filter_map(entry).collect()
    }

    /// The table under `key`.
    pub fn table(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Self> {
        let (name, value) = self.ask(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.sub(name, table)),
            None => {
                let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
                let help = format!("write `[{path}]` and its keys below");
                wrong_type(value, &format!("`{key}`"), "a table", &help, reader)
            }
        }
    }

    /// The tables in the table under `key`, with their names.
    pub fn tables(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Vec<(Spanned<&'a str>, Self)> {
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
                        &format!("write `[{key}.NAME]` and its keys below"),
                        reader,
                    );
                }
            }
        }
        found
    }

    /// The span of `key` itself, or of the table's name where it is missing.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or(self.span.clone(), |(name, _)| name.span())
    }

    /// Refuses every key that was never asked for.
    pub fn finish(self, reader: &mut Reader<'_>) {
        for key in self.table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let message = format!("unknown key `{}` in {}", name.escape_debug(), self.name());
            reader.refuse(key.span(), message, names::instead("keys", name, self.asked.iter().copied()));
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
