//! HTML for the page.

use crate::ui;

/// Escapes text for use between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in ui::printable(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// Element with a class, or `""`, around HTML.
pub(super) fn element(tag: &str, class: &str, content: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<{tag}{class}>{content}</{tag}>")
}

/// Table from columns (header, class) and rows of HTML cells.
pub(super) fn table(class: &str, columns: &[(&str, &str)], rows: &[Vec<String>]) -> String {
    let cell = |tag: &str, content: &str, number: usize| {
        element(tag, columns.get(number).map_or("", |(_, class)| class), content)
    };
    let header: String =
        columns.iter().enumerate().map(|(number, (name, _))| cell("th", &escape(name), number)).collect();
    let body: String = rows
        .iter()
        .map(|row| {
            let cells = row.iter().enumerate().map(|(number, content)| cell("td", content, number));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        })
        .collect();
    let table = format!("<thead><tr>{header}</tr></thead>\n<tbody>\n{body}</tbody>");
    element("div", "scroll", &element("table", class, &table))
}
