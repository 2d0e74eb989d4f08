//! The tables below the timeline: robots, build steps, layers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::html::{element, escape, table};
use super::{Subject, seconds};
use crate::delivery::Cost;
use crate::image;
use crate::timeline::{Layer, Phase, Span, Timeline, Transport};
use crate::ui;

/// Number of build steps in the table: the longest ones.
const STEPS: usize = 25;

pub(super) fn render(subject: &Subject, timeline: &Timeline) -> String {
    let robots: BTreeSet<&str> = timeline.layers.iter().map(|layer| layer.robot.as_str()).collect();
    let layers = robots.into_iter().map(|robot| layers(robot, timeline));
    let tables = [summary(subject), steps(timeline)];
    tables.into_iter().chain(layers).collect::<Vec<_>>().join("\n")
}

fn summary(subject: &Subject) -> String {
    if subject.robots.is_empty() {
        return String::new();
    }
    let row = |(robot, cost): (&String, &Cost)| {
        let sizes = [cost.sent, cost.bytes_reused, cost.layer_bytes].map(ui::bytes);
        std::iter::once(escape(robot)).chain(sizes).chain([share(cost.sent, cost.layer_bytes)]).collect()
    };
    let rows: Vec<Vec<String>> = subject.robots.iter().map(row).collect();
    let columns = [
        ("robot", ""),
        ("sent", "number"),
        ("reused", "number"),
        ("all layers", "number"),
        ("sent of all", "share"),
    ];
    section("Robots", "", &table("robots", &columns, &rows))
}

fn steps(timeline: &Timeline) -> String {
    let mut steps: Vec<&Span> = timeline.spans.iter().filter(|span| span.phase == Phase::Build).collect();
    if steps.is_empty() && timeline.cached_steps == 0 {
        return section("Build steps", "Nothing had to be built.", "");
    }
    let took = |span: &Span| span.end.saturating_sub(span.start);
    steps.sort_by_key(|span| std::cmp::Reverse(took(span)));
    let longest = steps.first().map_or(Duration::ZERO, |span| took(span));
    let row = |span: &&Span| {
        let bar = bar(took(span).as_secs_f64(), longest.as_secs_f64());
        vec![escape(&span.name), seconds(took(span)), bar]
    };
    let rows: Vec<Vec<String>> = steps.iter().take(STEPS).map(row).collect();
    let mut note = format!("{} steps ran; {} were cached.", steps.len(), timeline.cached_steps);
    if steps.len() > STEPS {
        note.push_str(&format!(" These are the {STEPS} longest."));
    }
    let columns = [("step", "code"), ("time", "number"), ("", "share")];
    section("Build steps", &note, &table("steps", &columns, &rows))
}

fn layers(robot: &str, timeline: &Timeline) -> String {
    let mut layers: Vec<&Layer> = timeline.layers.iter().filter(|layer| layer.robot == robot).collect();
    // Sent layers come first, the largest transfer at the top.
    layers.sort_by_key(|layer| (std::cmp::Reverse(layer.sent), layer.how == Transport::There));
    let row = |layer: &&Layer| {
        vec![
            escape(&layer.image),
            made_by(layer),
            ui::bytes(layer.size),
            element("span", &format!("how {}", class(&layer.how)), &how(&layer.how)),
            ui::bytes(layer.sent),
            saving(layer),
        ]
    };
    let rows: Vec<Vec<String>> = layers.iter().map(row).collect();
    let columns = [
        ("image", ""),
        ("made by", "code"),
        ("size", "number"),
        ("transport", ""),
        ("sent", "number"),
        ("saved", "number"),
    ];
    let present = layers.iter().filter(|layer| layer.how == Transport::There).count();
    let note = format!("{} layers, {present} of them already there.", layers.len());
    section(&format!("Layers of {robot}"), &note, &table("layers", &columns, &rows))
}

fn section(title: &str, note: &str, content: &str) -> String {
    let note = if note.is_empty() { String::new() } else { element("p", "note", &escape(note)) };
    element("section", "", &format!("<h2>{}</h2>{note}\n{content}", escape(title)))
}

/// Instruction that created a layer, without the parts common to all instructions, and the layer's digest.
fn made_by(layer: &Layer) -> String {
    let digest = image::short(&layer.digest);
    let text = layer.created_by.trim_start_matches("/bin/sh -c ").trim_end_matches(" # buildkit").trim();
    let short: String =
        if text.is_empty() { "the base".to_owned() } else { text.chars().take(120).collect() };
    format!(
        "<span title=\"{}\">{} <small>{}</small></span>",
        escape(&layer.created_by),
        escape(&short),
        escape(digest)
    )
}

fn how(how: &Transport) -> String {
    match how {
        Transport::There => "already there".to_owned(),
        Transport::Patch { basis } => format!("patch of {}", escape(image::short(basis))),
        Transport::Whole => "whole".to_owned(),
        Transport::Push => "pushed".to_owned(),
    }
}

fn class(how: &Transport) -> &'static str {
    match how {
        Transport::There => "there",
        Transport::Patch { .. } => "patch",
        Transport::Whole => "complete",
        Transport::Push => "pushed",
    }
}

/// Percentage of a layer that was not sent.
fn saving(layer: &Layer) -> String {
    if layer.size == 0 {
        return "–".to_owned();
    }
    let saved = layer.size.saturating_sub(layer.sent);
    percent(saved, layer.size)
}

fn percent(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    // Do not round a part up to the whole.
    if part == whole || percent < 99.95 { format!("{percent:.1} %") } else { "> 99.9 %".to_owned() }
}

fn share(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a bar of some pixels")]
    let bar = bar(part as f64, whole as f64);
    bar
}

/// HTML bar whose length is the part of the whole.
fn bar(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 { (100.0 * part / whole).clamp(0.0, 100.0) } else { 0.0 };
    format!("<span class=\"share\"><span style=\"width:{percent:.2}%\"></span></span>")
}
