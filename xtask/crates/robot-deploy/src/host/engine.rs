//! The Docker Engine of this machine: its properties, from one `docker info`, for all later stages.

use std::time::Duration;

use camino::Utf8PathBuf;
use serde::Deserialize;

use super::machine::Machine;
use crate::config::{Platform, Store};
use crate::error::{Failure, Result};

/// Names of systems or Docker contexts whose engine runs in a virtual machine.
const VIRTUAL: [&str; 6] = ["docker desktop", "desktop-linux", "orbstack", "rancher", "colima", "lima"];

/// A Docker Engine that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// For instance `26.1.5+dfsg1`.
    pub version: String,
    pub store: Store,
    /// Platform that the engine runs without emulation.
    pub platform: Platform,
    /// System that the engine runs on: `Debian GNU/Linux 13 (trixie)`, `Docker Desktop`.
    pub operating_system: String,
    /// True if the engine runs in a virtual machine, with its own loopback and file system.
    pub in_vm: bool,
    /// Docker context of the connection.
    pub context: String,
    /// Data directory of the engine, in its own file system.
    pub data_root: Utf8PathBuf,
    /// True if the engine runs without root.
    pub rootless: bool,
    /// Registries that the engine uses over plain HTTP: networks (`127.0.0.0/8`) and `host:port`.
    pub plain_http: Vec<String>,
}

/// Result of a query for the engine.
#[derive(Debug)]
pub(super) enum Answer {
    Engine(Box<Engine>),
    /// The `docker` client is not installed.
    NoClient,
    /// No engine listens at the address; with the client's message.
    Silent(String),
    /// The engine denies access to this user; with the client's message.
    Denied(String),
}

#[derive(Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[derive(Default)]
struct Info {
    server_version: String,
    server_errors: Vec<String>,
    driver_status: Option<Vec<(String, String)>>,
    operating_system: String,
    architecture: String,
    docker_root_dir: Utf8PathBuf,
    security_options: Option<Vec<String>>,
    registry_config: Option<RegistryConfig>,
    client_info: ClientInfo,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ClientInfo {
    context: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RegistryConfig {
    #[serde(rename = "InsecureRegistryCIDRs")]
    insecure: Option<Vec<String>>,
    index_configs: Option<std::collections::BTreeMap<String, IndexConfig>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct IndexConfig {
    secure: bool,
}

/// Queries the engine that the client would use. Most of the time goes into the client's plugins, which it starts one after
/// another.
///
/// # Errors
/// Fails when the engine is on another machine, does not answer in time, or is not Docker.
pub(super) fn ask(machine: &Machine) -> Result<Answer> {
    if machine.endpoint.is_remote() {
        return Err(elsewhere(machine).into());
    }
    if machine.program("docker").is_none() {
        return Ok(Answer::NoClient);
    }
    let info =
        machine.cmd("docker").args(["info", "--format", "{{json .}}"]).deadline(Duration::from_secs(20));
    match info.read() {
        Ok(text) => answer(&text, machine.os),
        // Some versions of `docker info` fail if the engine does not answer, others report it in their
        // output.
        Err(error) => {
            let said = format!("{error:#}");
            match unknown_context(&said) {
                Some(context) => Err(no_context(machine, context, error)),
                None => refusal(&said).ok_or(error),
            }
        }
    }
}

fn elsewhere(machine: &Machine) -> Failure {
    let failure = Failure::failed(format!(
        "the `docker` client is set up to use an engine on another machine (`{}`)",
        machine.endpoint.host
    ));
    if machine.endpoint.context == "default" {
        failure.hint("`unset DOCKER_HOST`: images are built by the engine of this machine and sent to robots from here")
    } else {
        failure.hint("`docker context use default`: images are built by the engine of this machine and sent to robots from here")
    }
}

/// Name of the Docker context that the client did not find, according to its message.
fn unknown_context(message: &str) -> Option<&str> {
    let name = message.split_once("context \"")?.1.split_once("\": context not found")?.0;
    Some(name)
}

/// Error for a Docker context that does not exist.
fn no_context(machine: &Machine, context: &str, error: anyhow::Error) -> anyhow::Error {
    let failure = Failure::failed(format!("the Docker context `{context}` does not exist"))
        .hint("`unset DOCKER_CONTEXT` or `docker context use default` chooses the engine of this machine");
    let list = machine.cmd("docker").args(["--context", "default", "context", "ls", "--format", "{{.Name}}"]);
    match list.read() {
        Ok(names) => {
            failure.hint(format!("there are: {}", names.lines().collect::<Vec<_>>().join(", "))).into()
        }
        Err(_) => failure.caused_by(error),
    }
}

/// Tells a denied connection from an engine that does not answer; returns `None` for any other message.
fn refusal(message: &str) -> Option<Answer> {
    let lower = message.to_lowercase();
    let last = || message.lines().last().unwrap_or_default().to_owned();
    if lower.contains("permission denied") {
        return Some(Answer::Denied(last()));
    }
    let silent = [
        "cannot connect to the docker daemon",
        "is the docker daemon running",
        "no such file",
        "failed to connect",
    ];
    silent.iter().any(|sign| lower.contains(sign)).then(|| Answer::Silent(last()))
}

fn answer(text: &str, os: &str) -> Result<Answer> {
    let foreign = || {
        Failure::failed("`docker` is not Docker's client").hint(
            "Podman's emulation lacks buildx: remove the package `podman-docker` and run `cargo xtask setup`",
        )
    };
    let info: Info = serde_json::from_str(text).map_err(|error| foreign().because(error))?;
    if !info.server_errors.is_empty() {
        let message = info.server_errors.join("; ");
        return Ok(refusal(&message).unwrap_or(Answer::Silent(message)));
    }
    if info.server_version.is_empty() {
        return Err(foreign().into());
    }
    Ok(Answer::Engine(Box::new(engine(info, os))))
}

fn engine(info: Info, os: &str) -> Engine {
    let names = format!("{} {}", info.operating_system, info.client_info.context).to_lowercase();
    let status = info.driver_status.unwrap_or_default();
    let containerd = status.iter().any(|(_, value)| value.starts_with("io.containerd.snapshotter"));
    let registries = info.registry_config.unwrap_or_default();
    let indexes = registries.index_configs.unwrap_or_default();
    let plain = indexes.into_iter().filter(|(_, index)| !index.secure).map(|(name, _)| name);
    Engine {
        store: if containerd { Store::Containerd } else { Store::Classic },
        platform: Platform::from_machine(&info.architecture),
        in_vm: os != "linux" || VIRTUAL.iter().any(|name| names.contains(name)),
        rootless: info.security_options.unwrap_or_default().iter().any(|option| option.contains("rootless")),
        plain_http: registries.insecure.unwrap_or_default().into_iter().chain(plain).collect(),
        version: info.server_version,
        operating_system: info.operating_system,
        context: info.client_info.context,
        data_root: info.docker_root_dir,
    }
}

impl Engine {
    /// Name of the image store, for messages.
    pub fn store_name(&self) -> &'static str {
        match self.store {
            Store::Containerd => "containerd image store",
            Store::Classic => "classic image store",
        }
    }

    /// Returns whether the engine pushes to a loopback registry at `port` without TLS. Since version 29.10,
    /// engines trust the loopback only if `insecure-registries` is not configured.
    pub fn trusts_loopback(&self, port: u16) -> bool {
        let loopback = ["127.0.0.0/8".to_owned(), format!("127.0.0.1:{port}")];
        self.plain_http.is_empty() || self.plain_http.iter().any(|each| loopback.contains(each))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Shortened `docker info` of an engine with the containerd store.
    pub(crate) const CONTAINERD: &str = r#"{"ID":"x","Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]],
        "OperatingSystem":"Debian GNU/Linux 12 (bookworm)","OSType":"linux","Architecture":"x86_64",
        "RegistryConfig":{"IndexConfigs":{"docker.io":{"Secure":true}},"InsecureRegistryCIDRs":["127.0.0.0/8"],"Mirrors":null},
        "DockerRootDir":"/var/lib/docker","ServerVersion":"26.1.5+dfsg1","SecurityOptions":["name=seccomp,profile=builtin"],
        "Warnings":null,"ClientInfo":{"Version":"28.2.2","Context":"default","Plugins":[]}}"#;

    fn engine_of(text: &str, os: &str) -> Engine {
        match answer(text, os).unwrap() {
            Answer::Engine(engine) => *engine,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_two_stores_are_told_apart() {
        let engine = engine_of(CONTAINERD, "linux");
        assert_eq!((engine.store, engine.platform.to_string().as_str()), (Store::Containerd, "linux/amd64"));
        assert!(!engine.in_vm && !engine.rootless && engine.trusts_loopback(5000));
        let classic = CONTAINERD.replace(
            r#"["driver-type","io.containerd.snapshotter.v1"]"#,
            r#"["Backing Filesystem","extfs"]"#,
        );
        assert_eq!(engine_of(&classic, "linux").store, Store::Classic);
    }

    #[test]
    fn virtual_machines_are_recognised() {
        assert!(engine_of(CONTAINERD, "macos").in_vm);
        assert!(
            engine_of(&CONTAINERD.replace("Debian GNU/Linux 12 (bookworm)", "Docker Desktop"), "linux").in_vm
        );
        assert!(
            engine_of(&CONTAINERD.replace(r#""Context":"default""#, r#""Context":"colima""#), "linux").in_vm
        );
    }

    #[test]
    fn a_configured_list_of_registries_may_leave_loopback_out() {
        let configured = CONTAINERD.replace(r#"["127.0.0.0/8"]"#, r#"["10.0.0.0/8"]"#).replace(
            r#""docker.io":{"Secure":true}"#,
            r#""docker.io":{"Secure":true},"127.0.0.1:5001":{"Secure":false}"#,
        );
        let engine = engine_of(&configured, "linux");
        assert!(!engine.trusts_loopback(5000) && engine.trusts_loopback(5001));
    }

    #[test]
    fn no_answer_and_no_access_are_told_apart() {
        let errors = |text: &str| {
            answer(&format!(r#"{{"ServerErrors":["{text}"],"ClientInfo":{{}}}}"#), "linux").unwrap()
        };
        let silent = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
        assert!(matches!(errors(silent), Answer::Silent(_)));
        let denied = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock";
        assert!(matches!(errors(denied), Answer::Denied(_)));
        assert!(matches!(refusal(silent), Some(Answer::Silent(_))));
        assert!(refusal("exit status: 1: unknown flag").is_none());
    }

    #[test]
    fn an_imitation_is_refused() {
        let error =
            answer(r#"{"host":{"arch":"amd64"},"version":{"Version":"5.4.2"}}"#, "linux").unwrap_err();
        assert_eq!(error.to_string(), "`docker` is not Docker's client");
    }
}
