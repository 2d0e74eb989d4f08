//! `--timings`: a self-contained HTML page that shows the time and the bytes that a deploy took.
//!
//! The page loads nothing and has no scripts: it opens on any computer, also offline.

mod chart;
mod html;
mod tables;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8Path;

use crate::delivery::Cost;
use crate::error::Result;
use crate::timeline::Timeline;
use crate::ui;

use html::{element, escape};

/// Content of the page beside the timeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    /// Subcommand: `deploy`.
    pub verb: String,
    pub project: String,
    /// Revision of the workspace, if any.
    pub revision: Option<String>,
    /// Cost of each delivery, by robot.
    pub robots: BTreeMap<String, Cost>,
    /// Error of the run, if it failed.
    pub failure: Option<String>,
}

pub(crate) fn write(path: &Utf8Path, subject: &Subject, timeline: &Timeline) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs_err::create_dir_all(dir)?;
    }
    // Not `files::replace`, whose files only their owner can read: the page is for everybody.
    Ok(fs_err::write(path, page(subject, timeline))?)
}

fn page(subject: &Subject, timeline: &Timeline) -> String {
    let title = format!("{} {}", subject.verb, subject.project);
    let body = [
        element("h1", "", &escape(&title)),
        failures(subject, timeline),
        facts(subject, timeline),
        chart::render(timeline),
        tables::render(subject, timeline),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{}\n</main>\n</body>\n</html>\n",
        escape(&title),
        include_str!("timings/page.css"),
        body.join("\n"),
    )
}

/// Failures, without duplicates.
fn failures(subject: &Subject, timeline: &Timeline) -> String {
    let mut texts: Vec<String> = Vec::new();
    if let Some(failure) = &subject.failure
        && timeline.failures.iter().all(|(_, why)| why != failure)
    {
        texts.push(failure.clone());
    }
    texts.extend(timeline.failures.iter().map(|(robot, why)| format!("{robot}: {why}")));
    texts.iter().map(|text| element("p", "failure", &escape(text))).collect()
}

/// Summary at the top of the page.
fn facts(subject: &Subject, timeline: &Timeline) -> String {
    let sum = |of: fn(&Cost) -> u64| ui::bytes(subject.robots.values().map(of).sum());
    let outcome = if subject.failure.is_some() { "failed" } else { "done" };
    let mut facts = vec![("total time", seconds(timeline.took))];
    if !subject.robots.is_empty() {
        facts.push(("sent", sum(|cost| cost.sent)));
        facts.push(("reused", sum(|cost| cost.bytes_reused)));
        facts.push(("all layers", sum(|cost| cost.layer_bytes)));
    }
    facts.push(("outcome", outcome.to_owned()));
    facts.push(("began", format!("{} UTC", ui::time(&ui::utc(timeline.wall_clock)))));
    if let Some(revision) = &subject.revision {
        facts.push(("revision", revision.clone()));
    }
    let fact = |(name, value): &(&str, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))
    };
    element("dl", "facts", &facts.iter().map(fact).collect::<String>())
}

/// `0.35 s`, `12.6 s`, `2:05 min`.
fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short @ 0.0..1.0 => format!("{short:.2} s"),
        middle @ 0.0..100.0 => format!("{middle:.1} s"),
        _ => format!("{}:{:02} min", time.as_secs() / 60, time.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::timeline::{Lane, Layer, Phase, Span, Transport};

    fn sample() -> (Subject, Timeline) {
        let span = |lane: Lane, phase, name: &str, start, end| Span {
            lane,
            phase,
            name: name.to_owned(),
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
            bytes: (phase == Phase::Push).then_some(89_000),
        };
        let main = || Lane::robot("main");
        let layer = |digest: &str, created_by: &str, size, sent, how| Layer {
            robot: "main".to_owned(),
            image: "navigation".to_owned(),
            digest: digest.to_owned(),
            created_by: created_by.to_owned(),
            size,
            sent,
            how,
        };
        let basis = "sha256:1111111111111111111111111111111111111111".to_owned();
        let timeline = Timeline {
            wall_clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_484_400),
            took: Duration::from_millis(6_400),
            spans: vec![
                span(Lane::Build, Phase::Build, "build-navigation: RUN a && b <c>", 300, 3_300),
                span(Lane::Build, Phase::Build, "navigation: exporting to image", 3_300, 3_900),
                span(main(), Phase::Connect, "connect", 0, 400),
                span(main(), Phase::Wait, "wait for the build", 400, 4_000),
                span(main(), Phase::Push, "push navigation", 4_200, 5_000),
                span(main(), Phase::Start, "start", 5_200, 6_300),
            ],
            layers: vec![
                layer(
                    "sha256:aaaaaaaaaaaaaaaa",
                    "COPY --link /out/ / # <b>",
                    2_000,
                    200,
                    Transport::Patch { basis },
                ),
                layer("sha256:bbbbbbbbbbbbbbbb", "RUN apt-get install", 4_000_000, 0, Transport::There),
                layer("sha256:cccccccccccccccc", "COPY node", 9_000, 8_000, Transport::Push),
            ],
            cached_steps: 31,
            failures: Vec::new(),
        };
        let cost = Cost { sent: 89_000, bytes_reused: 4_000_000, layer_bytes: 4_011_000, ..Cost::default() };
        let subject = Subject {
            verb: "deploy".to_owned(),
            project: "eurobot".to_owned(),
            revision: Some("0123abc".to_owned()),
            robots: BTreeMap::from([("main".to_owned(), cost)]),
            failure: None,
        };
        (subject, timeline)
    }

    #[test]
    fn the_page_shows_the_records_and_loads_nothing() {
        let (subject, timeline) = sample();
        let page = page(&subject, &timeline);
        for part in [
            "<dd>6.4 s</dd>",
            "<dd>89.0 kB</dd>",
            "<dd>4.0 MB</dd>",
            "<dd>0123abc</dd>",
            "<dd>2026-11-24 ",
            "RUN a &amp;&amp; b &lt;c&gt;",
            "31 were cached",
            "data-lane=\"main\"",
            "push navigation",
            "COPY --link /out/ / # &lt;b&gt;",
            "patch of 111111111111",
            "already there",
            "pushed",
        ] {
            assert!(page.contains(part), "{part} is missing in\n{page}");
        }
        for foreign in ["http:", "https:", "//", "<script", "url(", "@import", "src=", "<b>"] {
            assert!(!page.contains(foreign), "{foreign} in\n{page}");
        }
    }

    #[test]
    fn times_are_short() {
        assert_eq!(
            [350, 12_600, 125_000].map(|millis| seconds(Duration::from_millis(millis))),
            ["0.35 s", "12.6 s", "2:05 min"]
        );
    }

    #[test]
    fn a_failure_is_on_the_page_with_the_records_so_far() {
        let (mut subject, timeline) = sample();
        subject.failure = Some("push `navigation`: <gone>".to_owned());
        let failures = vec![("main".to_owned(), "push `navigation`: <gone>".to_owned())];
        let page = page(&subject, &Timeline { layers: Vec::new(), failures, ..timeline });
        assert!(page.contains("<p class=\"failure\">main: push `navigation`: &lt;gone&gt;</p>"), "{page}");
        assert_eq!(page.matches("class=\"failure\"").count(), 1, "{page}");
        assert!(page.contains("<dd>failed</dd>") && page.contains("push navigation"));
    }

    #[test]
    fn an_empty_timeline_makes_a_page_too() {
        let (subject, timeline) = sample();
        let empty = Timeline {
            took: Duration::ZERO,
            spans: Vec::new(),
            layers: Vec::new(),
            cached_steps: 0,
            ..timeline
        };
        let page = page(&subject, &empty);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
