//! What `docs/` promises is made to happen by tests that are there.

use std::collections::BTreeSet;
use std::path::Path;

const XTASK: &str = env!("CARGO_MANIFEST_DIR");

/// The functions of all files below a directory, as `module::name`, which tests are among.
fn functions_in(dir: &Path, module: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in dir.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let inner = format!("{module}{}::", path.file_stem().unwrap().to_str().unwrap());
        if path.is_dir() {
            found.append(&mut functions_in(&path, &inner));
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let name = |line: &str| {
            let name = line.trim().trim_start_matches("pub ").strip_prefix("fn ")?.split('(').next()?;
            Some(format!("{inner}{name}"))
        };
        found.extend(text.lines().filter_map(name));
    }
    found
}

/// The tests of a directory; those of the code itself are called `module::tests::name`.
fn tests_in(dir: &str, module: &str) -> BTreeSet<String> {
    let functions = functions_in(&Path::new(XTASK).join(dir), module);
    let inline = functions.iter().filter_map(|name| {
        let (module, name) = name.rsplit_once("::")?;
        Some(format!("{module}::tests::{name}"))
    });
    inline.chain(functions.clone()).collect()
}

/// The names of tests in a document: words in backticks with `::` in them.
fn named_in(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(XTASK).join("../docs").join(file)).unwrap();
    let words = text.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    words.filter(|word| !word.ends_with("::") && !word.contains(' ')).map(str::to_owned).collect()
}

fn assert_are_there(file: &str) {
    let there = [("tests/e2e", ""), ("tests/cli", "cli::"), ("crates/robot-deploy/src", "")]
        .map(|(dir, module)| tests_in(dir, module))
        .into_iter()
        .flatten()
        .collect::<BTreeSet<String>>();
    let named = named_in(file);
    assert!(named.len() > 10, "{file} is read as it was meant to be: {named:?}");
    for name in named {
        let is_meant = |test: &String| match name.strip_suffix('*') {
            Some(prefix) => test.starts_with(prefix),
            None => *test == name,
        };
        assert!(there.iter().any(is_meant), "docs/{file} names {name}, which is not a test");
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
