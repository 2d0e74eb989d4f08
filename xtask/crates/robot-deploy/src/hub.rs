//! Public or team registry of `[hub]`: names of images there, login, and explanations of its errors.
//!
//! One repository, with a tag for each image and branch, git tag or revision: `REPO:navigation-main`.

pub(crate) mod login;
mod resolve;
pub(crate) mod tags;

use crate::config::{Hub, Workspace};
use crate::error::{Failure, Result};
use crate::process::Cmd;

pub(crate) use resolve::resolve;

/// Returns the `[hub]` of `robots.toml`; a missing one is a configuration error.
pub(crate) fn of(workspace: &Workspace) -> Result<&Hub> {
    workspace.hub.as_ref().ok_or_else(|| {
        Failure::config("`robots.toml` has no registry for published images")
            .hint("add `[hub]` with `repository = \"registry.example.org/team/eurobot\"`")
            .into()
    })
}

/// `docker buildx imagetools`, which uses the login stored by `docker login`.
///
/// Unlike the engine, buildx ignores the certificate authorities in `/etc/docker/certs.d`
/// (<https://docs.docker.com/engine/security/certificates/>), so this sets `SSL_CERT_FILE`. Go programs still
/// trust the directory of the system's authorities.
pub(crate) fn imagetools(hub: &Hub, verb: &str) -> Cmd {
    let tools = Cmd::new("docker").args(["buildx", "imagetools", verb]);
    let authority = format!("/etc/docker/certs.d/{}/ca.crt", hub.registry());
    if camino::Utf8Path::new(&authority).is_file() { tools.env("SSL_CERT_FILE", authority) } else { tools }
}

/// Translates an error of Docker about a registry into a message with a hint. `machine` is the one whose
/// request failed: `this machine` or a robot's name; `action` is what failed, such as `pull navigation`.
pub(crate) fn explain(hub: &Hub, machine: &str, action: &str, error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}").to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let registry = hub.registry();
    let failure = |text: String| Failure::failed(format!("{text}: {action}"));
    let failure = if says(&["x509", "certificate", "http response to https client"]) {
        failure(format!("{machine} does not trust {registry}")).hint(format!(
            "on that machine, copy the certificate of the registry's authority to /etc/docker/certs.d/{registry}/ca.crt"
        ))
    } else if says(&["unauthorized", "authentication required", "no basic auth", "denied", "403 forbidden"]) {
        failure(format!("{registry} does not accept the login"))
            .hint(format!("on this machine: `docker login {registry}`"))
    } else if says(&["manifest unknown", "not found", "name unknown", "no such manifest"]) {
        failure(format!("{registry} does not have the image"))
            .hint("`cargo xtask publish` publishes the current revision under its branch, tags and revision")
    } else if says(&[
        "no such host",
        "dial tcp",
        "connection refused",
        "timeout",
        "deadline",
        "unreachable",
        "misbehaving",
    ]) {
        failure(format!("{machine} cannot reach {registry}"))
            .hint("`cargo xtask deploy --robot NAME` does not need it: robots have a registry of their own")
    } else {
        return error.context(action.to_owned());
    };
    failure.because(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hints_of;

    #[test]
    fn errors_of_docker_are_explained() {
        let hub = Hub { repository: "registry.lab:5000/team/eurobot".into() };
        for (error, explanation, hint) in [
            (
                "tls: failed to verify certificate: x509: unknown authority",
                "does not trust",
                "certs.d/registry.lab:5000/ca.crt",
            ),
            ("401 Unauthorized", "does not accept the login", "`docker login registry.lab:5000`"),
            ("no basic auth credentials", "does not accept the login", "docker login"),
            ("registry.lab:5000/x:y: not found", "does not have the image", "cargo xtask publish"),
            ("dial tcp: lookup registry.lab: no such host", "cannot reach", "cargo xtask deploy"),
        ] {
            let error = explain(&hub, "`main`", "pull `navigation`", anyhow::anyhow!(error));
            assert!(error.to_string().contains(explanation), "{error}");
            assert!(hints_of(&error)[0].contains(hint), "{error}");
        }
        let other = explain(&hub, "`main`", "pull `navigation`", anyhow::anyhow!("no space left on device"));
        assert_eq!(format!("{other:#}"), "pull `navigation`: no space left on device");
    }
}
