//! `x-robot` of a service: the nodes and topics by which it is healthy, as a health check of the image.

use std::collections::BTreeMap;

use camino::Utf8Path;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Failure, Result};

/// Key of a service in the Compose file.
pub(super) const KEY: &str = "x-robot";

/// Expectations of a service, of which at least one is given.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expected {
    /// Full names of nodes: `/main/odometry`.
    nodes: Vec<String>,
    /// Full names of topics with a publisher.
    topics: Vec<String>,
}

/// Adds health checks for the `x-robot` of services, which only `extended` has. `images` has the services whose images are
/// the workspace's.
///
/// # Errors
/// Fails with exit code 2 if a name cannot be that of a node or topic, if the service has a health check of its own, or if
/// its image has no `graph-alive`.
pub(super) fn expect(
    model: &mut Value,
    extended: &Value,
    file: &Utf8Path,
    images: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, service) in model["services"].as_object_mut().into_iter().flatten() {
        let Some(service) = service.as_object_mut() else { continue };
        let Some(given) = extended["services"][name].get(KEY).cloned() else { continue };
        let refused =
            |problem: &str| Failure::config(format!("`{file}`: `{KEY}` of service `{name}` {problem}"));
        let example = format!("{KEY}: {{ nodes: [/main/odometry], topics: [/main/odom] }}");
        let expected: Expected = serde_json::from_value(given)
            .map_err(|error| refused(&format!("cannot be used: {error}")).hint(example.as_str()))?;
        if expected.nodes.is_empty() && expected.topics.is_empty() {
            return Err(refused("names no node and no topic").hint(example).into());
        }
        if let Some(wrong) = expected.nodes.iter().chain(&expected.topics).find(|name| !is_full(name)) {
            let problem = format!("has `{}`, which is not a full name", wrong.escape_debug());
            return Err(refused(&problem).hint("a full name begins with `/` and has the namespace, as `ros2 node list` and `ros2 topic list` print it").into());
        }
        if service.contains_key("healthcheck") {
            return Err(refused("would replace its `healthcheck`").hint("remove one of the two").into());
        }
        if !images.contains_key(name) {
            return Err(refused("needs an image of [images] in robots.toml, for its command `graph-alive`")
                .hint("write a `healthcheck` for the program in the image")
                .into());
        }
        let nodes = expected.nodes.iter().flat_map(|name| ["--node", name]);
        let test: Vec<&str> = ["CMD", "graph-alive"].into_iter().chain(nodes).collect();
        let topics = expected.topics.iter().flat_map(|name| ["--topic", name]);
        let test: Vec<&str> = test.into_iter().chain(topics).collect();
        let check = json!({
            "test": test, "interval": "3s", "timeout": "5s", "retries": 3, "start_period": "30s", "start_interval": "500ms",
        });
        service.insert("healthcheck".to_owned(), check);
    }
    Ok(())
}

/// Returns whether a text is a full name of the ROS graph (<https://design.ros2.org/articles/topic_and_service_names.html>).
fn is_full(name: &str) -> bool {
    let is_token = |token: &str| {
        !token.starts_with(|first: char| first.is_ascii_digit())
            && !token.is_empty()
            && token.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    name.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(service: Value) -> Result<Value> {
        let mut model = json!({ "services": { "odometry": service } });
        let extended = model.clone();
        let images = BTreeMap::from([("odometry".to_owned(), "localization".to_owned())]);
        expect(&mut model, &extended, "docker/compose.yaml".into(), &images)?;
        Ok(model["services"]["odometry"].take())
    }

    #[test]
    fn nodes_and_topics_become_a_health_check() -> Result<()> {
        let service = expected(json!({ "x-robot": { "nodes": ["/a/b"], "topics": ["/odom"] } }))?;
        assert_eq!(
            service["healthcheck"]["test"],
            json!(["CMD", "graph-alive", "--node", "/a/b", "--topic", "/odom"])
        );
        assert_eq!(expected(json!({ "image": "x" }))?, json!({ "image": "x" }));
        Ok(())
    }

    #[test]
    fn expectations_that_cannot_hold_are_refused() {
        for (service, problem) in [
            (json!({ "x-robot": {} }), "names no node"),
            (json!({ "x-robot": { "node": ["/a"] } }), "unknown field `node`"),
            (json!({ "x-robot": { "nodes": "/a" } }), "invalid type"),
            (json!({ "x-robot": { "nodes": ["a"] } }), "`a`, which is not a full name"),
            (json!({ "x-robot": { "topics": ["/a//b"] } }), "is not a full name"),
            (json!({ "x-robot": { "topics": ["/a b"] } }), "is not a full name"),
            (json!({ "x-robot": { "nodes": ["/a"] }, "healthcheck": {} }), "would replace"),
        ] {
            let error = expected(service.clone()).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("docker/compose.yaml"), "{service}: {error}");
        }
        let model = json!({ "services": { "db": { "x-robot": { "nodes": ["/a"] } } } });
        assert!(expect(&mut model.clone(), &model, "compose.yaml".into(), &BTreeMap::new()).is_err());
    }
}
