//! What happened when, for those who ask for it (`--timings`): spans of work in lanes, and how each layer
//! came to its robot.
//!
//! The whole run has one timeline, as it has one [`mode`](crate::process::mode): builds, robots in threads of
//! their own and BuildKit's log write to it at the same time. Where nobody has asked, nothing is kept.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

static RECORDER: OnceLock<Recorder> = OnceLock::new();

#[derive(Debug)]
struct Recorder {
    began: Instant,
    wall_clock: SystemTime,
    events: Mutex<Events>,
}

#[derive(Clone, Debug, Default)]
struct Events {
    spans: Vec<Span>,
    layers: Vec<Layer>,
    cached_steps: usize,
    failures: Vec<(String, String)>,
}

/// Whose time it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The build, on this machine.
    Build,
    /// A robot, by its name.
    Robot(String),
}

impl Lane {
    /// The lane of a robot.
    pub fn robot(name: &str) -> Self {
        Self::Robot(name.to_owned())
    }
}

/// What kind of work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// All of a build, from its first step to its last.
    Whole,
    /// A step of a build.
    Build,
    /// Reaching a robot and looking at what is there.
    Connect,
    /// Having nothing to do before somebody else is done.
    Wait,
    /// Making the robot's registry ready.
    Registry,
    /// Making what shall travel: reading layers, patches, compression.
    Prepare,
    /// Sending layers ahead of the push.
    Transfer,
    /// `docker push`.
    Push,
    /// From the robot's registry into its engine.
    Pull,
    /// Bringing containers up.
    Start,
}

/// Something that took its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whose time.
    pub lane: Lane,
    /// What kind of work.
    pub phase: Phase,
    /// What it was, for people.
    pub name: String,
    /// When, since the beginning of the run.
    pub start: Duration,
    /// When it ended, since the beginning of the run.
    pub end: Duration,
    /// Bytes that travelled in the course of it, where that is known.
    pub bytes: Option<u64>,
}

/// How a layer came to be on a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// It was there.
    There,
    /// As a patch of a layer that was there.
    Patch {
        /// The digest of that layer.
        basis: String,
    },
    /// Compressed, ahead of the push.
    Whole,
    /// By `docker push`.
    Push,
}

/// A layer of an image that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The robot.
    pub robot: String,
    /// The image, by its name in `robots.toml`.
    pub image: String,
    /// The digest of the layer.
    pub digest: String,
    /// The instruction that made it, from the image's history.
    pub created_by: String,
    /// Bytes of the layer as the robot's registry has it.
    pub size: u64,
    /// Bytes that travelled for it.
    pub sent: u64,
    /// How it came.
    pub how: Transport,
}

/// All that was recorded up to now.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// When the run began, by the clock on the wall.
    pub wall_clock: SystemTime,
    /// How long it has taken up to now.
    pub took: Duration,
    /// In the order in which they ended.
    pub spans: Vec<Span>,
    /// In the order in which they were delivered.
    pub layers: Vec<Layer>,
    /// Build steps that had been done before.
    pub cached_steps: usize,
    /// Robots that failed, and why.
    pub failures: Vec<(String, String)>,
}

/// Begins to record. A second call changes nothing.
pub fn record() {
    let recorder =
        Recorder { began: Instant::now(), wall_clock: SystemTime::now(), events: Mutex::default() };
    drop(RECORDER.set(recorder));
}

/// What was recorded up to now; none where nobody has asked for it. A span is in it once it has ended.
pub fn recorded() -> Option<Timeline> {
    let recorder = RECORDER.get()?;
    let events = recorder.events.lock().unwrap_or_else(PoisonError::into_inner);
    Some(recorder.timeline(events.clone()))
}

/// A span that begins now and ends when the guard is dropped.
pub fn span(lane: Lane, phase: Phase, name: impl Into<String>) -> Guard {
    Guard::new(RECORDER.get(), lane, phase, name.into())
}

/// A span that has ended now, after it took so long.
pub fn ended(lane: Lane, phase: Phase, name: impl Into<String>, took: Duration) {
    if let Some(recorder) = RECORDER.get() {
        recorder.add(lane, phase, name.into(), took);
    }
}

/// Notes how a layer came to its robot.
pub fn layer(layer: Layer) {
    if let Some(recorder) = RECORDER.get() {
        recorder.change(|events| events.layers.push(layer));
    }
}

/// Notes a build step whose result BuildKit had.
pub fn cached_step() {
    if let Some(recorder) = RECORDER.get() {
        recorder.change(|events| events.cached_steps += 1);
    }
}

/// Notes that a robot failed.
pub fn failed(robot: &str, error: &anyhow::Error) {
    if let Some(recorder) = RECORDER.get() {
        recorder.change(|events| events.failures.push((robot.to_owned(), format!("{error:#}"))));
    }
}

impl Recorder {
    fn change<T>(&self, change: impl FnOnce(&mut Events) -> T) -> T {
        change(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, lane: Lane, phase: Phase, name: String, took: Duration) {
        let end = self.began.elapsed();
        let span = Span { lane, phase, name, start: end.saturating_sub(took), end, bytes: None };
        self.change(|events| events.spans.push(span));
    }

    fn timeline(&self, events: Events) -> Timeline {
        let Events { spans, layers, cached_steps, failures } = events;
        let (wall_clock, took) = (self.wall_clock, self.began.elapsed());
        Timeline { wall_clock, took, spans, layers, cached_steps, failures }
    }
}

/// A span that has not ended: it does when this is dropped.
#[derive(Debug)]
#[must_use = "the span ends at once"]
pub struct Guard {
    open: Option<(&'static Recorder, Span)>,
}

impl Guard {
    fn new(recorder: Option<&'static Recorder>, lane: Lane, phase: Phase, name: String) -> Self {
        let open = recorder.map(|recorder| {
            let start = recorder.began.elapsed();
            (recorder, Span { lane, phase, name, start, end: start, bytes: None })
        });
        Self { open }
    }

    /// Notes that so many bytes travelled in the course of it.
    pub fn sent(&mut self, bytes: u64) {
        if let Some((_, span)) = &mut self.open {
            *span.bytes.get_or_insert(0) += bytes;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((recorder, mut span)) = self.open.take() {
            span.end = recorder.began.elapsed();
            recorder.change(|events| events.spans.push(span));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_end_with_their_guards_and_carry_what_was_sent() {
        let recorder =
            Recorder { began: Instant::now(), wall_clock: SystemTime::UNIX_EPOCH, events: Mutex::default() };
        let recorder: &'static Recorder = Box::leak(Box::new(recorder));
        let mut push = Guard::new(Some(recorder), Lane::robot("main"), Phase::Push, "navigation".to_owned());
        push.sent(3);
        push.sent(4);
        drop(Guard::new(Some(recorder), Lane::robot("main"), Phase::Start, "start".to_owned()));
        drop(push);
        recorder.add(Lane::Build, Phase::Build, "longer than the run".to_owned(), Duration::from_secs(60));
        let timeline = recorder.timeline(recorder.change(|events| events.clone()));

        let seen: Vec<_> = timeline.spans.iter().map(|span| (span.name.as_str(), span.bytes)).collect();
        assert_eq!(seen, [("start", None), ("navigation", Some(7)), ("longer than the run", None)]);
        assert!(timeline.spans[1].start <= timeline.spans[0].start);
        assert!(timeline.spans[1].end >= timeline.spans[0].end);
        assert_eq!(timeline.spans[2].start, Duration::ZERO);
        assert!(timeline.spans.iter().all(|span| span.end <= timeline.took));
    }

    #[test]
    fn nothing_is_kept_where_nobody_asks() {
        let mut guard = Guard::new(None, Lane::Build, Phase::Build, String::new());
        guard.sent(1);
        assert!(guard.open.is_none());
    }
}
