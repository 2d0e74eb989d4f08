//! The timeline chart: a lane for the build and one for each robot, with bars coloured by the kind of work.
//!
//! Positions are in percent of the lane's width, so that the chart fills the page. Labels are placed for the
//! smallest width of a lane: wider lanes only have more room.

use std::time::Duration;

use super::html::{element, escape};
use super::seconds;
use crate::timeline::{Lane, Phase, Span, Timeline};
use crate::ui;

/// Smallest width of a lane in pixels, as in the style sheet.
const WIDTH: f64 = 860.0;
/// Smallest width of a bar in pixels, as in the style sheet.
const LEAST: f64 = 3.0;
/// Average width of a letter in pixels, with a margin.
const LETTER: f64 = 7.0;
/// Free space beside a label in pixels.
const GAP: f64 = 10.0;
/// Most letters of a label.
const LABEL: usize = 48;
/// Build steps below this share of the total time are only in the table.
const SHORT: f64 = 0.01;
/// Other spans below this share of the total time are too short to see.
const INVISIBLE: f64 = 0.002;

const PHASES: [(Phase, &str, &str); 10] = [
    (Phase::Whole, "whole", "whole build"),
    (Phase::Build, "build", "build step"),
    (Phase::Connect, "connect", "connect"),
    (Phase::Wait, "wait", "wait"),
    (Phase::Registry, "registry", "registry and tunnel"),
    (Phase::Prepare, "prepare", "prepare layers"),
    (Phase::Transfer, "transfer", "send layers"),
    (Phase::Push, "push", "push"),
    (Phase::Pull, "pull", "pull"),
    (Phase::Start, "start", "start"),
];

fn class(phase: Phase) -> &'static str {
    PHASES.iter().find(|(each, ..)| *each == phase).map_or("", |(_, class, _)| class)
}

/// Position of a bar's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Inside,
    After,
    Before,
    /// Not shown; the tooltip has it.
    Hidden,
}

impl Place {
    fn class(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::After => "after",
            Self::Before => "before",
            Self::Hidden => "hidden",
        }
    }
}

/// Bar with its label, in pixels of a lane of the smallest width.
#[derive(Clone, Debug)]
struct Bar<'a> {
    span: &'a Span,
    left: f64,
    width: f64,
    label: String,
    place: Place,
}

impl<'a> Bar<'a> {
    fn new(span: &'a Span, total: Duration) -> Self {
        let scale = WIDTH / total.as_secs_f64().max(1e-3);
        let width = (span.end.saturating_sub(span.start).as_secs_f64() * scale).clamp(LEAST, WIDTH);
        let left = (span.start.as_secs_f64() * scale).min(WIDTH - width);
        let label = label(span);
        let needed = wide(&label);
        let place = if needed <= width {
            Place::Inside
        } else if left + width + needed <= WIDTH {
            Place::After
        } else if needed <= left {
            Place::Before
        } else {
            Place::Hidden
        };
        Self { span, left, width, label, place }
    }

    /// Left and right end of bar and label together.
    fn extent(&self) -> (f64, f64) {
        let (start, end) = (self.left, self.left + self.width);
        match self.place {
            Place::Inside | Place::Hidden => (start, end),
            Place::After => (start, end + wide(&self.label)),
            Place::Before => (start - wide(&self.label), end),
        }
    }

    fn html(&self) -> String {
        let bytes = self.span.bytes.map(|count| format!(", {} sent", ui::bytes(count))).unwrap_or_default();
        let took = self.span.end.saturating_sub(self.span.start);
        let from = self.span.start.as_secs_f64();
        let tip = format!("{}: {}{bytes}, from {from:.2} s on", self.span.name, seconds(took));
        format!(
            "<div class=\"bar {}\" style=\"left:{:.3}%;width:{:.3}%\" title=\"{}\">\
             <span class=\"label {}\">{}</span></div>",
            class(self.span.phase),
            100.0 * self.left / WIDTH,
            100.0 * self.width / WIDTH,
            escape(&tip),
            self.place.class(),
            escape(&self.label),
        )
    }
}

fn label(span: &Span) -> String {
    let took = seconds(span.end.saturating_sub(span.start));
    // The stage names the package that a step builds.
    let name = match (span.phase, span.name.split_once(": ")) {
        (Phase::Build, Some((stage, "exporting to image"))) => format!("export {stage}"),
        (Phase::Build, Some((stage, _))) => stage.to_owned(),
        _ => span.name.clone(),
    };
    let mut short: String = name.chars().take(LABEL).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    format!("{short} {took}")
}

#[expect(clippy::cast_precision_loss, reason = "labels are short")]
fn wide(label: &str) -> f64 {
    label.chars().count() as f64 * LETTER + GAP
}

/// Arranges bars in rows so that no bars or labels overlap: each goes into the first row that is free at its
/// start.
fn rows<'a>(mut bars: Vec<Bar<'a>>) -> Vec<Vec<Bar<'a>>> {
    bars.sort_by(|one, other| one.extent().0.total_cmp(&other.extent().0));
    let mut rows: Vec<Vec<Bar<'a>>> = Vec::new();
    for bar in bars {
        let start = bar.extent().0;
        let free = rows.iter_mut().find(|row| row.last().is_none_or(|last| last.extent().1 <= start));
        match free {
            Some(row) => row.push(bar),
            None => rows.push(vec![bar]),
        }
    }
    rows
}

/// HTML of the chart with its legend and axis.
pub(super) fn render(timeline: &Timeline) -> String {
    let mut lanes: Vec<&Lane> = timeline.spans.iter().map(|span| &span.lane).collect();
    lanes.sort();
    lanes.dedup();
    let drawn: Vec<&Span> = timeline.spans.iter().filter(|span| is_drawn(span, timeline.took)).collect();
    let lanes: String = lanes.into_iter().map(|each| lane(each, &drawn, timeline)).collect();
    let ticks: String = ticks(timeline.took)
        .into_iter()
        .map(|(at, text)| format!("<div class=\"tick\" style=\"left:{at:.3}%\"><span>{text}</span></div>"))
        .collect();
    let axis =
        format!("<div class=\"lane axis\"><div class=\"name\"></div><div class=\"rows\">{ticks}</div></div>");
    let chart = element("div", "chart", &format!("{axis}{lanes}"));
    let key = format!("{}{}", legend(&drawn), element("div", "scroll", &chart));
    element("section", "", &format!("<h2>Timeline</h2>\n{key}"))
}

fn is_drawn(span: &Span, total: Duration) -> bool {
    let took = span.end.saturating_sub(span.start).as_secs_f64();
    took >= total.as_secs_f64() * if span.phase == Phase::Build { SHORT } else { INVISIBLE }
}

fn lane(lane: &Lane, drawn: &[&Span], timeline: &Timeline) -> String {
    let bars: Vec<Bar<'_>> =
        drawn.iter().filter(|span| span.lane == *lane).map(|span| Bar::new(span, timeline.took)).collect();
    let name = match lane {
        Lane::Build => "build",
        Lane::Robot(name) => name,
    };
    let count = timeline.spans.iter().filter(|span| span.lane == *lane).count();
    let short = match count - bars.len() {
        0 => String::new(),
        rest => element("small", "", &format!("short steps not drawn: {rest}")),
    };
    let row = |bars: &Vec<Bar<'_>>| element("div", "row", &bars.iter().map(Bar::html).collect::<String>());
    let rows: String = rows(bars).iter().map(row).collect();
    format!(
        "<div class=\"lane\" data-lane=\"{name}\"><div class=\"name\">{name}{short}</div>\
         <div class=\"rows\">{rows}</div></div>\n",
        name = escape(name),
    )
}

fn legend(drawn: &[&Span]) -> String {
    let used = PHASES.iter().filter(|(phase, ..)| drawn.iter().any(|span| span.phase == *phase));
    let entry =
        |(_, class, name): &(Phase, &str, &str)| format!("<li><i class=\"bar {class}\"></i>{name}</li>");
    element("ul", "legend", &used.map(entry).collect::<String>())
}

/// Marks of the axis: positions in percent with labels, up to eleven round times.
fn ticks(total: Duration) -> Vec<(f64, String)> {
    let total = total.as_secs_f64();
    let steps =
        [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
    let step = steps.into_iter().find(|step| total / step <= 10.0).unwrap_or(7200.0);
    let text = |time: f64| match time {
        0.0 => "0".to_owned(),
        _ if step < 1.0 => format!("{time:.2} s"),
        _ if step < 60.0 && total < 120.0 => format!("{time:.0} s"),
        _ => format!("{}:{:02}", (time / 60.0).floor(), time % 60.0),
    };
    let times = (0..=10).map(|number| f64::from(number) * step).take_while(|time| *time <= total);
    times.map(|time| (if total > 0.0 { 100.0 * time / total } else { 0.0 }, text(time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, start: u64, end: u64) -> Span {
        Span {
            lane: Lane::Build,
            phase: Phase::Connect,
            name: name.to_owned(),
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
            bytes: None,
        }
    }

    #[test]
    fn bars_in_a_row_do_not_overlap() {
        // A hundred spans of all lengths, some of them at the end.
        let spans: Vec<Span> = (0..100_u64)
            .map(|number| {
                let start = number * 7919 % 10_000;
                let end = (start + number * number % 3000).min(10_000);
                span(&format!("step {number} of the build"), start, end)
            })
            .collect();
        let total = Duration::from_secs(10);
        let rows = rows(spans.iter().map(|span| Bar::new(span, total)).collect());
        assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), 100);
        for row in &rows {
            for (one, next) in row.iter().zip(row.iter().skip(1)) {
                assert!(one.extent().1 <= next.extent().0, "{one:?} and {next:?}");
            }
            for bar in row {
                let (start, end) = bar.extent();
                assert!(start >= 0.0 && end <= WIDTH + 1e-6, "{bar:?}");
            }
        }
    }

    #[test]
    fn labels_are_placed_where_there_is_room() {
        let total = Duration::from_secs(10);
        let place = |start, end| Bar::new(&span("connect", start, end), total).place;
        assert_eq!(place(0, 5_000), Place::Inside);
        assert_eq!(place(0, 100), Place::After);
        assert_eq!(place(9_900, 10_000), Place::Before);
        let long = "a name that is too long to stand anywhere, and that means anywhere";
        let one = span(long, 0, 20);
        let bar = Bar::new(&one, total);
        assert!(bar.label.chars().count() < 60 && bar.label.contains('…'), "{}", bar.label);
    }

    #[test]
    fn the_axis_has_round_times() {
        let texts = |seconds: f64| -> Vec<String> {
            ticks(Duration::from_secs_f64(seconds)).into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(
            texts(0.47),
            ["0", "0.05 s", "0.10 s", "0.15 s", "0.20 s", "0.25 s", "0.30 s", "0.35 s", "0.40 s", "0.45 s"]
        );
        assert_eq!(texts(6.4), ["0", "1 s", "2 s", "3 s", "4 s", "5 s", "6 s"]);
        assert_eq!(texts(150.0)[..3], ["0", "0:15", "0:30"]);
        assert_eq!(texts(0.0), ["0"]);
    }
}
