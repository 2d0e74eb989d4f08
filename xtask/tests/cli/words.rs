//! The project's language: one word for one thing, and doc comments that are not indirect questions.

use std::path::{Path, PathBuf};

/// Words of earlier versions that have a better name in the trade.
const OLD: &[&str] = &[
    "courier",
    "couriers",
    "consignment",
    "parcel",
    "parcels",
    "depot",
    "diary",
    "deed",
    "distrust",
    "somebody",
    "anew",
    "the push carries",
    "taken back",
    "not well",
    "goes over to",
    "go over to",
];

/// Lines that need an old word: names that earlier versions left on robots and laptops.
const KEPT: &[&str] = &[
    r"_data/courier",
    r#""/courier""#,
    "registry/courier",
    "{root}/courier",
    r#"("courier-owner", "#,
    r#"("parcels", "#,
    r#""parcels/aa.order"#,
];

const QUESTIONS: [&str; 10] =
    ["What", "Who", "Whom", "Whose", "Whether", "How", "Which", "Where", "Why", "When"];

/// Returns all files of the project's own text below a directory.
fn texts(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in dir.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", "build", "install", "log"].contains(&name.as_str()) {
                found.extend(texts(&path));
            }
        } else if name != "words.rs" && !name.ends_with(".lock") {
            found.push(path);
        }
    }
    found
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Calls `check` for each line of the project with its place, and fails with the complaints.
fn each_line(is_read: fn(&Path) -> bool, mut check: impl FnMut(&str, bool) -> Option<String>) {
    let mut complaints = Vec::new();
    let mut count = 0;
    for path in texts(repository()).into_iter().filter(|path| is_read(path)) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let mut begins = true;
        for (number, line) in text.lines().enumerate() {
            count += 1;
            if let Some(complaint) = check(line, begins) {
                complaints.push(format!("{}:{}: {complaint}", path.display(), number + 1));
            }
            begins = !line.trim_start().starts_with("//");
        }
    }
    assert!(count > 1000, "the project is read");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next())
    })
}

#[test]
fn words_of_earlier_versions_are_gone() {
    each_line(
        |_| true,
        |line, _| {
            if KEPT.iter().any(|kept| line.contains(kept)) {
                return None;
            }
            let line = line.to_lowercase();
            OLD.iter().find(|word| has_word(&line, word)).map(|word| format!("`{word}` is an old word"))
        },
    );
}

#[test]
fn no_doc_comment_is_an_indirect_question() {
    each_line(
        |path| path.extension().is_some_and(|extension| extension == "rs"),
        |line, begins| {
            let line = line.trim_start();
            let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?.trim();
            let first = text.split(|character: char| !character.is_alphanumeric()).next()?;
            (begins && QUESTIONS.contains(&first)).then(|| format!("a doc comment begins with `{first}`"))
        },
    );
}
