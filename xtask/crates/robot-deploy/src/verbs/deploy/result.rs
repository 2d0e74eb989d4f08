//! What came of a deploy, as people are told.

use std::time::Duration;

use crate::delivery::{Cost, Delivery};
use crate::error::Result;
use crate::robot::Survey;
use crate::{image, process, ui};

/// What came of a deploy to one robot.
pub struct DeployResult {
    /// What was delivered.
    pub delivery: Delivery,
    /// The containers, unless nothing was to be started.
    pub running: Option<Survey>,
    /// Whether anything is new there.
    pub changed: bool,
    /// From the command to its end.
    pub took: Duration,
}

/// Prints what runs, and what it took.
///
/// # Errors
/// Fails when it cannot be written.
pub fn report(results: &[(String, DeployResult)]) -> Result<()> {
    if process::mode().dry_run {
        return Ok(());
    }
    let running =
        results.iter().filter_map(|(robot, result)| Some((robot.as_str(), result.running.as_ref()?)));
    if running.clone().any(|(_, survey)| !survey.containers.is_empty()) {
        ui::result(&containers(running))?;
    }
    for (robot, result) in results {
        ui::done(robot, &format!("{} ({:.1} s)", result.summary(), result.took.as_secs_f32()));
    }
    Ok(())
}

/// Prints what runs on robots, after a verb that changed that.
///
/// # Errors
/// Fails when it cannot be written.
pub fn show_running(surveys: &[(String, Survey)]) -> Result<()> {
    if process::mode().dry_run || surveys.is_empty() {
        return Ok(());
    }
    Ok(ui::result(&containers(surveys.iter().map(|(robot, survey)| (robot.as_str(), survey))))?)
}

/// The containers of robots, as a table.
fn containers<'a>(surveys: impl Iterator<Item = (&'a str, &'a Survey)>) -> String {
    let mut rows: Vec<[String; 5]> = Vec::new();
    for (robot, survey) in surveys {
        for container in &survey.containers {
            let digest = container.reference.rsplit(['@', '-']).next().unwrap_or_default();
            rows.push([
                robot.to_owned(),
                container.service.clone(),
                image::short(digest).to_owned(),
                container.state.clone(),
                container.since(),
            ]);
        }
    }
    rows.sort();
    ui::table(["ROBOT", "SERVICE", "IMAGE", "STATE", "SINCE (UTC)"], &rows)
}

impl DeployResult {
    fn summary(&self) -> String {
        let cost = self.delivery.cost;
        let Cost { layers_sent, layers_reused, .. } = cost;
        let [sent, reused, total] = [cost.sent, cost.bytes_reused, cost.layer_bytes].map(ui::bytes);
        // What ssh compresses on the way it does not count.
        let sent = if cost.compressed { format!("at most {sent}") } else { sent };
        let images = self.delivery.images.len();
        if layers_sent + layers_reused == 0 && self.delivery.images_there == images {
            let rest = if self.changed { ", containers brought up" } else { ": nothing changed" };
            let bytes = if cost.sent == 0 { "nothing" } else { &sent };
            return format!("all {images} images were there{rest}; {bytes} sent");
        }
        if cost.layer_bytes == 0 {
            // From the hub: what travelled there this machine has not seen.
            let pulled = images - self.delivery.images_there;
            return format!("the robot pulled {pulled} of {images} images itself; {sent} sent from here");
        }
        if layers_sent + layers_reused == 0 {
            // Our own builder does not say which layers it sent.
            return format!("sent {sent}, reused {reused}, {total} in all");
        }
        format!(
            "sent {sent} ({layers_sent} new layers), reused {reused} ({layers_reused} layers), {total} in all"
        )
    }
}
