//! The filter between what others say and the terminal: robots, nodes, tools, registries, bundles.

use std::borrow::Cow;

/// Text that a terminal shows and does not obey. Control characters and those that turn the direction of writing are
/// escaped as JSON has them, so that JSON stays what it was; line feeds and tabs stay. Colours are left out: with some of
/// them words are there and cannot be seen.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(behind) = behind_colour(rest) {
            rest = behind;
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\r' => shown.push_str("\\r"),
            letter if acts(letter) => shown.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

/// The same for what is to stay on one line: a cell of a table, the message of a bar.
pub fn on_one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Returns whether a character does something to a terminal, or to the order of the others.
fn acts(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        letter => letter.is_control(),
    }
}

/// Returns what follows the control sequence for colour (SGR, ECMA-48) that `text` begins with, if it does.
fn behind_colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    parameters
        .trim_start_matches(|letter: char| letter.is_ascii_digit() || ";:".contains(letter))
        .strip_prefix('m')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_in_nothing_that_acts_goes_out() {
        let mut random = fastrand::Rng::with_seed(7);
        let letters: Vec<char> =
            "a0;m[]\\\u{1b}\u{9b}\u{7}\r\n\t\u{7f}\u{202e}\u{2067}\u{2029}é文".chars().collect();
        for _ in 0..20_000 {
            let text: String =
                (0..random.usize(..24)).map(|_| letters[random.usize(..letters.len())]).collect();
            let shown = printable(&text);
            assert!(!shown.contains(acts), "{text:?} is shown as {shown:?}");
            assert_eq!(printable(&shown), shown, "nothing new has come about");
            assert!(!on_one_line(&text).contains(['\n', '\t']));
        }
    }

    #[test]
    fn what_acts_can_be_read() {
        assert_eq!(printable("é\tok\n"), "é\tok\n");
        assert_eq!(printable("\u{1b}]52;c;eA==\u{7}\r\u{9b}2J"), r"\u001b]52;c;eA==\u0007\r\u009b2J");
        assert_eq!(printable("\u{1b}[1;31mred\u{1b}[0m"), "red");
        assert_eq!(printable("\u{1b}\u{1b}[m[2J \u{1b}[12"), r"\u001b[2J \u001b[12");
        assert_eq!(on_one_line("main\nsecond\tup"), r"main\nsecond\tup");
    }

    #[test]
    fn json_means_what_it_meant() -> crate::error::Result<()> {
        let text = "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2028}\n";
        let json = serde_json::to_string(text)?;
        assert_ne!(printable(&json), json);
        assert_eq!(serde_json::from_str::<String>(&printable(&json))?, text);
        Ok(())
    }
}
