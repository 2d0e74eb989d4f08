//! The login at the registry that this machine's Docker keeps, for the length of one pull on a robot.
//!
//! `docker login` leaves it in `config.json`, or with a helper program that the file names
//! (<https://docs.docker.com/reference/cli/docker/login/#credential-stores>).

use anyhow::Context as _;
use base64::Engine as _;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use crate::config::Hub;
use crate::error::{Failure, Result};
use crate::process::Cmd;

/// What Docker Hub is called in `auths`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The user name with which helpers mark a secret that is an identity token.
const TOKEN: &str = "<token>";

/// A `config.json` with one login and nothing else. Never printed.
pub struct Login(Vec<u8>);

impl Login {
    /// The login for the registry; none where this machine has none.
    ///
    /// # Errors
    /// Fails when Docker's configuration, or what a helper says, cannot be read.
    pub fn of(hub: &Hub) -> Result<Option<Self>> {
        let Some(file) = config_file() else { return Ok(None) };
        let Ok(text) = fs_err::read_to_string(&file) else { return Ok(None) };
        let config: Value = serde_json::from_str(&text).map_err(|error| {
            Failure::config(format!("`{file}` is not JSON"))
                .hint("it is written by `docker login`")
                .because(error)
        })?;
        let names = names(hub.registry());
        let stored = match helper(&config, &names) {
            Some(helper) => ask(helper, &names)?,
            None => names.iter().find_map(|name| config["auths"].get(name)).cloned(),
        };
        Ok(stored.filter(is_login).map(|login| Self::new(&names[0], &login)))
    }

    fn new(registry: &str, login: &Value) -> Self {
        Self(json!({ "auths": { registry: login } }).to_string().into_bytes())
    }

    /// What the robot's Docker is to read as its `config.json`.
    pub fn config(&self) -> &[u8] {
        &self.0
    }
}

/// An entry that somebody has logged out from, or whose secret a helper has, is there and empty.
fn is_login(login: &Value) -> bool {
    ["auth", "identitytoken", "registrytoken"]
        .iter()
        .any(|key| login[key].as_str().is_some_and(|text| !text.is_empty()))
}

/// The names under which a registry may stand in the configuration; the first one is the usual.
fn names(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => vec![DOCKER_HUB.to_owned()],
        other => vec![other.to_owned(), format!("https://{other}"), format!("https://{other}/")],
    }
}

fn config_file() -> Option<Utf8PathBuf> {
    let own = std::env::var("DOCKER_CONFIG").ok().filter(|dir| !dir.is_empty()).map(Utf8PathBuf::from);
    let home = || std::env::var("HOME").ok().map(|home| Utf8Path::new(&home).join(".docker"));
    Some(own.or_else(home)?.join("config.json"))
}

/// The helper for a registry: its own, or the one for all.
fn helper<'a>(config: &'a Value, names: &[String]) -> Option<&'a str> {
    let own = names.iter().find_map(|name| config["credHelpers"][name].as_str());
    own.or_else(|| config["credsStore"].as_str()).filter(|helper| !helper.is_empty())
}

fn ask(helper: &str, names: &[String]) -> Result<Option<Value>> {
    let program = format!("docker-credential-{helper}");
    for name in names {
        let get = Cmd::new(&program).arg("get").stdin(name.as_str());
        // It fails for what it does not know.
        let Ok(text) = get.read() else { continue };
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("read what `{program}` says"))?;
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
    fn what_goes_to_a_robot_is_one_login() {
        let login = Login::new("a.b", &entry("team", "secret"));
        assert_eq!(login.config(), br#"{"auths":{"a.b":{"auth":"dGVhbTpzZWNyZXQ="}}}"#);
        assert_eq!(entry(TOKEN, "t"), json!({ "identitytoken": "t" }));
        assert!(!is_login(&json!({})) && is_login(&entry("a", "b")));
    }
}
