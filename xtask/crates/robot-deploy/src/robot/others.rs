//! Containers on a robot that are not of the project: the same nodes, started by hand, or programs that hold what its
//! services need.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::Survey;
use super::survey::label;
use crate::ui;

/// A container that runs and is neither of the project nor of this tool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Other {
    /// Its Compose project; empty if it was started without Compose.
    project: String,
    /// Its service, or the name of the container.
    name: String,
    /// Devices (`/dev/ttyACM0`) and ports (`port 1883/tcp`) that it has.
    holds: BTreeSet<String>,
}

/// Device of a container, in the engine's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Device {
    path_on_host: String,
}

/// Port of the host, in the engine's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

impl Other {
    /// Parses the fields of a line of the survey; all of them are JSON.
    pub(super) fn parse(fields: &[&str]) -> Option<Self> {
        let [project, service, name, devices, ports] = *fields else { return None };
        let devices: Option<Vec<Device>> = serde_json::from_str(devices).ok()?;
        let ports: Option<BTreeMap<String, Option<Vec<Binding>>>> = serde_json::from_str(ports).ok()?;
        let devices = devices.into_iter().flatten().map(|device| device.path_on_host);
        let ports = ports.into_iter().flatten().flat_map(|(inside, bindings)| {
            let protocol = inside.split_once('/').map_or("tcp", |(_, protocol)| protocol).to_owned();
            bindings.into_iter().flatten().map(move |binding| port(&binding.host_port, &protocol))
        });
        let project = label(project);
        let name =
            if project.is_empty() { label(name).trim_start_matches('/').to_owned() } else { label(service) };
        Some(Self { project, name, holds: devices.chain(ports).collect() })
    }

    /// The container and the command on the robot that stops it, for people.
    fn described(&self) -> (String, String) {
        let Self { project, name, .. } = self;
        match project.is_empty() {
            true => (
                format!("the container `{name}`"),
                format!("docker container stop {}", shell_words::quote(name)),
            ),
            false => (format!("`{name}` of the Compose project `{project}`"), stop(project)),
        }
    }
}

/// The command on the robot that stops a Compose project. Its name comes from a label, which may have any text.
fn stop(project: &str) -> String {
    format!("docker compose --project-name {} down", shell_words::quote(project))
}

fn port(number: &str, protocol: &str) -> String {
    format!("port {number}/{protocol}")
}

/// Devices and ports that the services of a rendered project need, in the words of [`Other`], each with a service.
pub(crate) fn needs(services: &Value) -> BTreeMap<String, String> {
    let mut needs = BTreeMap::new();
    for (service, definition) in services.as_object().into_iter().flatten() {
        let entries = |key: &str| definition[key].as_array().into_iter().flatten();
        let devices = entries("devices").filter_map(|device| {
            let short = device.as_str().and_then(|text| text.split(':').next());
            short.or(device["source"].as_str()).map(str::to_owned)
        });
        let ports = entries("ports").filter_map(|entry| {
            let number = entry["published"].as_str().map(str::to_owned);
            let number = number.or(entry["published"].as_u64().map(|number| number.to_string()))?;
            Some(port(&number, entry["protocol"].as_str().unwrap_or("tcp")))
        });
        needs.extend(devices.chain(ports).map(|what| (what, service.clone())));
    }
    needs
}

impl Survey {
    /// Other Compose projects that run services with these names, each with those services.
    pub fn twins<'a>(&'a self, names: &BTreeSet<String>) -> BTreeMap<&'a str, Vec<&'a str>> {
        let mut twins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Other { project, name, .. } in &self.others {
            if !project.is_empty() && names.contains(name) {
                twins.entry(project).or_default().push(name);
            }
        }
        twins
    }

    /// Tells of other containers that run services with these names, or hold what services need, and how to stop them.
    pub(crate) fn tell_others(&self, names: &BTreeSet<String>, needs: &BTreeMap<String, String>) {
        let robot = &self.robot;
        let twins = self.twins(names);
        for (project, services) in &twins {
            let text = format!(
                "the Compose project `{project}` runs {} there, too: `cargo xtask ssh --robot {robot} -- {}` stops it",
                services.join(", "),
                stop(project)
            );
            ui::warn(robot, &text);
        }
        for other in self.others.iter().filter(|other| !twins.contains_key(other.project.as_str())) {
            for (what, service) in other.holds.iter().filter_map(|what| needs.get_key_value(what)) {
                let (who, stop) = other.described();
                let text = format!(
                    "{who} has {what} there, which `{service}` needs: `cargo xtask ssh --robot {robot} -- {stop}` stops it"
                );
                ui::warn(robot, &text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_ports_of_others_are_compared_with_those_of_services() {
        let other = |fields: [&str; 5]| Other::parse(&fields).unwrap();
        let devices =
            r#"[{"PathOnHost":"/dev/ttyACM0","PathInContainer":"/dev/tty0","CgroupPermissions":"rwm"}]"#;
        let by_hand = other(["\"\"", "\"\"", "\"/lidar\"", devices, "{}"]);
        assert_eq!(by_hand.described().1, "docker container stop lidar");
        let ports = r#"{"1883/tcp":[{"HostIp":"","HostPort":"1883"}],"53/udp":null}"#;
        let composed = other(["\"hand\"", "\"mqtt\"", "\"/hand-mqtt-1\"", "null", ports]);
        let hostile = other(["\"a; reboot\"", "\"b\"", "\"/c\"", "[]", "{}"]);
        assert_eq!(hostile.described().1, "docker compose --project-name 'a; reboot' down");
        assert_eq!(composed.described().0, "`mqtt` of the Compose project `hand`");
        assert_eq!(Other::parse(&["\"a\"", "\"b\"", "\"/c\"", "{", "{}"]), None);
        let services = serde_json::json!({
            "drive": { "devices": [{ "source": "/dev/ttyACM0", "target": "/dev/motor" }, "/dev/video0:/dev/video0:rwm"] },
            "broker": { "ports": [{ "target": 1883, "published": "1883", "protocol": "tcp" }, { "target": 9 }] },
        });
        let needs = needs(&services);
        assert_eq!(needs.len(), 3, "{needs:?}");
        for (other, service) in [(&by_hand, "drive"), (&composed, "broker")] {
            let held: Vec<&String> = other.holds.iter().filter_map(|what| needs.get(what)).collect();
            assert_eq!(held, [service]);
        }
    }
}
