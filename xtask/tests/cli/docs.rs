//! What `docs/` promises is made to happen by tests that are there.

use std::collections::BTreeSet;
use std::path::Path;

const XTASK: &str = env!("CARGO_MANIFEST_DIR");

/// The tests of a directory, as `module::name`.
fn tests_in(dir: &str) -> BTreeSet<String> {
    let entries = Path::new(XTASK).join("tests").join(dir).read_dir().unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some());
    let of_file = |path: std::path::PathBuf| {
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let name = |line: &str| {
            let name = line.trim().trim_start_matches("pub ").strip_prefix("fn ")?.split('(').next()?;
            Some(format!("{module}::{name}"))
        };
        text.lines().filter_map(name).collect::<Vec<_>>()
    };
    files.flat_map(of_file).collect()
}

/// The names of tests in a document: words in backticks with `::` in them.
fn named_in(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(XTASK).join("../docs").join(file)).unwrap();
    let words = text.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    words.filter(|word| !word.ends_with("::") && !word.contains(' ')).map(str::to_owned).collect()
}

fn assert_are_there(file: &str) {
    let e2e = tests_in("e2e");
    let cli: BTreeSet<String> = tests_in("cli").iter().map(|test| format!("cli::{test}")).collect();
    let named = named_in(file);
    assert!(named.len() > 10, "{file} is read as it was meant to be: {named:?}");
    for name in named {
        let is_meant = |test: &String| match name.strip_suffix('*') {
            Some(prefix) => test.starts_with(prefix),
            None => *test == name,
        };
        assert!(e2e.union(&cli).any(is_meant), "docs/{file} names {name}, which is not a test");
    }
}

#[test]
fn each_fault_that_is_listed_is_made_to_happen() {
    assert_are_there("faults.md");
}

#[test]
fn each_promise_of_safety_is_tested() {
    assert_are_there("security.md");
}
