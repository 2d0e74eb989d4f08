//! A release of a bundle, in which images have the names that the bundle gave them: the robot may have the same images
//! under other names, and would restart their services.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value;

use super::{
    COMPOSE, ComposeProject, IMAGES, SERVICES, hashes, image_lines, is_ours, label, service_lines, texts,
};
use crate::error::Result;
use crate::release::files::append_text;

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
        Self::read(replaced(&archive, &files).context("pack the release")?, now)
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

/// Returns an archive with other texts in some of its files.
fn replaced(archive: &[u8], files: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut new = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let (mut header, path) = (entry.header().clone(), entry.path()?.into_owned());
        match files.iter().find(|(name, _)| path.to_str() == Some(*name)) {
            Some((name, text)) => append_text(&mut new, name, text)?,
            None => new.append_data(&mut header, path, &mut entry)?,
        }
    }
    Ok(new.into_inner()?)
}
