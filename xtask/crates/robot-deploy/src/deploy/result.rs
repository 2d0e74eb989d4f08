//! The result of a deploy, and how it is printed.

use std::time::Duration;

use crate::delivery::{Cost, Delivery};
use crate::error::Result;
use crate::robot::Survey;
use crate::{image, ui};

pub(crate) struct DeployResult {
    pub delivery: Delivery,
    /// State of the robot with its containers. `None` with `--no-start`.
    pub running: Option<Survey>,
    /// True if the robot received images or activated a release.
    pub changed: bool,
    /// Time since the start of the command.
    pub took: Duration,
}

/// Prints the containers of the robots and the cost of the deploys.
pub(crate) fn report(results: &[(String, DeployResult)]) -> Result<()> {
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

/// Prints the containers of the robots, after a verb that has changed them.
pub(crate) fn show_running(surveys: &[(String, Survey)]) -> Result<()> {
    if surveys.is_empty() {
        return Ok(());
    }
    Ok(ui::result(&containers(surveys.iter().map(|(robot, survey)| (robot.as_str(), survey))))?)
}

/// Formats the containers of robots as a table.
fn containers<'a>(surveys: impl Iterator<Item = (&'a str, &'a Survey)>) -> String {
    let mut rows: Vec<[String; 5]> = Vec::new();
    for (robot, survey) in surveys {
        for container in &survey.containers {
            let digest = container.reference.rsplit(['@', '-']).next().unwrap_or_default();
            rows.push([
                robot.to_owned(),
                container.service.clone(),
                image::short(digest).to_owned(),
                container.state_in_words(),
                ui::time(&container.since()),
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
        // `ssh` does not report the size after compression.
        let sent = if cost.compressed { format!("at most {sent}") } else { sent };
        let images = self.delivery.images.len();
        if layers_sent + layers_reused == 0 && self.delivery.images_there == images {
            let rest = if self.changed { ", release activated" } else { ": nothing changed" };
            let bytes = if cost.sent == 0 { "nothing" } else { &sent };
            let all = match images {
                1 => "the image was".to_owned(),
                _ => format!("all {images} images were"),
            };
            return format!("{all} already there{rest}; {bytes} sent");
        }
        if cost.layer_bytes == 0 {
            // From the hub: this machine does not see the bytes that the robot pulls.
            let pulled = images - self.delivery.images_there;
            let images = ui::count(images, "image");
            return format!("the robot pulled {pulled} of {images} itself; {sent} sent from here");
        }
        if layers_sent + layers_reused == 0 {
            // xtask's own buildx builder does not report which layers it pushed.
            return format!("sent {sent}, reused {reused}, {total} in total");
        }
        let new = ui::count(layers_sent, "new layer");
        let old = ui::count(layers_reused, "layer");
        format!("sent {sent} ({new}), reused {reused} ({old}), {total} in total")
    }
}
