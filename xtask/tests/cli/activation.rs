//! Output for releases that succeed or fail, for robots of another project, and for busy robots.

use super::failures::LOSES_LINK;
use super::lab::{Lab, robot};
use super::registry::Registry;

/// A lab whose robot prints these events about the release that it receives.
fn answering(events: &str) -> (Lab, Registry) {
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    lab.on("ssh", "*' launch eurobot '*", &format!("cat >/dev/null; printf '{events}'"));
    (lab, registry)
}

#[test]
fn a_release_that_is_taken_back_has_its_own_exit_code_and_shows_its_last_words() {
    let (lab, _registry) = answering(
        "release\\t8\\ndoing\\tstarting camera\\nlog\\tcamera\\tno\\tdevice\\n\
         doing\\trolling back to release 7\\nend\\trestored\\tcamera ended with exit code 3\\t7\\n",
    );
    lab.run(&["deploy"]).expect(5).says(&[
        "starting camera",
        "camera | no\tdevice",
        "rolling back to release 7",
        "error: release 8 was rolled back: camera ended with exit code 3; release 7 runs again",
        "--no-rollback",
    ]);
}

#[test]
fn a_first_release_that_is_taken_back_leaves_nothing_and_says_so() {
    let (lab, _registry) = answering("release\\t1\\nend\\trestored\\tcamera is unhealthy\\t\\n");
    lab.run(&["deploy"]).expect(5).says(&["nothing ran before, and nothing runs now"]);
}

#[test]
fn a_release_that_is_to_stay_stays_and_is_no_success() {
    let (lab, _registry) = answering("release\\t8\\nend\\tkept\\tcamera is unhealthy\\t7\\n");
    lab.run(&["deploy", "--no-rollback"])
        .expect(1)
        .says(&["was left running", "cargo xtask rollback --robot main"]);
    let launch = lab.calls_of("ssh ").into_iter().find(|call| call.contains(" launch eurobot ")).unwrap();
    assert!(launch.contains(" no 8 60 5"), "the robot is told: {}", &launch[launch.len() - 80..]);
}

#[test]
fn what_ended_unseen_is_told_by_the_next_command() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let survey = "cat >/dev/null; printf 'machine\\tARCH\\nnews\\t8\\trestored\\tcamera is unhealthy\\n'";
    lab.on("ssh", "*'sh -s -- eurobot '*", &survey.replace("ARCH", std::env::consts::ARCH));
    lab.run(&["deploy", "--no-start"]).expect(0).says(&["release 8 was rolled back: camera is unhealthy"]);
}

#[test]
fn what_ended_unseen_is_told_once_although_nothing_changes() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.run(&["deploy"]).expect(0);
    lab.remember_release();
    let locks = || lab.calls_of("ssh ").iter().filter(|call| call.contains(" lock eurobot ")).count();
    let before = locks();
    lab.run(&["deploy"]).expect(0).says(&["nothing changed"]);
    assert_eq!(locks(), before);
    // The robot forgets the outcome when the lock is taken.
    let known = String::from_utf8(lab.bytes("containers")).unwrap();
    lab.write("../containers", &format!("{known}\nnews\t8\trestored\tcamera is unhealthy\n"));
    lab.run(&["deploy"]).expect(0).says(&["release 8 was rolled back", "nothing changed"]);
    assert_eq!(locks(), before + 1);
}

#[test]
fn a_link_that_is_lost_is_made_again_and_the_robot_listened_to_again() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*' launch eurobot '*", "cat >/dev/null; printf 'release\\t8\\n'; exit 255");
    lab.on("ssh", "*' follow-activation eurobot 8'*", ": >\"$lab/running\"; printf 'end\\tactive\\t\\t7\\n'");
    lab.run(&["deploy"]).expect(0).says(&["the connection dropped", "reconnecting"]);
}

#[test]
fn logs_that_are_no_text_do_not_hide_the_end() {
    let (lab, _registry) = answering(
        "release\\t8\\nlog\\tcamera\\t\\377\\nend\\trestored\\tcamera ended with exit code 3\\t7\\n",
    );
    lab.run(&["deploy"]).expect(5).says(&["camera | \u{fffd}", "release 8 was rolled back"]);
}

/// Number of times that xtask reconnected to follow the activation.
fn follows(lab: &Lab) -> usize {
    lab.calls_of("ssh ").iter().filter(|call| call.contains(" follow-activation eurobot 8")).count()
}

#[test]
fn a_robot_that_never_tells_the_end_is_not_asked_for_ever() {
    let (lab, _registry) = answering("release\\t8\\ndoing\\tstarting camera\\n");
    lab.on("ssh", "*' follow-activation eurobot 8'*", "printf 'doing\\tstarting camera\\n'");
    lab.run(&["deploy"])
        .expect(1)
        .says(&["`main` did not report the result of release 8", "cargo xtask status --robot main"]);
    assert_eq!(follows(&lab), 5);
}

#[test]
fn a_link_that_is_lost_again_and_again_is_given_up_and_the_robot_goes_on() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*' launch eurobot '*", "cat >/dev/null; printf 'release\\t8\\n'; exit 255");
    lab.on("ssh", "*' follow-activation eurobot 8'*", "exit 255");
    lab.run(&["deploy"])
        .expect(3)
        .says(&["reconnecting", "`main` continues by itself: it activates release 8 or rolls back"]);
    assert_eq!(follows(&lab), 5);
}

#[test]
fn a_link_that_is_lost_before_the_robot_answers_leaves_open_what_it_does() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*' launch eurobot '*", LOSES_LINK);
    lab.run(&["deploy"]).expect(3).says(&[
        "the connection to `main` was lost while the release was sent; the robot may activate it by itself",
        "cargo xtask status --robot main",
    ]);
}

#[test]
fn whoever_interrupts_an_activation_is_told_that_it_goes_on() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let launch = "cat >/dev/null; printf 'release\\t8\\n'; : >\"$lab/begun\"; exec sleep 60";
    lab.on("ssh", "*' launch eurobot '*", launch);
    let running = lab.start(&["deploy"]);
    lab.wait_for("the activation", || lab.exists("begun"));
    running.signal("INT");
    running.end().expect(130).says(&[
        "`main` continues by itself: it activates release 8 or rolls back",
        "cargo xtask status --robot main",
    ]);
    assert!(lab.all_masters_are_gone());
}

#[test]
fn a_robot_that_is_anothers_is_left_alone_or_waited_for() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*' lock eurobot '*", "printf 'busy\\t12\\t0\\tanna@laptop\\n'");
    lab.run(&["deploy"]).expect(4).says(&[
        "anna@laptop has been deploying to `main` for 12 s",
        "`--wait` waits until that run has ended",
    ]);
    assert!(lab.calls_of("docker push").is_empty());
    for call in lab.calls_of("ssh ").iter().filter(|call| call.contains(" lock eurobot ")) {
        assert!(call.trim_end_matches('\'').ends_with(" no"), "{}", &call[call.len() - 80..]);
    }
    lab.on("ssh", "*' lock eurobot '*", "printf 'busy\\t12\\t2\\tanna@laptop\\n'");
    lab.run(&["deploy"]).expect(4).says(&["anna@laptop has been editing `main` live for 12 s, with `watch`"]);
    lab.on(
        "ssh",
        "*' lock eurobot '*",
        "printf 'busy\\t12\\t0\\tanna@laptop\\nheld\\t\\n'; exec cat >/dev/null",
    );
    lab.run(&["deploy", "--wait"]).expect(0).says(&["waiting: anna@laptop has been deploying"]);
}

#[test]
fn a_busy_robot_gets_images_and_no_new_release() {
    let main = robot("main") + "busy = { command = [\"in match\", \"it's; $(on)\"] }\n";
    let lab = Lab::with(&main);
    let _registry = Registry::start(&lab);
    lab.on(
        "ssh",
        "*' busy eurobot command '*",
        "[ -e \"$lab/over\" ] || printf 'busy\\tin match reports that the robot is busy\\n'",
    );
    lab.run(&["deploy"]).expect(4).says(&[
        "`main` must not be disturbed: in match reports that the robot is busy",
        "`--wait`",
        "`--force`",
    ]);
    assert!(!lab.calls_of("docker push").is_empty());
    assert!(lab.calls().iter().all(|call| !call.contains(" launch eurobot ")));
    let asked = lab.calls_of("ssh ").into_iter().find(|call| call.contains("busy eurobot command")).unwrap();
    let [.., remote] = &shell_words::split(&asked).unwrap()[..] else { panic!("{asked}") };
    assert!(remote.ends_with(r"busy eurobot command 'in match' 'it'\''s; $(on)'"), "{remote}");

    let running = lab.start(&["deploy", "--wait"]);
    lab.wait_for("the question to be asked again", || {
        lab.calls_of("ssh ").iter().filter(|call| call.contains("busy eurobot command")).count() > 2
    });
    std::fs::write(lab.dir.join("over"), "").unwrap();
    running.end().expect(0).says(&["waiting: `main` must not be disturbed"]);
}

#[test]
fn force_disturbs_a_busy_robot() {
    let lab = Lab::with(&(robot("main") + "busy = { lock = \"/run/match\" }\n"));
    let _registry = Registry::start(&lab);
    lab.on("ssh", "*' busy eurobot lock /run/match'*", "printf 'Welcome!\\nbusy\\t/run/match is locked\\n'");
    lab.run(&["deploy"]).expect(4).says(&["/run/match is locked"]);
    lab.run(&["deploy", "--force"]).expect(0);
}

#[test]
fn back_is_the_release_that_was_well_before() {
    let lab = Lab::new();
    let release = |number: u32, place: &str, outcome: &str| {
        format!("release\t{number}\t{place}\t{{\"outcome\":\"{outcome}\",\"deploy\":null}}")
    };
    let list =
        [release(9, "current", "healthy"), release(8, "-", "restored"), release(7, "previous", "healthy")];
    lab.says("ssh", "*' list eurobot releases'*", &list.join("\n"));
    lab.on("ssh", "*' return eurobot '*", "printf 'release\\t7\\nend\\tactive\\t\\t9\\n'");
    lab.run(&["releases"]).expect(0).shows(&["9        current   healthy", "7        previous  healthy"]);
    lab.run(&["rollback"]).expect(0).says(&["activating release 7"]);
    let returns = lab
        .calls_of("ssh ")
        .into_iter()
        .filter(|call| call.contains(" return eurobot ") && call.contains(" 7 "))
        .count();
    assert_eq!(returns, 1);
    lab.run(&["rollback", "--to", "5"])
        .expect(1)
        .says(&["`main` has no release 5", "it has releases 9, 8, 7"]);
}

#[test]
fn a_robot_that_cannot_be_asked_is_a_line_of_the_status_and_what_to_do() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    let shell = "sh: 1: cannot create /tmp/sh: Read-only file system";
    lab.fails("ssh", "*second.lab*' status eurobot'*", 2, shell);
    lab.on("ssh", "*main.lab*' status eurobot'*", "printf 'release\\t3\\tcurrent\\t{}\\n'");
    let told = lab.run(&["status"]).expect(0);
    told.shows(&[
        "main    3",
        "second  –        `second` does not report what runs there",
        "second: `cargo xtask doctor --robot second` checks what is wrong there",
    ]);
    let json: serde_json::Value =
        serde_json::from_str(&lab.run(&["status", "--json"]).expect(0).stdout).unwrap();
    assert!(json["second"]["error"].as_str().unwrap().contains("Read-only file system"), "{json}");
    assert_eq!(json["second"]["reachable"], true);
}

#[test]
fn a_robot_that_is_off_is_a_line_of_the_status() {
    let lab = Lab::with(&(robot("main") + &robot("second")));
    lab.fails(
        "ssh",
        "*ControlMaster=yes*second.lab*",
        255,
        "ssh: connect to host second.lab port 22: No route to host",
    );
    lab.on("ssh", "*' status eurobot'*", "printf 'load\\t0.50\\t4\\nrelease\\t3\\tcurrent\\t{}\\n'");
    lab.run(&["status"]).expect(0).shows(&[
        "main    3",
        "0.50/4",
        "second  –",
        "`second`",
        "does not answer",
    ]);
    let json: serde_json::Value =
        serde_json::from_str(&lab.run(&["status", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(
        (&json["main"]["release"]["release"], &json["second"]["reachable"]),
        (&3.into(), &false.into())
    );
}

#[test]
fn whoever_takes_the_lock_is_told_how_it_ended_once() {
    let lab = Lab::new();
    let _registry = Registry::start(&lab);
    let news = "printf 'news\\t7\\trestored\\tcamera is unhealthy\\nheld\\t\\n'; exec cat >/dev/null";
    lab.on("ssh", "*' lock eurobot '*", news);
    for args in [&["restart", "--robot", "main"][..], &["prune", "--robot", "main"], &["deploy"]] {
        let ran = lab.run(args).expect(0);
        let told = ran.stderr.matches("release 7 was rolled back: camera is unhealthy").count();
        assert_eq!(told, 1, "{args:?}: {}", ran.stderr);
    }
}
