//! Robots that would exhaust this machine's memory or disk, or block the deploys to other robots.

use super::lab::{Lab, robot};
use super::registry::Registry;

/// Endless output, as the end of a fake's script.
const ENDLESS: &str = "exec cat /dev/zero";

#[test]
fn an_answer_without_an_end_ends_the_question() {
    let lab = Lab::new();
    lab.on("ssh", "*'sh -s -- eurobot '*", ENDLESS);
    lab.run_small(&["deploy"]).expect(1).says(&[
        "error: `main` does not report what runs there",
        "caused by: `survey` on `main` failed:",
        "it wrote more than 4 MiB",
    ]);
}

#[test]
fn an_answer_that_is_long_enough_may_have_anything_in_it() {
    let lab = Lab::new();
    for line in
        ["container\ta\ta\ta\ta\t0\ta\ta\t0\ta\n", "\t", "release\t1\tcurrent\t{}\n", "image\ta@b\tc\td\n"]
    {
        std::fs::write(lab.dir.join("words"), line.repeat(4_000_000 / line.len())).unwrap();
        lab.on("ssh", "*'sh -s -- eurobot '*", "cat \"$lab/words\"");
        lab.on("ssh", "*' status eurobot'*", "cat \"$lab/words\"");
        let _ran = lab.run_small(&["status"]).expect(0);
    }
}

#[test]
fn an_agent_that_answers_something_else_is_left_to_itself() {
    for (first, again, last) in [("[", "0,", "0]"), ("[", "[],", "0]"), (r#"{"held":""#, "a:1:1 ", r#""}"#)] {
        let lab = Lab::new();
        let _registry = Registry::start(&lab);
        let text = format!("{first}{}{last}\n", again.repeat(8_000_000 / again.len()));
        std::fs::write(lab.dir.join("words"), text).unwrap();
        lab.on("ssh", "*xtask-registry*python3*", "cat \"$lab/words\"; exec cat >/dev/null");
        lab.run_small(&["deploy"]).expect(0).says(&["`docker push` sends whole layers"]);
    }
}

#[test]
fn last_words_are_kept_and_not_what_was_said_before() {
    let lab = Lab::new();
    std::fs::write(lab.dir.join("words"), "words\n".repeat(2_000_000)).unwrap();
    let script = "for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do \
                  cat \"$lab/words\" \"$lab/words\" \"$lab/words\" \"$lab/words\" >&2; done; echo the disk failed >&2; exit 3";
    lab.on("ssh", "*'sh -s -- eurobot '*", script);
    let ran = lab.run_small(&["deploy"]).expect(1).says(&["failed: exit status: 3", "the disk failed"]);
    assert!(ran.stderr.len() < 10_000);
}

#[test]
fn a_line_without_an_end_ends_the_conversation() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*' lock eurobot '*", ENDLESS);
    lab.run_small(&["deploy"])
        .expect(1)
        .says(&["error: `lock` on `main` failed: it wrote a line of more than 1 MiB"]);
    lab.on("ssh", "*' lock eurobot '*", "printf 'held\\t\\n'; exec cat >/dev/null");
    lab.on("ssh", "*' launch eurobot '*", &format!("cat >/dev/null; printf 'release\\t8\\n'; {ENDLESS}"));
    lab.run_small(&["deploy"]).expect(1).says(&["continues by itself", "it wrote a line of more than 1 MiB"]);
    lab.on("ssh", "*ControlMaster=yes*", ENDLESS);
    lab.run_small(&["deploy"]).expect(3).says(&["it wrote a line of more than 1 MiB"]);
}

#[test]
fn an_agent_whose_answer_has_no_end_is_left_to_itself() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*xtask-registry*python3*", ENDLESS);
    lab.run_small(&["deploy"])
        .expect(0)
        .says(&["it wrote a line of more than 8 MiB", "`docker push` sends whole layers"]);
}

#[test]
fn lines_of_logs_may_have_any_length() {
    let lab = Lab::new();
    std::fs::write(lab.dir.join("words"), "word".repeat(1_000_000)).unwrap();
    lab.on("ssh", "*' attached eurobot logs '*", "cat \"$lab/words\"; echo; echo next");
    let ran = lab.run_small(&["logs"]).expect(0);
    let [first, second, third, fourth, last] = ran.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{} lines", ran.stdout.lines().count());
    };
    assert_eq!((first.len(), last), (1 << 20, "next"));
    assert!([second, third, fourth].iter().all(|piece| piece.starts_with("… word")));
    assert_eq!(ran.stdout.matches("word").count(), 1_000_000);
}

#[test]
fn numbers_that_are_too_large_stop_nobody() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let most = u64::MAX;
    let status = format!(
        "disk\t{most}\t{most}\nload\t1e999\t{most}\ntemperature\t1e999\nrelease\t{most}\tcurrent\t{{}}"
    );
    lab.says("ssh", "*second.lab*' status eurobot'*", &status);
    lab.says("ssh", "*main.lab*' status eurobot'*", "release\t3\tcurrent\t{}");
    let survey = format!("machine\t{}\nclock\t{most}\n", std::env::consts::ARCH);
    lab.says("ssh", "*'sh -s -- eurobot '*", &survey);
    lab.run_small(&["status"]).expect(0).shows(&["main    3", "second  none", "GB"]);
    lab.run_small(&["status", "--json"]).expect(0);
    lab.says("ssh", "*' prune eurobot '*", &format!("free\t0\nfree\t{most}"));
    lab.run_small(&["prune", "--all"]).expect(0);
}
