//! Syntax of the repository in `[hub]`: `registry.example.org:5000/team/eurobot`, `team/eurobot`.
//!
//! The rules are those of references in <https://github.com/distribution/reference>.

use super::names::{self, Refusal};

/// Name of Docker Hub in Docker's configuration.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Greatest length of a repository name, without the host.
const LENGTH: usize = 255;

/// Returns whether the first part of a reference is a registry host. Otherwise it is part of a name on Docker
/// Hub.
pub(super) fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

/// Normalizes a repository to Docker's notation, without a host for Docker Hub.
pub(super) fn parse(written: &str) -> Result<String, Refusal> {
    let refuse =
        |problem: &str, help: &str| Err((format!("`{}` {problem}", written.escape_debug()), help.to_owned()));
    let example = "write `REGISTRY/NAME`, for instance `registry.example.org/team/eurobot`";
    if written.contains("://") {
        return refuse("is a URL", "write it without `https://`: registries are reached over HTTPS anyway");
    }
    let (host, name) = match written.split_once('/') {
        Some((host, name)) if is_host(host) => (host, name),
        Some(_) => (DOCKER_HUB, written),
        None => return refuse("does not name a registry", example),
    };
    if name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        return refuse(
            "is an image, not a repository",
            "write it without tag and digest: xtask chooses the tags",
        );
    }
    if let Some(bad) =
        name.chars().find(|character| !matches!(character, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '/'))
    {
        let help = if bad.is_ascii_uppercase() { "repository names are lower case" } else { example };
        return refuse(&format!("has {} in its name", names::shown(bad)), help);
    }
    if !is_name(written) || name.len() > LENGTH {
        return refuse("is not a valid repository", example);
    }
    match host {
        DOCKER_HUB | "index.docker.io" if name.contains('/') => Ok(name.to_owned()),
        DOCKER_HUB | "index.docker.io" => {
            refuse("does not name an account", "write `docker.io/ACCOUNT/NAME`")
        }
        _ => Ok(written.to_owned()),
    }
}

/// Returns whether this is the name of a repository, with or without its registry.
pub(super) fn is_name(written: &str) -> bool {
    match written.split_once('/') {
        Some((host, name)) if is_host(host) => is_address(host) && name.split('/').all(is_component),
        _ => written.split('/').all(is_component),
    }
}

/// Lower-case letters and digits, separated by a dot, one or two underscores, or any number of dashes.
fn is_component(part: &str) -> bool {
    let plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let separators: Vec<&str> = part.split(plain).filter(|text| !text.is_empty()).collect();
    let fine = |text: &&str| matches!(*text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    part.starts_with(plain) && part.ends_with(plain) && separators.iter().all(fine)
}

/// `host` or `host:port`.
fn is_address(address: &str) -> bool {
    let (host, port) = address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|character| character.is_ascii_alphanumeric() || character == '-')
    };
    let number = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    host.split('.').all(label) && port.is_none_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_called_as_engines_call_them() {
        for (written, called) in [
            ("registry.example.org/team/eurobot", "registry.example.org/team/eurobot"),
            ("192.168.1.5:5000/eurobot", "192.168.1.5:5000/eurobot"),
            ("localhost/eu__ro-_bot", ""),
            ("localhost/eu__ro--bot.2", "localhost/eu__ro--bot.2"),
            ("docker.io/team/eurobot", "team/eurobot"),
            ("team/eurobot", "team/eurobot"),
        ] {
            assert_eq!(parse(written).unwrap_or_default(), called, "{written}");
        }
    }

    #[test]
    fn what_no_registry_takes_is_refused() {
        for bad in [
            "",
            "/",
            "eurobot",
            "docker.io/eurobot",
            "https://a.b/c",
            "a.b/c:tag",
            "a.b/c@sha256:0",
            "a.b/C",
            "a.b/",
            "a.b//c",
            "a.b/-c",
            "a.b/c_",
            "a.b:0/c",
            "a.b:x/c",
            "-a.b/c",
            "a..b/c",
            "a.b/c d",
            "a.b/$(x)",
            "a.b/c\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
