//! Timeline of a run for `--timings`: spans of work in lanes, and the way in which each layer reached its
//! robot.
//!
//! A run has one global timeline, like its [`mode`](crate::process::mode): the build, the threads of robots
//! and the parser of BuildKit's log write to it at the same time. Without `--timings` nothing is recorded.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

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

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// The build, on this machine.
    Build,
    Robot(String),
}

impl Lane {
    pub(crate) fn robot(name: &str) -> Self {
        Self::Robot(name.to_owned())
    }
}

/// Kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// A whole build, from its first step to its last.
    Whole,
    /// A step of a build.
    Build,
    /// Connecting to a robot and inspecting it.
    Connect,
    /// Waiting for the build or another robot.
    Wait,
    /// Starting the robot's registry.
    Registry,
    /// Preparing layers for transfer: reading, delta encoding, compression.
    Prepare,
    /// Sending layers ahead of the push.
    Transfer,
    /// `docker push`.
    Push,
    /// Pulling from the robot's registry into its engine.
    Pull,
    /// Starting containers.
    Start,
}

/// Work with a start and an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub lane: Lane,
    pub phase: Phase,
    /// Text for the chart.
    pub name: String,
    /// Start, since the beginning of the run.
    pub start: Duration,
    /// End, since the beginning of the run.
    pub end: Duration,
    /// Bytes sent, if known.
    pub bytes: Option<u64>,
}

/// Transport of a layer to a robot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// None: the robot already had the layer.
    There,
    /// As a delta against a layer that the robot had.
    Patch {
        /// Digest of that layer.
        basis: String,
    },
    /// Compressed, ahead of the push.
    Whole,
    /// By `docker push`.
    Push,
}

/// Layer of a delivered image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub robot: String,
    /// Name of the image in `robots.toml`.
    pub image: String,
    pub digest: String,
    /// Instruction that created it, from the image's history.
    pub created_by: String,
    /// Size in bytes in the robot's registry.
    pub size: u64,
    pub sent: u64,
    pub how: Transport,
}

/// Snapshot of all records.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// Time at which the run began.
    pub wall_clock: SystemTime,
    /// Duration of the run so far.
    pub took: Duration,
    /// In the order in which they ended.
    pub spans: Vec<Span>,
    /// In the order in which they were delivered.
    pub layers: Vec<Layer>,
    /// Number of build steps that BuildKit had cached.
    pub cached_steps: usize,
    /// Robots that failed, with their errors.
    pub failures: Vec<(String, String)>,
}

/// Starts recording. A second call has no effect.
pub(crate) fn record() {
    let recorder =
        Recorder { began: Instant::now(), wall_clock: SystemTime::now(), events: Mutex::default() };
    drop(RECORDER.set(recorder));
}

/// Snapshot of the timeline, without spans that have not ended; `None` if [`record`] was not called.
pub(crate) fn recorded() -> Option<Timeline> {
    let recorder = RECORDER.get()?;
    let events = recorder.events.lock();
    Some(recorder.timeline(events.clone()))
}

/// Begins a span that ends when the guard is dropped.
pub(crate) fn span(lane: Lane, phase: Phase, name: impl Into<String>) -> Guard {
    Guard::new(RECORDER.get(), lane, phase, name.into())
}

/// Records a span that ends now and took `took`.
pub(crate) fn ended(lane: Lane, phase: Phase, name: impl Into<String>, took: Duration) {
    if let Some(recorder) = RECORDER.get() {
        recorder.add(lane, phase, name.into(), took);
    }
}

/// Records a delivered layer.
pub(crate) fn layer(layer: Layer) {
    if let Some(recorder) = RECORDER.get() {
        recorder.change(|events| events.layers.push(layer));
    }
}

/// Counts a build step that BuildKit had cached.
pub(crate) fn cached_step() {
    if let Some(recorder) = RECORDER.get() {
        recorder.change(|events| events.cached_steps += 1);
    }
}

pub(crate) fn failed(robot: &str, error: &anyhow::Error) {
    if let Some(recorder) = RECORDER.get() {
        recorder.change(|events| events.failures.push((robot.to_owned(), format!("{error:#}"))));
    }
}

impl Recorder {
    fn change<T>(&self, change: impl FnOnce(&mut Events) -> T) -> T {
        change(&mut self.events.lock())
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

/// Open span, which ends when the guard is dropped.
#[derive(Debug)]
#[must_use = "the span ends at once"]
pub(crate) struct Guard {
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

    /// Adds `bytes` to the bytes sent during the span.
    pub(crate) fn sent(&mut self, bytes: u64) {
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
    fn nothing_is_recorded_unless_requested() {
        let mut guard = Guard::new(None, Lane::Build, Phase::Build, String::new());
        guard.sent(1);
        assert!(guard.open.is_none());
    }
}
