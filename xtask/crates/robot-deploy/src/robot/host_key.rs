//! Host keys: pinned in a file the team shares, and what it means when a connection fails over them.

use std::fs::File;

use anyhow::Context as _;
use camino::Utf8Path;

use super::Endpoint;
use crate::cmd;
use crate::error::{Failure, Result};
use crate::files;
use crate::process::Cmd;

/// Turns what `ssh` said when it could not connect into what a person can do.
pub fn explain(endpoint: &Endpoint, reason: &anyhow::Error) -> anyhow::Error {
    let said = format!("{reason:#}");
    let robot = &endpoint.robot;
    let destination = &endpoint.destination;
    let failure = if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        Failure::unreachable(format!(
            "the host key of `{robot}` is not the one in `{}`",
            endpoint.known_hosts
        ))
        .hint(format!("if {robot} was re-flashed: `cargo xtask setup-robot --robot {robot} --new-host-key`"))
        .hint(format!("if it was not, another machine answers at `{destination}`: check the address"))
    } else if said.contains("host key is known for") {
        Failure::unreachable(format!("the host key of `{robot}` has not been recorded")).hint(format!(
            "`cargo xtask setup-robot --robot {robot}` shows it, records it, and sets the robot up"
        ))
    } else if said.contains("Permission denied") {
        Failure::unreachable(format!("`{robot}` ({destination}) does not accept your SSH key"))
            .hint(format!("`cargo xtask setup-robot --robot {robot}` installs it"))
            .hint("a key with a passphrase has to be in the agent: `ssh-add`")
    } else if said.contains("Could not resolve") {
        Failure::unreachable(format!("`{robot}`: there is no machine called `{destination}`"))
            .hint(format!("check `host` of [robots.{robot}] in robots.toml; an IP address always works"))
    } else {
        Failure::unreachable(format!("`{robot}` ({destination}) does not answer"))
            .hint("is it switched on, and this machine on the robot's network?")
            .hint(format!("`cargo xtask doctor --robot {robot}` looks closer"))
    };
    failure.because(anyhow::anyhow!(last_words(&reason.root_cause().to_string()))).into()
}

/// The lines of `ssh` that say something; it frames warnings in rows of `@`.
fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('@')).collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}

/// Asks the robot for its host key, without logging in.
///
/// It is asked through the real `ssh`, not `ssh-keyscan`, so that jump hosts and `~/.ssh/config` count.
///
/// # Errors
/// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when the robot does not answer.
pub fn fetch(endpoint: &Endpoint) -> Result<String> {
    let (_dir, file) = files::apart("known_hosts")?;
    // Logging in without any method fails: the key has been shown before that.
    let refusal = probe(endpoint, &file).run().err();
    match fs_err::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(explain(endpoint, &refusal.unwrap_or_else(|| anyhow::anyhow!("no host key was sent")))),
    }
}

/// Prints how the key would come into the file, in a dry run.
///
/// # Errors
/// Never fails there.
pub fn plan(endpoint: &Endpoint, is_recorded: bool) -> Result<()> {
    if is_recorded {
        Cmd::new("ssh-keygen").args(["-R", &endpoint.robot, "-f", endpoint.known_hosts.as_str()]).run()?;
    }
    probe(endpoint, &endpoint.known_hosts).run()
}

/// An `ssh` that writes the host key to `file` and does not log in.
fn probe(endpoint: &Endpoint, file: &Utf8Path) -> Cmd {
    let probe = Endpoint { known_hosts: file.to_owned(), identity: None, ..endpoint.clone() };
    // The first value of an option counts: ours have to come before those of every connection.
    let options = ["StrictHostKeyChecking=accept-new", "HashKnownHosts=no", "PreferredAuthentications=none"];
    let mut argv: Vec<String> =
        options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]).collect();
    argv.extend(probe.command(["true"]).argv().into_iter().skip(1).map(str::to_owned));
    Cmd::new("ssh").args(argv)
}

/// The fingerprint of a line of a known-hosts file, as `ssh` shows it on the robot's own console.
///
/// # Errors
/// Fails when the line is none.
pub fn fingerprint(line: &str) -> Result<String> {
    let text = cmd!("ssh-keygen -l -f -")?.stdin(format!("{line}\n")).read()?;
    let word = text.split_whitespace().find(|word| word.starts_with("SHA256:"));
    Ok(word.unwrap_or(text.as_str()).to_owned())
}

/// The lines by which `ssh` knows `robot`.
///
/// # Errors
/// Fails when the file exists but cannot be read, or when one of the lines is for other names as well.
pub fn recorded(known_hosts: &Utf8Path, robot: &str) -> Result<Vec<String>> {
    let lines = lines(known_hosts)?;
    Ok(numbers(known_hosts, robot, &lines)?.into_iter().map(|number| lines[number].clone()).collect())
}

/// Records `key` as the only host key of `robot`.
///
/// # Errors
/// As [`recorded`], and when the file cannot be written; it is replaced whole or not at all.
pub fn record(known_hosts: &Utf8Path, robot: &str, key: &str) -> Result<()> {
    let _turn = turn(known_hosts)?;
    let mut all = lines(known_hosts)?;
    for number in numbers(known_hosts, robot, &all)?.into_iter().rev() {
        drop(all.remove(number));
    }
    all.extend(key.lines().map(str::to_owned));
    files::replace(known_hosts, &(all.join("\n") + "\n"))
}

/// The places, from 0, of the lines by which `ssh` knows `robot`: its own matching decides, of patterns, hashed names and
/// authorities. One that is for other names as well is refused, since whoever has its key would be taken for the robot,
/// whatever key is recorded beside it; one that revokes keys stays.
fn numbers(known_hosts: &Utf8Path, robot: &str, lines: &[String]) -> Result<Vec<usize>> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    // It ends with 1 when it finds nothing.
    let ask = "ssh-keygen -F \"$1\" -f \"$2\" || [ $? -eq 1 ]";
    let found = Cmd::new("sh").args(["-c", ask, "sh", robot, known_hosts.as_str()]).read()?;
    let found = found.lines().filter_map(|line| line.strip_prefix("# Host ")?.split_once(" found: line "));
    let mut numbers = Vec::new();
    for (_, place) in found.filter(|(_, place)| !place.ends_with("REVOKED")) {
        let number = place.split(' ').next().and_then(|number| number.parse::<usize>().ok());
        let number = number.and_then(|number| number.checked_sub(1)).filter(|number| *number < lines.len());
        let number = number.with_context(|| format!("read what ssh-keygen says of `{known_hosts}`"))?;
        let names = lines[number].split_whitespace().next().unwrap_or_default();
        if !names.eq_ignore_ascii_case(robot) && !names.starts_with("|1|") {
            return Err(Failure::failed(format!(
                "line {} of `{known_hosts}`, `{names} …`, is for `{robot}` and others: whoever has its key is taken for `{robot}`",
                number + 1
            ))
            .hint(format!("remove the line, or leave the robot out of it by `,!{robot}` after its names; then run this again"))
            .into());
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// Waits until nobody else changes the file: several robots may be recorded at the same time, in one run or in two,
/// and each keeps the lines that it has read. The lock is the directory's: the file itself is replaced, and one
/// of its own would lie about among the team's files.
fn turn(known_hosts: &Utf8Path) -> Result<File> {
    let dir = known_hosts.parent().filter(|dir| !dir.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    fs_err::create_dir_all(dir)?;
    let file = File::open(dir).with_context(|| format!("open `{dir}`"))?;
    file.lock().with_context(|| format!("lock `{dir}`"))?;
    Ok(file)
}

fn lines(known_hosts: &Utf8Path) -> Result<Vec<String>> {
    match fs_err::read_to_string(known_hosts) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;
    use crate::error::{Exit, exit_of, hints_of};
    use crate::fuzz::{fuzz, text};

    fn explained(said: &str) -> anyhow::Error {
        let endpoint = Endpoint {
            robot: "main".into(),
            destination: "nuc@10.0.0.1".into(),
            port: None,
            known_hosts: "robots.known_hosts".into(),
            identity: None,
            compressed: false,
            reconnect: std::time::Duration::ZERO,
        };
        explain(&endpoint, &anyhow::anyhow!(said.to_owned()))
    }

    #[test]
    fn fuzzed_files_of_host_keys_keep_the_keys_of_other_robots() {
        let known = b"main ssh-ed25519 AAAA\n# a comment\n@cert-authority *.lab ssh-rsa BBBB x\n|1|aa=|bb= ssh-rsa C\n";
        fuzz("known hosts", 200, &[known], |bytes| {
            let dir = tempfile::tempdir().unwrap();
            let file = Utf8PathBuf::from_path_buf(dir.path().join("known_hosts")).unwrap();
            fs_err::write(&file, text(bytes)).unwrap();
            let before = recorded(&file, "secondary").unwrap();
            record(&file, "main", "main ssh-ed25519 DDDD").unwrap();
            assert_eq!(recorded(&file, "main").unwrap(), ["main ssh-ed25519 DDDD"]);
            assert_eq!(recorded(&file, "secondary").unwrap(), before);
        });
    }

    #[test]
    fn every_refusal_has_its_own_message_and_remedy() {
        let cases = [
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "is not the one in", "--new-host-key"),
            ("No ED25519 host key is known for main", "has not been recorded", "setup-robot --robot main"),
            ("nuc@10.0.0.1: Permission denied (publickey).", "does not accept your SSH key", "installs it"),
            ("ssh: Could not resolve hostname nuc: unknown", "there is no machine called", "robots.toml"),
            ("ssh: connect to host 10.0.0.1 port 22: No route to host", "does not answer", "switched on"),
        ];
        for (said, message, hint) in cases {
            let error = explained(said);
            assert!(error.to_string().contains(message), "{error}");
            assert!(hints_of(&error).concat().contains(hint), "{:?}", hints_of(&error));
            assert_eq!(exit_of(&error), Exit::Unreachable);
        }
    }

    #[test]
    fn recording_replaces_the_robots_key_and_keeps_the_others() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = Utf8PathBuf::from_path_buf(dir.path().join("robots.known_hosts")).unwrap();
        record(&file, "main", "main ssh-ed25519 AAAA")?;
        record(&file, "secondary", "secondary ssh-ed25519 BBBB")?;
        record(&file, "main", "main ssh-ed25519 CCCC")?;
        assert_eq!(recorded(&file, "main")?, ["main ssh-ed25519 CCCC"]);
        assert_eq!(recorded(&file, "secondary")?, ["secondary ssh-ed25519 BBBB"]);
        Ok(())
    }

    #[test]
    fn lines_are_found_as_ssh_finds_them() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = Utf8PathBuf::from_path_buf(dir.path().join("robots.known_hosts")).unwrap();
        let hashed = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 AAAA";
        // The example of sshd(8) is for 192.168.1.61.
        let kept = "@revoked * ssh-ed25519 DDDD\n*,!192.168.1.61 ssh-ed25519 BBBB\n# 192.168.1.61\n";
        fs_err::write(&file, format!("{kept}{hashed}\n"))?;
        assert_eq!(recorded(&file, "192.168.1.61")?, [hashed]);
        record(&file, "192.168.1.61", "192.168.1.61 ssh-ed25519 CCCC")?;
        assert_eq!(fs_err::read_to_string(&file)?, format!("{kept}192.168.1.61 ssh-ed25519 CCCC\n"));
        Ok(())
    }

    #[test]
    fn a_line_that_is_for_others_as_well_is_told() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = Utf8PathBuf::from_path_buf(dir.path().join("robots.known_hosts")).unwrap();
        for names in ["*", "mai?", "main,10.0.0.1", "m*,!secondary", "@cert-authority *"] {
            let text = format!("secondary ssh-ed25519 AAAA\n{names} ssh-ed25519 BBBB\n");
            fs_err::write(&file, &text)?;
            for error in [
                recorded(&file, "main").unwrap_err(),
                record(&file, "main", "main ssh-ed25519 C").unwrap_err(),
            ] {
                assert!(error.to_string().contains("line 2 of"), "{names}: {error}");
                assert!(hints_of(&error).concat().contains(",!main"), "{names}");
            }
            assert_eq!(fs_err::read_to_string(&file)?, text);
        }
        Ok(())
    }

    #[test]
    fn robots_recorded_at_the_same_time_are_all_there() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = Utf8PathBuf::from_path_buf(dir.path().join("sim/known_hosts")).unwrap();
        let names: Vec<String> = (0..32).map(|number| format!("robot{number}")).collect();
        std::thread::scope(|scope| {
            let record = |name: &String| record(&file, name, &format!("{name} ssh-ed25519 AAAA"));
            let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || record(name))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })?;
        for name in &names {
            assert_eq!(recorded(&file, name)?.len(), 1, "{name}");
        }
        Ok(())
    }
}
