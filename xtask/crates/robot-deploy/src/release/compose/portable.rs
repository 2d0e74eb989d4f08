//! Makes a project independent of this machine and of Compose's version, and refuses what a robot could not do.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Platform;
use crate::error::{Failure, Result};

/// Keys of a service that no robot can follow, with the reason and the remedy.
const REFUSED: [(&str, &str, &str); 4] = [
    (
        "pre_stop",
        "would not run, because services are stopped without Compose",
        "catch `stop_signal` in the service's program",
    ),
    ("provider", "runs a program that robots do not have", "remove it"),
    ("models", "needs a program that robots do not have", "remove it"),
    ("credential_spec", "is for Windows", "remove it"),
];

/// Keys of a service that have had their effect when Compose has read the file, or that change nothing on a robot.
const DONE: [&str; 3] = ["profiles", "develop", "pull_policy"];

/// Changes the services so that the Compose of any robot understands them.
///
/// # Errors
/// Fails with exit code 2 if a service asks for what no robot can do.
pub(super) fn adapt(model: &mut Value, file: &str, platform: &Platform) -> Result<()> {
    for section in ["configs", "secrets"] {
        let entries = model[section].as_object().into_iter().flatten();
        if let Some((name, _)) = entries.into_iter().find(|(_, entry)| entry["external"] == true) {
            let message = format!("`{file}`: `external` of `{section}.{name}` needs a swarm");
            return Err(Failure::config(message).hint("name a `file`, or an `environment` variable").into());
        }
    }
    for (name, service) in model["services"].as_object_mut().into_iter().flatten() {
        let Some(service) = service.as_object_mut() else { continue };
        let place = format!("`{file}`: service `{name}`");
        if let Some((key, problem, remedy)) = REFUSED.iter().find(|(key, ..)| service.contains_key(*key)) {
            return Err(Failure::config(format!("{place}: `{key}` {problem}")).hint(*remedy).into());
        }
        if let Some(other) = service.get("platform").and_then(Value::as_str)
            && !platform.is_named(other)
        {
            let message = format!("{place} has `platform: {other}`, but the robot is {platform}");
            return Err(Failure::config(message)
                .hint("remove it: images are those of the robot's platform in robots.toml")
                .into());
        }
        DONE.iter().for_each(|key| drop(service.remove(*key)));
        // Compose before 2.20 refuses the key.
        for dependency in service.get_mut("depends_on").and_then(Value::as_object_mut).into_iter().flatten() {
            if let Some(dependency) = dependency.1.as_object_mut()
                && dependency.get("required") == Some(&Value::Bool(true))
            {
                dependency.remove("required");
            }
        }
    }
    Ok(())
}

/// Number of containers of a service.
pub(super) fn replicas(service: &Value) -> u64 {
    let written = [&service["scale"], &service["deploy"]["replicas"]];
    written.into_iter().find_map(Value::as_u64).unwrap_or(1)
}

/// Services whose containers a service's containers hold on to: it has to be replaced with them.
pub(super) fn followed(service: &Value) -> Vec<&str> {
    let spaces = ["network_mode", "ipc", "pid"].into_iter().filter_map(|key| service[key].as_str());
    let spaces = spaces.filter_map(|value| value.strip_prefix("service:"));
    let volumes = service["volumes_from"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let volumes = volumes.filter(|from| !from.starts_with("container:"));
    let volumes = volumes.map(|from| from.split(':').next().unwrap_or(from));
    let restarted = service["depends_on"].as_object().into_iter().flatten();
    let restarted = restarted.filter(|(_, how)| how["restart"] == true).map(|(name, _)| name.as_str());
    spaces.chain(volumes).chain(restarted).collect()
}

/// Removes texts of `configs` and `secrets` from the model, and returns them by section and name: they become files, because
/// older versions of Compose know only these, and a robot has not the variables of `environment`.
///
/// # Errors
/// Fails with exit code 2 if a variable is not set.
pub(super) fn take_texts(
    model: &mut Value,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<(String, String), String>> {
    let mut texts = BTreeMap::new();
    for section in ["configs", "secrets"] {
        let entries = model.get_mut(section).and_then(Value::as_object_mut);
        for (name, entry) in entries.into_iter().flatten() {
            let Some(entry) = entry.as_object_mut() else { continue };
            let text = match (entry.remove("content"), entry.remove("environment")) {
                (Some(Value::String(text)), _) => super::super::files::undoubled(&text),
                (_, Some(Value::String(variable))) => variables.get(&variable).cloned().ok_or_else(|| {
                    Failure::config(format!("`{variable}`, the value of `{section}.{name}`, is not set"))
                        .hint("set it in `env` or `env_files` of the robot in robots.toml")
                })?,
                _ => continue,
            };
            texts.insert((section.to_owned(), name.clone()), text);
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn adapted(mut model: Value) -> Result<Value> {
        let platform = Platform { arch: "arm64".to_owned(), variant: None };
        adapt(&mut model, "compose.yaml", &platform)?;
        Ok(model)
    }

    #[test]
    fn keys_that_compose_has_followed_are_gone() -> Result<()> {
        let service = json!({
            "image": "a", "profiles": ["p"], "develop": {}, "pull_policy": "always", "platform": "linux/arm64/v8",
            "depends_on": {
                "b": { "condition": "service_started", "required": true },
                "c": { "condition": "service_started", "required": false },
            },
        });
        let expected = json!({
            "image": "a", "platform": "linux/arm64/v8",
            "depends_on": {
                "b": { "condition": "service_started" },
                "c": { "condition": "service_started", "required": false },
            },
        });
        assert_eq!(adapted(json!({ "services": { "a": service } }))?["services"]["a"], expected);
        Ok(())
    }

    #[test]
    fn what_no_robot_can_do_is_refused_with_its_place() {
        for (key, value, said) in [
            ("pre_stop", json!([{ "command": "true" }]), "`pre_stop` would not run"),
            ("provider", json!({ "type": "model" }), "`provider` runs a program"),
            ("models", json!(["llm"]), "`models` needs a program"),
            ("credential_spec", json!({}), "`credential_spec` is for Windows"),
            ("platform", json!("linux/amd64"), "has `platform: linux/amd64`, but the robot is linux/arm64"),
        ] {
            let error = adapted(json!({ "services": { "a": { key: value } } })).unwrap_err().to_string();
            assert!(error.starts_with("`compose.yaml`: service `a`") && error.contains(said), "{error}");
        }
        for section in ["configs", "secrets"] {
            let error = adapted(json!({ section: { "a": { "external": true } } })).unwrap_err().to_string();
            assert!(error.contains(&format!("`external` of `{section}.a` needs a swarm")), "{error}");
        }
    }

    #[test]
    fn texts_and_variables_become_files() -> Result<()> {
        let mut model = json!({
            "configs": { "motd": { "name": "x_motd", "content": "a $$b" } },
            "secrets": { "token": { "environment": "TOKEN" }, "key": { "file": "./key" } },
        });
        let variables = BTreeMap::from([("TOKEN".to_owned(), "swordfish".to_owned())]);
        let texts = take_texts(&mut model, &variables)?;
        let text = |section: &str, name: &str| texts[&(section.to_owned(), name.to_owned())].clone();
        assert_eq!((text("configs", "motd"), text("secrets", "token")), ("a $b".into(), "swordfish".into()));
        assert_eq!(texts.len(), 2);
        assert_eq!(model["configs"]["motd"], json!({ "name": "x_motd" }));
        let mut model = json!({ "secrets": { "token": { "environment": "TOKEN" } } });
        let error = take_texts(&mut model, &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(error, "`TOKEN`, the value of `secrets.token`, is not set");
        Ok(())
    }

    #[test]
    fn a_service_follows_those_that_it_shares_with() {
        let service = json!({
            "network_mode": "service:a", "ipc": "host", "pid": "service:b",
            "volumes_from": ["c:ro", "container:x"],
            "depends_on": { "d": { "restart": true }, "e": {} },
        });
        assert_eq!(followed(&service), ["a", "b", "c", "d"]);
        assert_eq!(
            [replicas(&json!({ "scale": 2 })), replicas(&json!({ "deploy": { "replicas": 0 } }))],
            [2, 0]
        );
    }
}
