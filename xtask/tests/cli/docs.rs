//! The tests that `docs/` names exist.

use std::collections::BTreeSet;
use std::path::Path;

const XTASK: &str = env!("CARGO_MANIFEST_DIR");

/// All functions in the files of a directory, as `module::name`; tests are among them.
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

/// Tests of a directory; unit tests also get the name `module::tests::name`.
fn tests_in(dir: &str, module: &str) -> BTreeSet<String> {
    let functions = functions_in(&Path::new(XTASK).join(dir), module);
    let inline = functions.iter().filter_map(|name| {
        let (module, name) = name.rsplit_once("::")?;
        Some(format!("{module}::tests::{name}"))
    });
    inline.chain(functions.clone()).collect()
}

/// Names of tests in a document: words in backticks that contain `::`.
fn named_in(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(XTASK).join("../docs").join(file)).unwrap();
    let words = text.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    words.filter(|word| !word.ends_with("::") && !word.contains(' ')).map(str::to_owned).collect()
}

fn assert_tests_exist(file: &str) {
    let existing = [
        ("tests/e2e", ""),
        ("tests/cli", "cli::"),
        ("crates/robot-deploy/src", ""),
        ("crates/layer-delta/src", ""),
    ]
    .map(|(dir, module)| tests_in(dir, module))
    .into_iter()
    .flatten()
    .collect::<BTreeSet<String>>();
    let named = named_in(file);
    assert!(named.len() > 10, "too few tests found in {file}: {named:?}");
    for name in named {
        let matches = |test: &String| match name.strip_suffix('*') {
            Some(prefix) => test.starts_with(prefix),
            None => *test == name,
        };
        assert!(existing.iter().any(matches), "docs/{file} names {name}, which is not a test");
    }
}

#[test]
fn each_fault_that_is_listed_is_made_to_happen() {
    assert_tests_exist("faults.md");
}

#[test]
fn each_promise_of_safety_is_tested() {
    assert_tests_exist("security.md");
}
