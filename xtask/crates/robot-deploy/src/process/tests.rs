use std::io::BufRead as _;

use super::*;
use crate::error::exit_of;

#[test]
fn a_command_prints_as_it_could_be_pasted() {
    let cmd = Cmd::new("docker").args(["tag", "a b", "$(reboot)"]).env("X", "it's").dir("/tmp/x y");
    assert_eq!(cmd.to_string(), r#"cd '/tmp/x y' && X='it'\''s' docker tag 'a b' '$(reboot)'"#);
}

#[test]
fn only_special_characters_are_quoted() {
    let cmd = Cmd::new("docker").args(["--format", "{{.Id}}", "--progress=plain", "=x", "", "a\nb"]);
    assert_eq!(cmd.to_string(), "docker --format '{{.Id}}' --progress=plain '=x' '' 'a\nb'");
}

#[test]
fn secrets_and_archives_do_not_print() {
    let cmd = Cmd::new("sh").hidden_env("TOKEN", "swordfish").stdin_from("release.tar", "swordfish");
    assert_eq!(cmd.to_string(), r#"TOKEN="$TOKEN" sh < release.tar"#);
}

#[test]
fn each_value_in_cmd_is_one_argument() -> Result<()> {
    let (name, more) = ("a b; $(reboot)", ["-x", "y z"]);
    let cmd = crate::cmd!("docker tag {name} 127.0.0.1:5000/{name} {more...}")?;
    assert_eq!(cmd.argv(), ["docker", "tag", name, "127.0.0.1:5000/a b; $(reboot)", "-x", "y z"]);
    Ok(())
}

#[test]
fn input_prints_as_a_here_document() {
    let cmd = Cmd::new("sh").stdin("echo $HOME\n");
    assert_eq!(cmd.to_string(), "sh <<'END-OF-INPUT'\necho $HOME\nEND-OF-INPUT");
}

#[test]
fn output_comes_back_without_its_last_newline() -> Result<()> {
    assert_eq!(Cmd::new("sh").stdin("echo one; echo two").read()?, "one\ntwo");
    assert!(!Cmd::new("false").succeeds()?);
    Ok(())
}

#[test]
fn a_failure_names_the_command_the_status_and_the_end_of_stderr() {
    let error = Cmd::new("sh").args(["-c", "echo oh no >&2; exit 3"]).run().unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("exit status: 3") && text.contains("oh no"), "{text}");
}

#[test]
fn shown_output_is_not_repeated_in_the_error() {
    static SEEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    fn seen() -> LineFilter {
        Box::new(|line| {
            SEEN.store(line == "oh no", std::sync::atomic::Ordering::SeqCst);
            Vec::new()
        })
    }
    let error =
        Cmd::new("sh").args(["-c", "echo oh no; exit 3"]).show_through("test", seen).run().unwrap_err();
    assert!(SEEN.load(std::sync::atomic::Ordering::SeqCst));
    assert!(!format!("{error:#}").contains(": oh no"), "it has been shown: {error:#}");
}

#[test]
fn a_missing_program_has_its_own_error() {
    let error = Cmd::new("no-such-program-anywhere").read().unwrap_err();
    assert_eq!(error.to_string(), "`no-such-program-anywhere` is not installed");
    assert_eq!(exit_of(&error), Exit::Failed);
}

#[test]
fn a_deadline_ends_the_command() {
    let error = Cmd::new("sleep").arg("600").deadline(Duration::from_millis(50)).run().unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
}

#[test]
fn both_ends_of_a_pipe_must_succeed() -> Result<()> {
    let producer = |script: &str| Cmd::new("sh").args(["-c", script]);
    Cmd::new("grep").args(["-q", "x"]).feed(&producer("echo x"))?;
    Cmd::new("grep").args(["-q", "x"]).feed(&producer("echo y")).unwrap_err();
    Cmd::new("cat").feed(&producer("echo x; exit 1")).unwrap_err();
    Ok(())
}

#[test]
fn a_broken_pipe_reports_the_first_cause() {
    let sh = |script: &str| Cmd::new("sh").args(["-c", script]);
    let error =
        |consumer: &str, producer: &str| format!("{:#}", sh(consumer).feed(&sh(producer)).unwrap_err());
    // The producer fails because the consumer has ended.
    let full = error("echo disk full >&2; exit 3", "while :; do echo x; done");
    assert!(full.contains("exit status: 3") && full.contains("disk full"), "{full}");
    // The consumer fails because its input is incomplete.
    let nothing = error("cat >/dev/null; echo end of file >&2; exit 3", "echo no such image >&2; exit 4");
    assert!(nothing.contains("exit status: 4") && nothing.contains("no such image"), "{nothing}");
    let missing = Cmd::new("no-such-program-anywhere").feed(&sh("while :; do echo x; done")).unwrap_err();
    assert_eq!(missing.to_string(), "`no-such-program-anywhere` is not installed");
}

#[test]
fn a_held_child_ends_when_its_guard_goes() -> Result<()> {
    // A child that survives the end of its stdin.
    let (child, mut stdout) = Cmd::new("sh").args(["-c", "echo ready; cat; exec sleep 600"]).spawn_held()?;
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    assert_eq!(line, "ready\n");
    drop(child);
    assert_eq!(stdout.read_line(&mut line)?, 0, "the child was killed: the pipe has no writer");
    Ok(())
}

#[test]
fn lines_go_on_after_one_that_is_not_text() -> Result<()> {
    let (child, stdin, answers) = Cmd::new("printf").arg("one\r\n\\377\n\nlast").converse()?;
    drop(stdin);
    let answers = lines(&child, answers, LINE);
    let received: Vec<String> =
        std::iter::from_fn(|| next_line(&answers).transpose()).collect::<Result<_>>()?;
    assert_eq!(received, ["one", "\u{fffd}", "", "last"]);
    child.wait()
}

#[test]
fn polling_reports_the_last_reason() {
    let error = poll("rain", Duration::ZERO, || Err::<(), _>(anyhow::anyhow!("sunny"))).unwrap_err();
    assert_eq!(format!("{error:#}"), "waited 0 s for rain: sunny");
}
