//! Robots whose output contains control sequences for the terminal.

use super::lab::{Lab, Ran, robot};

/// Fills the clipboard (OSC 52), erases the line above, returns to the start of the line, clears the screen
/// with the C1 form of CSI, and switches to right-to-left text.
const WORDS: &str =
    "\u{1b}]52;c;cm0gLXJmIH4=\u{7}\u{1b}[1A\u{1b}[2Kfine\rfine\u{9b}2J\u{202e}lla\u{2066}\u{2028}\u{7f}";

/// The same text as users see it.
const SHOWN: &str =
    r"\u001b]52;c;cm0gLXJmIH4=\u0007\u001b[1A\u001b[2Kfine\rfine\u009b2J\u202ella\u2066\u2028\u007f";

/// Fails unless the output contains the words and no control characters.
#[track_caller]
fn assert_harmless(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let acts = |letter: char| {
            (letter.is_control() && !"\n\t".contains(letter))
                || ('\u{202a}'..='\u{202e}').contains(&letter)
                || ('\u{2066}'..='\u{2069}').contains(&letter)
                || "\u{2028}\u{2029}".contains(letter)
        };
        assert!(!text.contains(acts), "{text:?}");
    }
    assert!((ran.stdout.clone() + &ran.stderr).contains(SHOWN), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn what_services_print_does_nothing_to_a_terminal() {
    let lab = Lab::new();
    lab.says("ssh", "*' attached eurobot logs '*", &format!("navigation-1  | a\tb {WORDS}"));
    let ran = lab.run(&["logs"]).expect(0).shows(&["navigation-1  | a\tb ", SHOWN]);
    assert_harmless(&ran);
}

#[test]
fn colours_of_nodes_are_left_out_and_nothing_is_put_together_of_the_rest() {
    let lab = Lab::new();
    let line = "navigation-1  | \u{1b}[33m[WARN]\u{1b}[0m \u{1b}\u{1b}[m[8mhidden\u{1b}[0;38:5m";
    lab.says("ssh", "*' attached eurobot logs '*", line);
    let ran = lab.run(&["logs"]).expect(0);
    assert_eq!(ran.stdout, "navigation-1  | [WARN] \\u001b[8mhidden\n");
}

#[test]
fn what_ssh_says_does_nothing_to_a_terminal() {
    let lab = Lab::new();
    lab.fails("ssh", "*ControlMaster=yes*", 255, &format!("Connection refused {WORDS}"));
    assert_harmless(&lab.run(&["deploy"]).expect(3));
    lab.fails("ssh", "*ControlMaster=yes*", 255, &format!("{WORDS} Host key verification failed."));
    assert_harmless(&lab.run(&["deploy"]).expect(3));
}

#[test]
fn a_status_says_what_is_in_it_in_lines_of_its_own_only() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let invented = "navigation\\nsecond  navigation  running";
    let deploy = format!(
        r#"{{"revision":"v1","dirty":false,"by":"{invented}","at":"now","via":"registry","images":{{}}}}"#
    );
    let words = WORDS.chars().map(|letter| match letter {
        letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    });
    let outcome: String = words.collect();
    let record = format!(r#"{{"outcome":"{outcome}","deploy":{deploy}}}"#);
    lab.says("ssh", "*' status eurobot'*", &format!("release\t3\tcurrent\t{record}"));
    let container = |service: &str| {
        format!(
            "container\t{service}\teurobot@sha256:aa\tsha256:bb\trunning\t0\t2026-01-01T00:00:00Z\t\t0\tcafe"
        )
    };
    let survey = format!("machine\t{}\n{}", std::env::consts::ARCH, container(WORDS));
    lab.says("ssh", "*'sh -s -- eurobot '*", &survey);
    let ran = lab.run(&["status"]).expect(0).shows(&["ROBOT", SHOWN, r"navigation\nsecond  navigation"]);
    assert!(ran.stdout.lines().all(|line| !line.starts_with("second  navigation")), "{}", ran.stdout);
    assert_harmless(&ran);

    let json = lab.run(&["status", "--json"]).expect(0).stdout;
    assert!(!json.contains(['\u{9b}', '\u{7f}', '\u{202e}']), "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["main"]["services"][0]["service"], WORDS, "other programs get what the robot said");
}

#[test]
fn an_activation_and_its_reasons_do_nothing_to_a_terminal() {
    let lab = Lab::new();
    let _registry = super::registry::Registry::start(&lab);
    let events =
        format!("release\t8\ndoing\tpulling {WORDS}\nlog\tcamera\t{WORDS}\nend\trestored\t{WORDS}\t7");
    lab.on("ssh", "*' launch eurobot '*", &format!("cat >/dev/null; cat <<'END'\n{events}\nEND"));
    let ran = lab.run(&["deploy"]).expect(5).says(&[
        "pulling ",
        SHOWN,
        &format!("camera | {SHOWN}"),
        &format!("was rolled back: {SHOWN}"),
    ]);
    assert_harmless(&ran);
}
