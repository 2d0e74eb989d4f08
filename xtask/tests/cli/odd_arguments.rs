//! Arguments with special characters: each arrives unchanged, or is refused because nothing has that name.

use super::hub;
use super::lab::Lab;
use super::odd::{WORDS, assert_no_canary, calls, robot, run_for_real};

const EXEC: [&str; 5] = ["exec", "--robot", "main", "navigation", "--"];
const RUN: [&str; 5] = ["run", "--robot", "main", "navigation", "--"];
const SSH: [&str; 4] = ["ssh", "--robot", "main", "--"];

fn lab() -> Lab {
    let lab = Lab::new();
    robot(&lab);
    run_for_real(&lab);
    lab
}

#[test]
fn commands_arrive_on_the_robot_as_they_were_typed() {
    let lab = lab();
    for verb in [&EXEC[..], &RUN, &SSH] {
        for word in WORDS {
            let before = lab.calls().len();
            lab.run(&[verb, &["docker", word, "last"]].concat()).expect(0);
            let calls = &lab.calls()[before..];
            let arrived = calls.iter().filter(|call| call.starts_with("docker ") && call.ends_with(" last"));
            let arrived: Vec<Vec<String>> = arrived.map(|call| shell_words::split(call).unwrap()).collect();
            assert_eq!(arrived.len(), 1, "{verb:?} {word}: {calls:#?}");
            assert_eq!(arrived[0][arrived[0].len() - 2], word, "{verb:?}");
            assert_no_canary(&lab, word);
        }
    }
}

#[test]
fn names_that_nothing_has_are_refused() {
    let lab = lab();
    for word in WORDS {
        let robot = format!("--robot={word}");
        let service = |verb: &'static str| vec![verb, "--robot", "main", "--", word];
        for args in [
            service("logs"),
            service("stop"),
            service("start"),
            service("restart"),
            service("shell"),
            vec!["exec", "--robot", "main", word, "--", "true"],
            vec!["run", "--robot", "main", word, "--", "true"],
            vec!["deploy", &robot],
            vec!["status", &robot],
            vec!["build-images", "--", word],
            vec!["deploy", "--via", word],
            vec!["rollback", "--to", word],
            vec!["tunnel", "--port", word],
            vec!["logs", "--tail", word],
            vec!["dev-shell", "--base", word],
            vec!["sim", "down", "--", word],
        ] {
            let before = lab.calls().len();
            let ran = lab.run(&args);
            // After a dash it may be a request for help.
            assert!(ran.code == Some(2) || word == "--help" && ran.code == Some(0), "{args:?}: {ran:?}");
            let does = |call: &&String| call.starts_with("docker ") && call.contains(" --project-name ");
            let done = lab
                .calls()
                .into_iter()
                .skip(before)
                .find(|call| does(&call) && !call.ends_with(" --services"));
            assert_eq!(done, None, "{args:?}");
            assert_no_canary(&lab, word);
        }
    }
}

#[test]
fn a_time_for_logs_stays_one_word() {
    let lab = lab();
    for word in WORDS {
        lab.run(&["logs", "--robot", "main", &format!("--since={word}")]).expect(0);
        let last = calls(&lab, "docker compose ").pop().unwrap();
        assert!(last.contains(&format!("--since={word}")), "{last:?}");
        assert_no_canary(&lab, word);
    }
}

#[test]
fn who_it_was_is_written_down_and_not_run() {
    let lab = lab();
    for word in WORDS {
        let output = lab.command(&["stop", "--robot", "main"]).env("USER", word).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let history = std::fs::read_to_string(lab.dir.join("robot/.deploy/eurobot/history")).unwrap();
        let by = history.lines().last().unwrap().split('\t').nth(1).unwrap();
        assert!(by.starts_with(&format!("{}@", word.replace('\n', " "))), "{history}");
        assert_no_canary(&lab, word);
    }
}

#[test]
fn a_tag_is_asked_for_with_what_a_tag_may_have() {
    let lab = hub::lab();
    for word in WORDS {
        lab.run(&["deploy", "--via", "hub", &format!("--tag={word}")]);
        assert_no_canary(&lab, word);
    }
    let asked = calls(&lab, "docker buildx imagetools inspect ");
    assert!(asked.len() >= WORDS.len(), "{asked:?}");
    for call in asked {
        let tag = call.last().unwrap().strip_prefix("registry.lab:5000/team/eurobot:").unwrap();
        assert!(
            tag.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter)),
            "{call:?}"
        );
    }
}

#[test]
fn paths_of_data_are_quoted_and_never_options() {
    let lab = lab();
    for word in WORDS.into_iter().filter(|word| !word.contains('\n')) {
        std::fs::write(lab.dir.join("robot").join(word), word).unwrap();
        lab.run(&["pull-data", "--robot", "main", "--to", "data", "--", word]).expect(0);
        assert_eq!(std::fs::read(lab.root.join("data/main").join(word)).unwrap(), word.as_bytes());
        assert_no_canary(&lab, word);
    }
    lab.run(&["pull-data", "--robot", "main", "--", "a\nrm b"]).expect(2);
}
