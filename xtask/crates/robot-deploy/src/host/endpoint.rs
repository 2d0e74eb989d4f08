//! Finds the engine that the `docker` client would use, by the client's own rules but without running it.

use camino::Utf8Path;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Default addresses of the client.
const SYSTEM_SOCKETS: [&str; 2] = ["unix:///var/run/docker.sock", "unix:///run/docker.sock"];

/// Address of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name of the Docker context: `default`, `desktop-linux`.
    pub context: String,
    /// For instance `unix:///var/run/docker.sock`.
    pub host: String,
}

/// The part of `config.json` that selects the engine and the plugin directories.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClientConfig {
    current_context: String,
    pub cli_plugins_extra_dirs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextMeta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: DockerEndpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEndpoint {
    host: String,
}

/// Reads the client's configuration. An unreadable file counts as empty: the client itself reports it.
pub(super) fn client_config(dir: &Utf8Path) -> ClientConfig {
    let text = fs_err::read_to_string(dir.join("config.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

impl Endpoint {
    /// Returns the engine that `$DOCKER_HOST`, `$DOCKER_CONTEXT` or the client's configuration select, in
    /// this order.
    pub fn chosen(docker_host: Option<&str>, docker_context: Option<&str>, dir: &Utf8Path) -> Self {
        let given = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        if let Some(host) = given(docker_host) {
            return Self { context: "default".to_owned(), host };
        }
        let context = given(docker_context).unwrap_or_else(|| client_config(dir).current_context);
        let digest = Sha256::digest(context.as_bytes());
        let meta = dir.join(format!("contexts/meta/{digest:x}/meta.json"));
        let meta = fs_err::read_to_string(meta).ok();
        let meta: Option<ContextMeta> = meta.and_then(|text| serde_json::from_str(&text).ok());
        match meta {
            Some(meta) if !context.is_empty() && context != "default" => {
                Self { context, host: meta.endpoints.docker.host }
            }
            _ => Self { context: "default".to_owned(), host: SYSTEM_SOCKETS[0].to_owned() },
        }
    }

    /// Returns whether this is the engine of the system's own packages.
    pub fn is_system(&self) -> bool {
        SYSTEM_SOCKETS.contains(&self.host.as_str())
    }

    /// Returns whether the engine is on another machine.
    pub fn is_remote(&self) -> bool {
        let Some((scheme, rest)) = self.host.split_once("://") else { return false };
        let authority = rest.split('/').next().unwrap_or_default();
        let name = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let name = match name.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None => name.split(':').next().unwrap_or_default(),
        };
        match scheme {
            "ssh" => true,
            "tcp" | "http" | "https" => {
                !(matches!(name, "localhost" | "::1" | "") || name.starts_with("127."))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint { context: "default".to_owned(), host: host.to_owned() }
    }

    #[test]
    fn engines_elsewhere_are_recognised() {
        for host in
            ["ssh://nuc@192.168.1.64", "tcp://192.168.1.64:2375", "tcp://[fe80::1]:2375", "ssh://localhost"]
        {
            assert!(endpoint(host).is_remote(), "{host}");
        }
        for host in [
            "unix:///run/user/1000/docker.sock",
            "tcp://127.0.0.1:2375",
            "tcp://[::1]:1",
            "tcp://localhost:1",
        ] {
            assert!(!endpoint(host).is_remote(), "{host}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_configured_context() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        assert!(Endpoint::chosen(None, None, dir).is_system());
        fs_err::write(dir.join("config.json"), r#"{"currentContext":"colima","auths":{}}"#).unwrap();
        assert!(Endpoint::chosen(None, None, dir).is_system(), "a context that is gone");

        let meta = dir.join(format!("contexts/meta/{:x}", Sha256::digest(b"colima")));
        fs_err::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"colima","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///c.sock","SkipTLSVerify":false}}}"#;
        fs_err::write(meta.join("meta.json"), text).unwrap();
        let colima = Endpoint { context: "colima".to_owned(), host: "unix:///c.sock".to_owned() };
        assert_eq!(Endpoint::chosen(None, None, dir), colima);
        assert_eq!(Endpoint::chosen(Some(""), Some("colima"), dir), colima);
        assert!(Endpoint::chosen(None, Some("default"), dir).is_system());
        assert_eq!(Endpoint::chosen(Some("ssh://x"), Some("colima"), dir).host, "ssh://x");
    }
}
