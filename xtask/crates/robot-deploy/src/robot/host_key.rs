//! Host keys, recorded in a file that the team shares.

use std::fs::File;

use anyhow::Context as _;
use camino::Utf8Path;

use super::Endpoint;
use super::connecting::{self, Cause};
use crate::cmd;
use crate::error::{Failure, Result};
use crate::files;
use crate::process::Cmd;

/// Reads the robot's host key without logging in.
///
/// Uses `ssh` instead of `ssh-keyscan`, so that jump hosts and `~/.ssh/config` apply.
///
/// # Errors
/// Fails with [`Exit::Unreachable`](crate::error::Exit::Unreachable) when the robot does not answer.
pub fn fetch(endpoint: &Endpoint) -> Result<String> {
    let (_dir, file) = files::apart("known_hosts")?;
    connecting::keep_trying(endpoint, Cause::may_pass, || {
        // The login has no authentication method and fails, but only after `ssh` has written the host key.
        let refusal = probe(endpoint, &file).read().err();
        match fs_err::read_to_string(&file) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            _ => {
                let reason = refusal.unwrap_or_else(|| anyhow::anyhow!("the robot sent no host key"));
                Err(connecting::explain(endpoint, &reason))
            }
        }
    })
}

/// `ssh` command that writes the host key to `file` and does not log in.
fn probe(endpoint: &Endpoint, file: &Utf8Path) -> Cmd {
    let probe = Endpoint { known_hosts: file.to_owned(), identity: None, ..endpoint.clone() };
    // `ssh` uses the first value of an option, so these come before the options of every connection.
    let options = ["StrictHostKeyChecking=accept-new", "HashKnownHosts=no", "PreferredAuthentications=none"];
    let mut argv: Vec<String> =
        options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]).collect();
    argv.extend(probe.command(["true"]).argv().into_iter().skip(1).map(str::to_owned));
    Cmd::new("ssh").args(argv)
}

/// Fingerprint of a line of a known-hosts file, as `ssh-keygen -l` prints it on the robot.
pub fn fingerprint(line: &str) -> Result<String> {
    let text = cmd!("ssh-keygen -l -f -")?.stdin(format!("{line}\n")).read()?;
    let word = text.split_whitespace().find(|word| word.starts_with("SHA256:"));
    Ok(word.unwrap_or(text.as_str()).to_owned())
}

/// The lines of the file that `ssh` matches for `robot`.
///
/// # Errors
/// Fails when the file exists but cannot be read, or when one of the lines matches other names as well.
pub fn recorded(known_hosts: &Utf8Path, robot: &str) -> Result<Vec<String>> {
    let lines = lines(known_hosts)?;
    Ok(numbers(known_hosts, robot, &lines)?.into_iter().map(|number| lines[number].clone()).collect())
}

/// Records `key` as the only host key of `robot`.
///
/// # Errors
/// As [`recorded`], and when the file cannot be written. The file is replaced completely or not at all.
pub fn record(known_hosts: &Utf8Path, robot: &str, key: &str) -> Result<()> {
    let _lock = lock(known_hosts)?;
    let mut all = lines(known_hosts)?;
    for number in numbers(known_hosts, robot, &all)?.into_iter().rev() {
        all.remove(number);
    }
    all.extend(key.lines().map(str::to_owned));
    files::replace(known_hosts, &(all.join("\n") + "\n"))
}

/// Indices of the lines that `ssh` matches for `robot`. `ssh-keygen` does the matching, because lines may
/// have patterns, hashed names and certificate authorities. A line that matches other names as well is an
/// error: a machine with its key would be accepted as the robot, whatever other key is recorded. Lines that
/// revoke keys are not returned.
fn numbers(known_hosts: &Utf8Path, robot: &str, lines: &[String]) -> Result<Vec<usize>> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    // `ssh-keygen -F` exits with 1 when nothing matches.
    let find = "ssh-keygen -F \"$1\" -f \"$2\" || [ $? -eq 1 ]";
    let found = Cmd::new("sh").args(["-c", find, "sh", robot, known_hosts.as_str()]).read()?;
    let found = found.lines().filter_map(|line| line.strip_prefix("# Host ")?.split_once(" found: line "));
    let mut numbers = Vec::new();
    for (_, place) in found.filter(|(_, place)| !place.ends_with("REVOKED")) {
        let number = place.split(' ').next().and_then(|number| number.parse::<usize>().ok());
        let number = number.and_then(|number| number.checked_sub(1)).filter(|number| *number < lines.len());
        let number =
            number.with_context(|| format!("read the answer of ssh-keygen about `{known_hosts}`"))?;
        let names = lines[number].split_whitespace().next().unwrap_or_default();
        if !names.eq_ignore_ascii_case(robot) && !names.starts_with("|1|") {
            return Err(Failure::failed(format!(
                "line {} of `{known_hosts}`, `{names} …`, matches `{robot}` and others: any machine with its key is accepted as `{robot}`",
                number + 1
            ))
            .hint(format!("remove the line, or exclude the robot by adding `,!{robot}` to the names of the line; then run this again"))
            .into());
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// Locks the file for changes. Several robots may be recorded at the same time, by one process or by several,
/// and each change writes back all lines that it has read. Locks the directory, because the file itself is
/// replaced and a separate lock file would lie among the team's files.
fn lock(known_hosts: &Utf8Path) -> Result<File> {
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
    use crate::error::hints_of;
    use crate::fuzz::{fuzz, text};
    use crate::robot::endpoint::testing;

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
    fn a_key_of_another_robot_is_recognized() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = Utf8PathBuf::from_path_buf(dir.path().join("robots.known_hosts")).unwrap();
        let key = dir.path().join("key");
        let key = key.to_str().unwrap_or_default();
        cmd!("ssh-keygen -q -t ed25519 -N '' -f {key}")?.run()?;
        let public = fs_err::read_to_string(format!("{key}.pub"))?;
        let words: Vec<&str> = public.split_whitespace().take(2).collect();
        record(&file, "secondary", &format!("secondary {}", words.join(" ")))?;
        let fingerprint = fingerprint(&public)?;
        let of = |robot: &str| Endpoint {
            robot: robot.to_owned(),
            known_hosts: file.clone(),
            ..testing::endpoint()
        };
        assert_eq!(of("main").other_with_key(&fingerprint).as_deref(), Some("secondary"));
        assert_eq!(of("secondary").other_with_key(&fingerprint), None);
        assert_eq!(of("main").other_with_key("SHA256:other"), None);
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
