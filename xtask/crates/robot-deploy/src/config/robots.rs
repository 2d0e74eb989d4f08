//! `[robots.NAME]`: address, platform, and variables of the containers.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::diagnostic::Source;
use super::host;
use super::keys::{OneOrMore, Reader};
use super::raw::{RawRobot, Text};
use super::releases::number;
use super::{Host, Platform, Robot, Store, busy, env_file, names, paths};

/// Names of Compose files that Compose finds by itself.
pub(crate) const COMPOSE: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Names of the files that change those of [`COMPOSE`], in the order in which Compose looks for them.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// Directories in which the Compose file is, unless `compose` is set.
pub(crate) const COMPOSE_DIRS: [&str; 2] = ["docker", ""];

/// Port of the robot's loopback on which its registry listens, unless `registry_port` is set.
const REGISTRY_PORT: u16 = 5000;

/// Seconds that a connection is kept for the next verb, unless `keep_connection` is set.
const KEEP: u32 = 60;

/// Seconds that a robot may be unreachable, unless `reconnect` is set.
const RECONNECT: u32 = 60;

/// Validates a robot; returns `None` if mistakes leave it incomplete.
pub(super) fn robot(
    raw: &RawRobot<'_>,
    root: &Utf8Path,
    here: &Utf8Path,
    reader: &mut Reader<'_>,
) -> Option<Robot> {
    reader.check_name(&raw.name, names::robot);
    let name = raw.name.get_ref().to_string();
    let host = reach(raw, reader);
    let platform = platform(raw, reader);
    let compose = compose(raw, root, reader);
    let env = variables(&raw.env, reader);
    let env_files =
        raw.env_files.iter().filter_map(|text| readable_env_file(text, root, here, reader)).collect();
    let busy = raw.busy.as_ref().map(|raw| busy::busy(raw, reader));
    let mut seconds = |name, given: &Option<_>| {
        number(name, given.as_ref(), 0..=3600, "write a number of seconds, from 0 to 3600", reader)
    };
    let reconnect = seconds("reconnect", &raw.reconnect);
    let keep_connection = seconds("keep_connection", &raw.keep_connection);
    let registry_port = number(
        "registry_port",
        raw.registry_port.as_ref(),
        1..=65_535,
        "write a port of the robot, from 1 to 65535",
        reader,
    );
    Some(Robot {
        name,
        host: host?,
        platform: platform?,
        compose: compose?,
        env,
        env_files,
        busy: match busy {
            Some(busy) => Some(busy?),
            None => None,
        },
        reconnect: Duration::from_secs(reconnect.unwrap_or(RECONNECT).into()),
        keep_connection: Duration::from_secs(keep_connection.unwrap_or(KEEP).into()),
        registry_port: registry_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(REGISTRY_PORT),
    })
}

/// The Compose files. One file takes its override file along, as `docker compose up` does; a list is complete.
fn compose(raw: &RawRobot<'_>, root: &Utf8Path, reader: &mut Reader<'_>) -> Option<Vec<Utf8PathBuf>> {
    let file = match &raw.compose {
        Some(OneOrMore::More(list)) if list.is_empty() => {
            reader.refuse(raw.name.span(), "`compose` is an empty list", "name at least one Compose file");
            return None;
        }
        Some(OneOrMore::More(list)) => {
            let files: Vec<_> =
                list.iter().map(|text| paths::file_inside("compose", text, root, reader)).collect();
            return files.into_iter().collect();
        }
        Some(OneOrMore::One(text)) => paths::file_inside("compose", text, root, reader)?,
        None if raw.invalid.contains(&"compose") => return None,
        None => {
            let places = COMPOSE_DIRS.iter().flat_map(|dir| COMPOSE.map(|name| root.join(dir).join(name)));
            let found = places.clone().find(|place| place.is_file());
            let default = found.unwrap_or_else(|| root.join(COMPOSE_DIRS[0]).join(COMPOSE[0]));
            paths::existing_file("compose", raw.name.span(), root, default, reader)?
        }
    };
    let has_default_name = file.file_name().is_some_and(|name| COMPOSE.contains(&name));
    let overrides = OVERRIDES.iter().map(|name| file.with_file_name(name));
    let found = overrides.filter(|_| has_default_name).find(|place| place.is_file());
    Some(std::iter::once(file).chain(found).collect())
}

fn reach(raw: &RawRobot<'_>, reader: &mut Reader<'_>) -> Option<Host> {
    let name = raw.name.get_ref().escape_debug();
    let either = "set either `simulated = true` or `host = \"user@host\"`";
    let simulated = raw.simulated.as_ref().is_some_and(|simulated| *simulated.get_ref());
    if let Some(store) = raw.store.as_ref().filter(|_| raw.host.is_some() && !simulated) {
        let help = "remove `store`: the image store of a real robot is configured in its Docker Engine";
        reader.refuse(store.span(), "`store` is only for simulated robots", help);
    }
    if let Some(port) = raw.port.as_ref().filter(|_| simulated) {
        let help = "remove `port`: the port of a simulated robot is chosen when it starts";
        reader.refuse(port.span(), "`port` is only for robots with a `host`", help);
    }
    match (&raw.host, simulated) {
        (Some(host), true) => {
            reader.refuse(
                host.span(),
                format!("robot `{name}` has both `simulated = true` and a `host`"),
                either,
            );
            None
        }
        (None, true) => Some(Host::Simulated { store: store(raw.store.as_ref(), reader)? }),
        (Some(host), false) => address(host, raw, reader),
        (None, false) => {
            if !raw.invalid.iter().any(|key| matches!(*key, "simulated" | "host")) {
                let span = raw.simulated.as_ref().map_or(raw.name.span(), toml::Spanned::span);
                let message = format!("robot `{name}` has neither `simulated = true` nor a `host`");
                reader.refuse(span, message, either);
            }
            None
        }
    }
}

fn store(text: Option<&Text<'_>>, reader: &mut Reader<'_>) -> Option<Store> {
    let Some(text) = text else { return Some(Store::Containerd) };
    match *text.get_ref() {
        "containerd" => Some(Store::Containerd),
        "classic" => Some(Store::Classic),
        other => {
            let help = names::instead("stores", other, ["containerd", "classic"]);
            reader.refuse(text.span(), format!("`{}` is not an image store", other.escape_debug()), help);
            None
        }
    }
}

fn address(text: &Text<'_>, raw: &RawRobot<'_>, reader: &mut Reader<'_>) -> Option<Host> {
    let port = match &raw.port {
        Some(written) => match u16::try_from(*written.get_ref()) {
            Ok(port) if port > 0 => Some(port),
            _ => {
                reader.refuse(
                    written.span(),
                    "invalid port number",
                    "a port is a number from 1 to 65535; SSH uses 22",
                );
                None
            }
        },
        None => None,
    };
    match host::parse(text.get_ref()) {
        Ok(parsed) => {
            if parsed.port.is_some() && raw.port.is_some() {
                let help = "remove `port`, or the port in `host`";
                reader.refuse(text.span(), "the port is given twice, here and in `port`", help);
            }
            Some(Host::Ssh { destination: parsed.destination, port: parsed.port.or(port) })
        }
        Err(problem) => {
            let message = format!("`host` {problem}");
            let help = "write a destination that `ssh` accepts: `user@192.168.1.64`, `user@host:2222`, or a name of `~/.ssh/config`";
            reader.refuse(text.span(), message, help);
            None
        }
    }
}

fn platform(raw: &RawRobot<'_>, reader: &mut Reader<'_>) -> Option<Platform> {
    let Some(text) = &raw.platform else {
        let simulated = raw.simulated.as_ref().is_some_and(|simulated| *simulated.get_ref());
        if raw.host.is_some() && !simulated && !raw.invalid.contains(&"platform") {
            let message = format!("robot `{}` has no `platform`", raw.name.get_ref().escape_debug());
            let help = "add `platform = \"linux/amd64\"` (a PC) or `platform = \"linux/arm64\"` (a Raspberry Pi, a \
                        Jetson): `uname -m` on the robot says x86_64 or aarch64";
            reader.refuse(raw.name.span(), message, help);
        }
        return Some(Platform::of_this_machine());
    };
    match Platform::parse(text.get_ref()) {
        Ok(platform) => Some(platform),
        Err((problem, help)) => {
            reader.refuse(text.span(), problem, help);
            None
        }
    }
}

fn variables(written: &[(Text<'_>, Text<'_>)], reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    for (name, value) in written {
        let shown = name.get_ref().escape_debug();
        if !names::is_variable(name.get_ref()) {
            let help = "use letters, digits and `_`, beginning with a letter or `_`";
            reader.refuse(name.span(), format!("`{shown}` is not a valid variable name"), help);
        }
        if value.get_ref().contains(['\n', '\r', '\0']) {
            let help = "write the value on one line";
            reader.refuse(value.span(), format!("the value of `{shown}` contains a line break or NUL"), help);
        }
        if *name.get_ref() == "ROS_DOMAIN_ID" && value.get_ref().parse::<u8>().map_or(true, |id| id > 232) {
            let help =
                "a domain ID is a number from 0 to 232; only 0 to 101 are safe on every operating system";
            reader.refuse(
                value.span(),
                format!("`{}` is not a ROS domain ID", value.get_ref().escape_debug()),
                help,
            );
        }
    }
    written.iter().map(|(name, value)| (name.get_ref().to_string(), value.get_ref().to_string())).collect()
}

fn readable_env_file(
    text: &Text<'_>,
    root: &Utf8Path,
    here: &Utf8Path,
    reader: &mut Reader<'_>,
) -> Option<Utf8PathBuf> {
    let path = paths::file_inside("env_files", text, root, reader)?;
    match Source::read_secret(&path, here) {
        Ok(source) => {
            if let Err(mistakes) = env_file::parse(&source) {
                reader.mistakes.extend(mistakes);
            }
        }
        Err(error) => {
            reader.refuse(text.span(), format!("{error:#}"), "fix the file, or remove it from `env_files`")
        }
    }
    Some(path)
}
