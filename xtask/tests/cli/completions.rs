//! Completion scripts: shells can read them, and bash completes `cargo xtask`.

use super::lab::Lab;
use super::shell;

/// Completion script for a shell; `None` if the shell is not installed.
fn script(name: &str) -> Option<String> {
    let script = Lab::new().run(&["completions", name]).expect(0).stdout;
    which::which(name).is_ok().then_some(script)
}

#[test]
fn shells_read_their_scripts() {
    for name in ["bash", "zsh", "fish"] {
        if let Some(script) = script(name) {
            shell::assert_takes(name, &script);
        }
    }
    let lab = Lab::new();
    for other in ["elvish", "powershell"] {
        assert!(lab.run(&["completions", other]).expect(0).stdout.contains("build-images"));
    }
}

/// Completions that bash offers for the last of these words.
fn offered(before: &str, words: &[&str]) -> Option<Vec<String>> {
    let script = script("bash")?;
    let quoted = shell_words::join(words);
    let (last, previous) = (words[words.len() - 1], words[words.len() - 2]);
    let ask = format!(
        "{before}\n{script}\nCOMP_WORDS=({quoted}) COMP_CWORD={}\n_xtask_cargo cargo '{last}' '{previous}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.len() - 1
    );
    let (success, said) = shell::run("bash", &["--norc"], &ask);
    assert!(success, "{said}");
    Some(said.lines().map(str::to_owned).collect())
}

#[test]
fn bash_completes_cargo_xtask() {
    let offers = |words: &[&str]| offered("", words);
    let Some(verbs) = offers(&["cargo", "xtask", "set"]) else { return };
    assert_eq!(verbs, ["setup", "setup-robot"]);
    assert_eq!(offers(&["cargo", "xtask", "deploy", "--no-s"]).unwrap(), ["--no-start"]);
    assert_eq!(offers(&["cargo", "+stable", "-q", "xtask", "sim", "stat"]).unwrap(), ["status"]);
}

#[test]
fn bash_leaves_the_rest_of_cargo_to_who_had_it() {
    let before = "_cargo() { COMPREPLY=(\"cargo has $2\"); }; complete -F _cargo cargo";
    let Some(offers) = offered(before, &["cargo", "bui"]) else { return };
    assert_eq!(offers, ["cargo has bui"]);
    assert_eq!(offered(before, &["cargo", "xt"]).unwrap(), ["cargo has xt"]);
    assert_eq!(offered(before, &["cargo", "xtask", "dep"]).unwrap(), ["deploy"]);
}
