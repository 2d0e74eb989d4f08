//! The public or team registry of `[hub]`: how images are called there, and what keeps one from them.
//!
//! One repository, a tag for each image and each name of a state of the workspace: `REPO:navigation-main`.

pub mod login;
mod resolve;
pub mod tags;

use crate::config::{Hub, Workspace};
use crate::error::{Failure, Result};
use crate::process::Cmd;

pub use resolve::resolve;

/// The registry of `[hub]`.
///
/// # Errors
/// Fails with a configuration error when `robots.toml` names none.
pub fn of(workspace: &Workspace) -> Result<&Hub> {
    workspace.hub.as_ref().ok_or_else(|| {
        Failure::config("`robots.toml` names no registry for published images")
            .hint("add `[hub]` with `repository = \"registry.example.org/team/eurobot\"`")
            .into()
    })
}

/// `docker buildx imagetools`, which talks to registries with the login that `docker login` keeps.
///
/// Unlike the engine it does not look for a registry's own certificate authority where Docker keeps those
/// (<https://docs.docker.com/engine/security/certificates/>): it is told. It is a Go program: the authorities of the
/// system, in a directory, stay those that they are.
pub fn imagetools(hub: &Hub, verb: &str) -> Cmd {
    let tools = Cmd::new("docker").args(["buildx", "imagetools", verb]);
    let authority = format!("/etc/docker/certs.d/{}/ca.crt", hub.registry());
    if camino::Utf8Path::new(&authority).is_file() { tools.env("SSL_CERT_FILE", authority) } else { tools }
}

/// What Docker's words about a registry mean, and what to do about it. `whose` has the network that failed:
/// `this machine`, a robot's name.
pub fn explain(hub: &Hub, whose: &str, what: &str, error: anyhow::Error) -> anyhow::Error {
    let said = format!("{error:#}").to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let registry = hub.registry();
    let failure = |text: String| Failure::failed(format!("{text}: {what}"));
    let failure = if says(&["x509", "certificate", "http response to https client"]) {
        failure(format!("{whose} does not trust {registry}")).hint(format!(
            "put the certificate of its authority where the failing machine's Docker looks for it: /etc/docker/certs.d/{registry}/ca.crt"
        ))
    } else if says(&["unauthorized", "authentication required", "no basic auth", "denied", "403 forbidden"]) {
        failure(format!("{registry} does not accept the login"))
            .hint(format!("on this machine: `docker login {registry}`"))
    } else if says(&["manifest unknown", "not found", "name unknown", "no such manifest"]) {
        failure(format!("{registry} does not have it"))
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
        failure(format!("{whose} cannot reach {registry}"))
            .hint("`cargo xtask deploy --robot NAME` needs no registry but the robot's own")
    } else {
        return error.context(what.to_owned());
    };
    failure.because(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hints_of;

    #[test]
    fn dockers_words_are_explained() {
        let hub = Hub { repository: "registry.lab:5000/team/eurobot".into() };
        for (said, told, remedy) in [
            (
                "tls: failed to verify certificate: x509: unknown authority",
                "does not trust",
                "certs.d/registry.lab:5000/ca.crt",
            ),
            ("401 Unauthorized", "does not accept the login", "`docker login registry.lab:5000`"),
            ("no basic auth credentials", "does not accept the login", "docker login"),
            ("registry.lab:5000/x:y: not found", "does not have it", "cargo xtask publish"),
            ("dial tcp: lookup registry.lab: no such host", "cannot reach", "cargo xtask deploy"),
        ] {
            let error = explain(&hub, "`main`", "pull `navigation`", anyhow::anyhow!(said));
            assert!(error.to_string().contains(told), "{error}");
            assert!(hints_of(&error)[0].contains(remedy), "{said}");
        }
        let other = explain(&hub, "`main`", "pull `navigation`", anyhow::anyhow!("no space left on device"));
        assert_eq!(format!("{other:#}"), "pull `navigation`: no space left on device");
    }
}
