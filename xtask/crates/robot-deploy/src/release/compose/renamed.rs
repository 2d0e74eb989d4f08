//! A release of a bundle, in which images have the names that the bundle gave them: the robot may have the same images
//! under other names, and would restart their services.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value;

use super::{
    COMPOSE, ComposeProject, IMAGES, SERVICES, hashes, image_lines, is_ours, label, service_lines, texts,
    with_texts,
};
use crate::error::Result;

impl ComposeProject {
    /// Reads a project's archive in which the images have the names `before`, and calls them `now`.
    pub(crate) fn renamed(
        archive: Vec<u8>,
        project: &str,
        before: &BTreeMap<String, String>,
        now: &BTreeMap<String, String>,
    ) -> Result<Self> {
        if before == now {
            return Self::read(archive, now);
        }
        let text = texts(&archive).context("read the Compose project")?.remove(COMPOSE);
        let text = text.with_context(|| format!("the Compose project has no `{COMPOSE}`"))?;
        let mut model: Value = serde_json::from_str(&text).context("read the Compose project")?;
        for (_, service) in model["services"].as_object_mut().into_iter().flatten() {
            rename(service, before, now);
            remove_labels(service);
        }
        let lines = service_lines(&model);
        label(&mut model, &hashes(&lines));
        let text = serde_json::to_string_pretty(&model).context("write the Compose project")?;
        let files = [(COMPOSE, text), (SERVICES, lines), (IMAGES, image_lines(project, now))];
        Self::read(with_texts(&archive, &files).context("pack the release")?, now)
    }
}

fn rename(service: &mut Value, before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) {
    let image = before.iter().find(|(_, reference)| service["image"] == **reference);
    if let Some(name) = image.and_then(|(image, _)| now.get(image)) {
        service["image"] = Value::from(name.clone());
    }
}

/// Removes the labels that [`label`] has added.
fn remove_labels(service: &mut Value) {
    let Some(service) = service.as_object_mut() else { return };
    let Some(labels) = service.get_mut("labels").and_then(Value::as_object_mut) else { return };
    labels.retain(|name, _| !is_ours(name));
    if labels.is_empty() {
        service.remove("labels");
    }
}
