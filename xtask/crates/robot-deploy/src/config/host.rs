//! Syntax of a robot's `host`: `user@host`, `user@host:2222`, `ssh://user@host:2222`, a name of
//! `~/.ssh/config`; IPv6 addresses with a port in brackets, `user@[fe80::1]:2222`.

use super::names;

/// Destination and port for `ssh`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination {
    /// `user@host` or `host`; never begins with a dash.
    pub destination: String,
    /// The port, if `host` contains one.
    pub port: Option<u16>,
}

/// Splits `written` into destination and port. The error is the predicate of a sentence: "is empty".
pub(super) fn parse(written: &str) -> Result<Destination, String> {
    let (address, url) = match written.strip_prefix("ssh://") {
        Some(address) => (address.strip_suffix('/').unwrap_or(address), true),
        None => (written, false),
    };
    if address.is_empty() {
        return Err("is empty".to_owned());
    }
    let (user, host) = match address.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, address),
    };
    let (host, port) = split_port(host)?;
    if let Some(user) = user {
        check("the user name", user, "._-+@")?;
    }
    // `%` introduces an IPv6 zone: `fe80::1%eth0`.
    check(if url { "the host of the URL" } else { "the host" }, host, "._-:%")?;
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    Ok(Destination { destination: format!("{user}{host}"), port })
}

/// Splits host and port. A bare IPv6 address, which contains several colons, has no port.
fn split_port(written: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = if let Some(rest) = written.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("has `[` without `]`")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(format!("has `{}` after `]`", rest.escape_debug())),
        }
    } else {
        match written.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (written, None),
        }
    };
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) if number > 0 && port.chars().all(|digit| digit.is_ascii_digit()) => Ok(number),
        _ => Err(format!("has the port `{}`, which is not a number from 1 to 65535", port.escape_debug())),
    });
    Ok((host, port.transpose()?))
}

fn check(what: &str, part: &str, punctuation: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err(format!("is incomplete: {what} is empty"));
    }
    if part.starts_with('-') {
        return Err(format!("has a dash at the beginning of {what}, which `ssh` would read as an option"));
    }
    let allowed = |character: char| character.is_ascii_alphanumeric() || punctuation.contains(character);
    match part.chars().find(|character| !allowed(*character)) {
        Some(bad) => Err(format!("has {} in {what}", names::shown(bad))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (written, destination, port) in [
            ("nuc", "nuc", None),
            ("nuc@192.168.1.64", "nuc@192.168.1.64", None),
            ("nuc@192.168.1.64:2222", "nuc@192.168.1.64", Some(2222)),
            ("ssh://nuc@robot.local:2222", "nuc@robot.local", Some(2222)),
            ("ssh://robot/", "robot", None),
            ("nuc@fe80::1%eth0", "nuc@fe80::1%eth0", None),
            ("nuc@[fe80::1]:22", "nuc@fe80::1", Some(22)),
        ] {
            let expected = Destination { destination: destination.to_owned(), port };
            assert_eq!(parse(written), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_ssh_would_misunderstand_is_refused() {
        for bad in [
            "",
            " ",
            "-oProxyCommand=x",
            "a b",
            "nuc@",
            "@host",
            "nuc@-x",
            "-nuc@x",
            "host:0",
            "host:65536",
            "host:+22",
            "host:",
            "ssh://",
            "ssh://host/path",
            "[fe80::1",
            "a\nb",
            "a;b",
            "$(x)",
            "http://x",
            "a\u{0}",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
