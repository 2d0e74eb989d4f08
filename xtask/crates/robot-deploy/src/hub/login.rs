//! Registry login of this machine's Docker, lent to a robot for one pull.
//!
//! `docker login` stores it in `config.json`, or with a credential helper that the file names
//! (<https://docs.docker.com/reference/cli/docker/login/#credential-stores>).

use anyhow::Context as _;
use base64::Engine as _;
use camino::Utf8PathBuf;
use serde_json::{Value, json};

use crate::config::Hub;
use crate::error::{Failure, Result};
use crate::files;
use crate::process::Cmd;

/// Name of Docker Hub in `auths`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// User name by which credential helpers mark an identity token.
const TOKEN: &str = "<token>";

/// A `config.json` with one login and nothing else. It is never printed.
pub(crate) struct Login(Vec<u8>);

impl Login {
    /// Login of this machine for the registry, if any.
    pub(crate) fn of(hub: &Hub) -> Result<Option<Self>> {
        let Some(file) = config_file() else { return Ok(None) };
        let Ok(text) = fs_err::read_to_string(&file) else { return Ok(None) };
        let config: Value = serde_json::from_str(&text).map_err(|error| {
            Failure::config(format!("`{file}` is not JSON"))
                .hint("it is written by `docker login`")
                .because(error)
        })?;
        let names = names(hub.registry());
        let stored = match helper(&config, &names) {
            Some(helper) => ask_helper(helper, &names)?,
            None => names.iter().find_map(|name| config["auths"].get(name)).cloned(),
        };
        Ok(stored.filter(is_login).map(|login| Self::new(&names[0], &login)))
    }

    fn new(registry: &str, login: &Value) -> Self {
        Self(json!({ "auths": { registry: login } }).to_string().into_bytes())
    }

    /// Content of the temporary `config.json` for the robot's Docker.
    pub(crate) fn config(&self) -> &[u8] {
        &self.0
    }
}

/// Returns whether an entry has a secret: after a logout, or with a credential helper, the entry is empty.
fn is_login(login: &Value) -> bool {
    ["auth", "identitytoken", "registrytoken"]
        .iter()
        .any(|key| login[key].as_str().is_some_and(|text| !text.is_empty()))
}

/// Names of a registry in the configuration, the usual one first.
fn names(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => vec![DOCKER_HUB.to_owned()],
        other => vec![other.to_owned(), format!("https://{other}"), format!("https://{other}/")],
    }
}

fn config_file() -> Option<Utf8PathBuf> {
    let own = std::env::var("DOCKER_CONFIG").ok().filter(|dir| !dir.is_empty()).map(Utf8PathBuf::from);
    let home = || files::home().ok().map(|home| home.join(".docker"));
    Some(own.or_else(home)?.join("config.json"))
}

/// Credential helper for a registry: its own, or the default one.
fn helper<'a>(config: &'a Value, names: &[String]) -> Option<&'a str> {
    let own = names.iter().find_map(|name| config["credHelpers"][name].as_str());
    own.or_else(|| config["credsStore"].as_str()).filter(|helper| !helper.is_empty())
}

fn ask_helper(helper: &str, names: &[String]) -> Result<Option<Value>> {
    let program = format!("docker-credential-{helper}");
    for name in names {
        let get = Cmd::new(&program).arg("get").stdin(name.as_str());
        // A helper fails for unknown names.
        let Ok(text) = get.read() else { continue };
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("read the answer of `{program}`"))?;
        return Ok(answer["Username"]
            .as_str()
            .zip(answer["Secret"].as_str())
            .map(|(user, secret)| entry(user, secret)));
    }
    Ok(None)
}

fn entry(user: &str, secret: &str) -> Value {
    if user == TOKEN {
        return json!({ "identitytoken": secret });
    }
    json!({ "auth": base64::prelude::BASE64_STANDARD.encode(format!("{user}:{secret}")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_helper_comes_first() {
        let config = json!({ "credsStore": "all", "credHelpers": { "a.b": "own" } });
        assert_eq!(helper(&config, &names("a.b")), Some("own"));
        assert_eq!(helper(&config, &names("c.d")), Some("all"));
        assert_eq!(helper(&json!({}), &names("c.d")), None);
    }

    #[test]
    fn a_robot_gets_one_login() {
        let login = Login::new("a.b", &entry("team", "secret"));
        assert_eq!(login.config(), br#"{"auths":{"a.b":{"auth":"dGVhbTpzZWNyZXQ="}}}"#);
        assert_eq!(entry(TOKEN, "t"), json!({ "identitytoken": "t" }));
        assert!(!is_login(&json!({})) && is_login(&entry("a", "b")));
    }
}
