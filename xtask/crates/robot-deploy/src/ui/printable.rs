//! Filter for text that comes from robots, nodes, tools, registries and bundles before it reaches the
//! terminal.

use std::borrow::Cow;

/// Escapes control characters and characters that change the direction of writing, in the notation of JSON,
/// so that JSON keeps its meaning. Line feeds and tabs stay. Colours are removed: some of them make text
/// invisible.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = after_colour(rest) {
            rest = after;
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\r' => shown.push_str("\\r"),
            letter if is_control(letter) => shown.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

/// Like [`printable()`], but also escapes line feeds and tabs: for table cells and progress lines.
pub(crate) fn on_one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Returns whether a character controls the terminal or the direction of writing.
fn is_control(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        letter => letter.is_control(),
    }
}

/// Returns the rest of `text` after a colour sequence (SGR, ECMA-48) at its start; `None` if it starts
/// otherwise.
fn after_colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    parameters
        .trim_start_matches(|letter: char| letter.is_ascii_digit() || ";:".contains(letter))
        .strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_passes() {
        let mut random = fastrand::Rng::with_seed(7);
        let letters: Vec<char> =
            "a0;m[]\\\u{1b}\u{9b}\u{7}\r\n\t\u{7f}\u{202e}\u{2067}\u{2029}é文".chars().collect();
        for _ in 0..20_000 {
            let text: String =
                (0..random.usize(..24)).map(|_| letters[random.usize(..letters.len())]).collect();
            let shown = printable(&text);
            assert!(!shown.contains(is_control), "{text:?} is shown as {shown:?}");
            assert_eq!(printable(&shown), shown, "escaping twice changes nothing");
            assert!(!on_one_line(&text).contains(['\n', '\t']));
        }
    }

    #[test]
    fn control_characters_are_readable() {
        assert_eq!(printable("é\tok\n"), "é\tok\n");
        assert_eq!(printable("\u{1b}]52;c;eA==\u{7}\r\u{9b}2J"), r"\u001b]52;c;eA==\u0007\r\u009b2J");
        assert_eq!(printable("\u{1b}[1;31mred\u{1b}[0m"), "red");
        assert_eq!(printable("\u{1b}\u{1b}[m[2J \u{1b}[12"), r"\u001b[2J \u001b[12");
        assert_eq!(on_one_line("main\nsecond\tup"), r"main\nsecond\tup");
    }

    #[test]
    fn json_keeps_its_meaning() -> crate::error::Result<()> {
        let text = "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2028}\n";
        let json = serde_json::to_string(text)?;
        assert_ne!(printable(&json), json);
        assert_eq!(serde_json::from_str::<String>(&printable(&json))?, text);
        Ok(())
    }
}
