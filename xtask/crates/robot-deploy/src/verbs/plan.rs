//! Output of `cargo xtask deploy --plan`.

use std::time::Duration;

use serde_json::json;

use crate::delivery::plan::{Layer, Plan};
use crate::error::Result;
use crate::image;
use crate::ui;

/// Prints plans, as tables or as JSON.
pub(super) fn report(plans: &[Plan], as_json: bool) -> Result<()> {
    if as_json {
        ui::result(&serde_json::to_string_pretty(&json!({ "robots": plans }))?)?;
        return Ok(());
    }
    for plan in plans {
        let rows = rows(plan);
        if !rows.is_empty() {
            let table = ui::table(["ROBOT", "IMAGE", "LAYER", "HOW", "SENT", "OF", "MADE BY"], &rows);
            ui::finding(&table)?;
        }
        for line in summary(plan) {
            ui::finding(&format!("{}: {line}", plan.robot))?;
        }
        plan.notes.iter().for_each(|note| ui::warn(&plan.robot, note));
    }
    Ok(())
}

fn rows(plan: &Plan) -> Vec<[String; 7]> {
    let mut rows = Vec::new();
    for image in &plan.images {
        for layer in image.layers.iter().filter(|layer| layer.how != "there") {
            rows.push([
                plan.robot.clone(),
                image.image.clone(),
                image::short(&layer.digest).to_owned(),
                how(layer),
                ui::bytes(layer.bytes),
                ui::bytes(layer.size),
                made_by(&layer.created_by),
            ]);
        }
    }
    rows
}

fn how(layer: &Layer) -> String {
    match &layer.basis {
        Some(basis) => format!("{} of {}", layer.how, image::short(basis)),
        None => layer.how.to_owned(),
    }
}

/// Dockerfile instruction of a layer, without the additions of BuildKit.
fn made_by(step: &str) -> String {
    let step = step.trim_end_matches("# buildkit").trim();
    let words: Vec<&str> = step.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    words.join(" ").chars().take(40).collect()
}

fn summary(plan: &Plan) -> Vec<String> {
    let there = plan.images.iter().filter(|image| image.there).count();
    let layers = || plan.images.iter().flat_map(|image| &image.layers);
    let to_send = layers().filter(|layer| layer.how != "there").count();
    let other = plan.other_bytes + plan.registry_bytes;
    let mut lines = Vec::new();
    if there == plan.images.len() {
        lines.push(format!("all {there} images are already on the robot"));
    } else {
        lines.push(format!(
            "{to_send} layers would be sent, {} reused; {there} of {} images are already on the robot",
            layers().count() - to_send,
            plan.images.len(),
        ));
    }
    if plan.bytes > 0 {
        let [all, layers, other] = [plan.bytes, plan.layer_bytes, other].map(ui::bytes);
        let time = plan.bytes_per_second.zip(plan.seconds).map(|(speed, time)| {
            format!(": {} at {}/s, the speed of the last large delivery", seconds(time), ui::bytes(speed))
        });
        let time = time.unwrap_or_default();
        lines.push(format!("about {all} would be sent ({layers} of layers, {other} of other data){time}"));
    }
    if plan.disk_needed > 0 {
        let (needed, free) = (ui::bytes(plan.disk_needed), ui::bytes(plan.disk_free));
        lines.push(format!("needs up to {needed} more disk space; {free} are free"));
    }
    match &plan.restarts[..] {
        [] => lines.push("no service would be restarted".to_owned()),
        services => lines.push(format!("would be restarted: {}", services.join(", "))),
    }
    if !plan.removed.is_empty() {
        lines.push(format!("would be stopped and removed: {}", plan.removed.join(", ")));
    }
    lines
}

fn seconds(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time.as_secs() >= 120 => format!("{} min", time.as_secs().div_ceil(60)),
        _ => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_stated_only_if_the_speed_is_known() {
        let plan =
            Plan { bytes: 6_000_000, layer_bytes: 5_000_000, other_bytes: 1_000_000, ..Plan::default() };
        let bytes = "about 6.0 MB would be sent (5.0 MB of layers, 1.0 MB of other data)";
        assert_eq!(summary(&plan)[1], bytes);
        let known = Plan { bytes_per_second: Some(3_000_000), seconds: Some(2.0), ..plan };
        let time = ": 2.0 s at 3.0 MB/s, the speed of the last large delivery";
        assert_eq!(summary(&known)[1], format!("{bytes}{time}"));
    }

    #[test]
    fn removed_services_are_listed_if_there_are_any() {
        let (lidar, setup) = ("lidar".to_owned(), "setup".to_owned());
        let plan = Plan { removed: vec![lidar, setup], ..Plan::default() };
        let last = |plan| summary(plan).pop().unwrap();
        assert_eq!(last(&plan), "would be stopped and removed: lidar, setup");
        assert_eq!(json!(plan)["removed"], json!(["lidar", "setup"]));
        assert_eq!(last(&Plan::default()), "no service would be restarted");
    }
}
