//! Completions in real shells: of verbs, options, and names of the workspace.

use super::lab::{Lab, robot};
use super::shell;

/// Completion script for a shell.
fn script(name: &str) -> String {
    Lab::new().run(&["completions", name]).expect(0).stdout
}

/// A workspace with two robots and a Compose file, of which releases have been seen.
fn lab() -> Lab {
    let lab = Lab::with(&(robot("main") + &robot("spare")));
    lab.says("docker", "compose*--no-interpolate*--services", "camera\nnavigation");
    lab.write("target/xtask/releases/main.json", r#"{"7": "v1 by anna\u001b[31m, healthy", "12": ""}"#);
    lab
}

/// Runs a script in a shell of this machine, inside the workspace.
#[track_caller]
fn run(lab: &Lab, name: &str, args: &[&str], text: &str) -> String {
    let program = which::which(name)
        .unwrap_or_else(|_| panic!("{name} is missing: `cargo xtask test` installs what tests need"));
    let path = format!("{}:/usr/bin:/bin", lab.dir.join("bin"));
    let environment =
        [("PATH", path.as_str()), ("HOME", lab.home.as_str()), ("TERM", "dumb"), ("LANG", "C.UTF-8")];
    let mut program = shell::command(program.to_str().unwrap());
    let (success, said) =
        shell::feed(program.args(args).current_dir(&lab.root).env_clear().envs(environment), text);
    assert!(success, "{said}");
    said
}

/// Completions that a shell offers for the last of these words, after `before`.
type Offers = fn(lab: &Lab, before: &str, words: &[&str]) -> Vec<String>;

fn bash(lab: &Lab, before: &str, words: &[&str]) -> Vec<String> {
    let (last, previous) = (words[words.len() - 1], words[words.len() - 2]);
    let ask = format!(
        "{before}\n{}\nCOMP_WORDS=({}) COMP_CWORD={}\n_xtask_cargo cargo '{last}' '{previous}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script("bash"),
        shell_words::join(words),
        words.len() - 1
    );
    run(lab, "bash", &["--norc"], &ask).lines().map(str::to_owned).collect()
}

fn fish(lab: &Lab, before: &str, words: &[&str]) -> Vec<String> {
    let ask = format!("{before}\n{}\ncomplete -C '{}'\n", script("fish"), words.join(" "));
    let offered = run(lab, "fish", &["--no-config"], &ask);
    offered.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

/// zsh completes only for a terminal: it gets one, and runs the completed line, which prints its words.
fn zsh(lab: &Lab, before: &str, words: &[&str]) -> Vec<String> {
    lab.write("setup.zsh", &format!("{before}\n{}", script("zsh")));
    let ask = format!(
        "zmodload zsh/zpty\nzpty shell TERM=dumb zsh -f -i\n\
         zpty -w shell 'PS1= PS2=; unsetopt zle_bracketed_paste; setopt list_ambiguous; autoload -Uz compinit; compinit -u -D'\n\
         zpty -w shell 'source ./setup.zsh; zstyle \":completion:*\" insert-unambiguous no; bindkey \"^I\" complete-word'\n\
         zpty -w shell 'zstyle \":completion:*\" menu yes; cargo() {{ print -r -- \"RAN<$*>\"; }}'\n\
         zpty -w -n shell $'{}\\t\\n'\nzpty -w shell 'exit'\nwhile zpty -r shell line; do print -r -- $line; done\n",
        words.join(" ")
    );
    let said = run(lab, "zsh", &["-f"], &ask);
    let ran: Vec<&str> =
        said.split("RAN<").skip(1).filter_map(|rest| rest.split_once('>').map(|(words, _)| words)).collect();
    let line = ran.last().unwrap_or_else(|| panic!("{said}"));
    vec![line.rsplit(' ').next().unwrap().to_owned()]
}

#[test]
fn every_shell_completes_names_of_the_workspace() {
    let lab = lab();
    let cases: [(&[&str], &str); 7] = [
        (&["cargo", "xtask", "publi"], "publish"),
        (&["cargo", "xtask", "deploy", "--no-st"], "--no-start"),
        (&["cargo", "xtask", "deploy", "--robot", "ma"], "main"),
        (&["cargo", "xtask", "deploy", "--robot", "main,sp"], "main,spare"),
        (&["cargo", "xtask", "logs", "--robot", "main", "nav"], "navigation"),
        (&["cargo", "xtask", "build-images", "nav"], "navigation"),
        (&["cargo", "xtask", "rollback", "--robot", "main", "--to", "1"], "12"),
    ];
    let shells: [(&str, Offers); 3] = [("bash", bash), ("zsh", zsh), ("fish", fish)];
    for (name, offers) in shells {
        for (words, expected) in cases {
            assert_eq!(offers(&lab, "", words), [expected], "{name}: {words:?}");
        }
    }
    let all = |words: &[&str]| fish(&lab, "", words);
    assert_eq!(all(&["cargo", "xtask", "deploy", "--robot", ""]), ["main", "spare"]);
    assert_eq!(all(&["cargo", "xtask", "rollback", "--to", ""]), ["12", "7"]);
    assert!(lab.calls_of("ssh ").is_empty(), "a robot was asked");
}

#[test]
fn what_a_robot_said_does_not_control_the_terminal() {
    let lab = lab();
    let text = format!("{}\ncomplete -C 'cargo xtask rollback --to 7'\n", script("fish"));
    assert_eq!(run(&lab, "fish", &["--no-config"], &text), "7\tmain: v1 by anna, healthy\n");
}

#[test]
fn the_xtask_of_the_repository_is_asked() {
    let lab = lab();
    lab.write("target/debug/xtask", "#!/bin/sh\necho \"of the repository, in $PWD\"\n");
    lab.write("deep/below/file", "");
    shell::run("chmod", &["+x", lab.root.join("target/debug/xtask").as_str()], "");
    let shells: [(&str, Offers); 2] = [("bash", bash), ("fish", fish)];
    for (name, offers) in shells {
        let offered = offers(&lab, "cd deep/below", &["cargo", "xtask", "of"]);
        assert_eq!(offered, [format!("of the repository, in {}/deep/below", lab.root)], "{name}");
    }
}

#[test]
fn a_broken_workspace_still_completes_verbs() {
    let lab = Lab::new();
    lab.write("robots.toml", "[project");
    assert_eq!(bash(&lab, "", &["cargo", "xtask", "publi"]), ["publish"]);
    assert_eq!(bash(&lab, "", &["cargo", "xtask", "deploy", "--robot", ""]), [""]);
}

#[test]
fn shells_read_their_scripts() {
    for name in ["bash", "zsh", "fish"] {
        shell::assert_takes(name, &script(name));
    }
    for other in ["elvish", "powershell"] {
        assert!(script(other).contains("XTASK_COMPLETE"), "{other}");
    }
}

#[test]
fn the_rest_of_cargo_is_left_to_who_had_it() {
    let lab = Lab::new();
    let before = "_cargo() { COMPREPLY=(\"cargo has $2\"); }; complete -F _cargo cargo";
    assert_eq!(bash(&lab, before, &["cargo", "bui"]), ["cargo has bui"]);
    assert_eq!(bash(&lab, before, &["cargo", "xt"]), ["cargo has xt"]);
    assert_eq!(bash(&lab, before, &["cargo", "xtask", "depl"]), ["deploy"]);
    assert_eq!(bash(&lab, "", &["cargo", "+stable", "-q", "xtask", "sim", "stat"]), ["status"]);
    // cargo's own completion for zsh asks a function of this name.
    let before = "_cargo() { shift words; ((CURRENT--)); _cargo-$words[1] }; autoload -Uz compinit; compdef _cargo cargo";
    assert_eq!(zsh(&lab, before, &["cargo", "xtask", "publi"]), ["publish"]);
}
