//! Condensed log of BuildKit: steps that run or fail, without cached steps.
//!
//! A build of four images has a hundred steps, of which an edit runs three. BuildKit's own display lists all
//! of them; this one shows a step when it prints output, and again when it took long. Verbose mode shows the
//! whole log. The steps are also recorded in the [timeline](crate::timeline).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::process::LineFilter;
use crate::timeline::{self, Lane, Phase};

/// Duration in seconds from which a finished step gets a line.
const LONG_SECONDS: f32 = 3.0;

/// Returns a filter for the log of one `docker buildx … --progress=plain`. It calls `stored` with name and
/// manifest digest of each image that the store has received.
pub(super) fn condense(mut stored: impl FnMut(&str, &str) + 'static) -> LineFilter {
    let mut steps = Steps::default();
    let mut stored_images = StoredImages::default();
    let mut log = Log::default();
    Box::new(move |line| {
        if let Some((name, digest)) = stored_images.line(line) {
            stored(name, digest);
        }
        match steps.line(line) {
            Some(Ended::Ran(title, took)) => timeline::ended(Lane::Build, Phase::Build, title, took),
            Some(Ended::Cached) => timeline::cached_step(),
            None => {}
        }
        if crate::mode::verbose() {
            return vec![line.to_owned()];
        }
        log.line(line).into_iter().collect()
    })
}

/// End of a step.
#[derive(Debug, PartialEq)]
enum Ended {
    /// It ran, successfully or not: title and duration.
    Ran(String, Duration),
    Cached,
}

/// Parser for the ends of steps.
///
/// BuildKit prints the end of a step at once, with its duration. It may print the beginning late, after the
/// lines of another step.
#[derive(Default)]
struct Steps {
    /// Title, time of the first line, and duration recorded so far, by number.
    steps: BTreeMap<String, (String, Instant, Duration)>,
}

impl Steps {
    fn line(&mut self, line: &str) -> Option<Ended> {
        let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
        let Some((title, seen, recorded)) = self.steps.get_mut(number) else {
            let name = rest.strip_prefix('[').and_then(title);
            let name = name.unwrap_or_else(|| plain(rest));
            self.steps.insert(number.to_owned(), (name, Instant::now(), Duration::ZERO));
            return None;
        };
        if rest == "CACHED" {
            return Some(Ended::Cached);
        }
        let took = match rest.strip_prefix("DONE ") {
            Some(time) => Duration::try_from_secs_f32(time.strip_suffix('s')?.parse().ok()?).ok()?,
            None if rest.starts_with("ERROR") || rest.starts_with("CANCELED") => seen.elapsed(),
            None => return None,
        };
        // A step may end several times, for example a transfer: the duration printed is the total.
        let more = took.saturating_sub(*recorded);
        *recorded = took;
        (more > Duration::ZERO).then(|| Ended::Ran(title.clone(), more))
    }
}

/// Parser for images that the store has received. They can be pushed from then on, while BuildKit still
/// unpacks them.
#[derive(Default)]
struct StoredImages {
    /// Digests of manifests, by the number of the exporting step.
    manifests: BTreeMap<String, String>,
}

impl StoredImages {
    /// Name and manifest digest of an image that the store has received, if `line` reports one.
    fn line<'a>(&'a mut self, line: &'a str) -> Option<(&'a str, &'a str)> {
        let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
        if let Some(digest) = rest.strip_prefix("exporting manifest ") {
            let digest = digest.split(' ').next()?;
            self.manifests.insert(number.to_owned(), digest.to_owned());
            return None;
        }
        // A duration may stand between name and `done`.
        let name = rest.strip_prefix("naming to ")?.strip_suffix(" done")?.split(' ').next()?;
        Some((name.strip_prefix("docker.io/library/").unwrap_or(name), self.manifests.get(number)?))
    }
}

#[derive(Default)]
struct Log {
    /// Steps by their number.
    titles: BTreeMap<String, String>,
    announced: BTreeSet<String>,
    failed: bool,
}

impl Log {
    fn line(&mut self, line: &str) -> Option<String> {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
            // Lines outside of steps explain the failure of a step.
            self.failed |= line.starts_with("----") || line.starts_with("ERROR");
            return self.failed.then(|| line.to_owned());
        };
        if rest.starts_with("ERROR") {
            return Some(format!("{}: {rest}", self.titles.get(number).map_or("", String::as_str)));
        }
        if let Some(title) = rest.strip_prefix('[').and_then(title) {
            self.titles.insert(number.to_owned(), title);
            return None;
        }
        let title = self.titles.get(number)?;
        let seconds = rest.strip_prefix("DONE ").and_then(|time| time.strip_suffix('s')?.parse::<f32>().ok());
        match seconds {
            Some(seconds) if seconds >= LONG_SECONDS => Some(format!("{title}: {seconds:.0} s")),
            Some(_) => None,
            // Lines of the step's own output begin with the seconds since its start.
            None if rest.starts_with(|first: char| first.is_ascii_digit()) => {
                self.announced.insert(number.to_owned()).then(|| title.clone())
            }
            None => None,
        }
    }
}

/// Title for the timeline of a step without a stage: `[internal] load build definition`, `exporting to
/// image`.
fn plain(rest: &str) -> String {
    let text = rest.strip_prefix('[').unwrap_or(rest).replacen("] ", ": ", 1);
    text.chars().take(80).collect()
}

/// Title of a step with a stage: `[navigation build-navigation 2/2] RUN --mount=… build-package navigation`
/// becomes `build-navigation: RUN build-package navigation`. `None` for internal steps.
fn title(rest: &str) -> Option<String> {
    let (stage, command) = rest.split_once("] ")?;
    let words: Vec<&str> = stage.split_whitespace().collect();
    if words.contains(&"internal") || words.contains(&"context") {
        return None;
    }
    let stage = words.iter().rev().nth(1).copied().unwrap_or(stage);
    let command: Vec<&str> = command.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let short: String = command.join(" ").chars().take(80).collect();
    Some(format!("{stage}: {short}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    fn condensed(text: &str) -> Vec<String> {
        let mut log = Log::default();
        text.lines().filter_map(|line| log.line(line)).collect()
    }

    #[test]
    fn fuzzed_logs_of_builds_are_shown() {
        let log = b"#5 [camera build-camera 2/2] RUN build-package camera\n#5 0.123 compiling\n#5 DONE 12.5s\n\
            #6 exporting to image\n#6 exporting manifest sha256:aa 0.1s done\n#6 naming to docker.io/library/a:b 0.0s done\n\
            #7 CACHED\n#5 ERROR: exit code: 3\n------\nERROR: failed";
        fuzz("build log", 1_000, &[log], |bytes| {
            let mut filter = condense(|_, _| ());
            for line in text(bytes).lines() {
                drop(filter(line));
            }
        });
    }

    #[test]
    fn cached_steps_are_not_shown() {
        let text = "#0 building with \"default\" instance using docker driver\n\
                    #1 [internal] load local bake definitions\n#1 DONE 0.0s\n\
                    #2 [navigation context docker] load from client\n#2 transferring docker: 63B 0.1s done\n\
                    #3 [navigation build-tools 2/4] RUN install-wheels\n#3 CACHED\n\
                    #4 exporting to image\n#4 DONE 0.2s";
        assert_eq!(condensed(text), [""; 0]);
    }

    #[test]
    fn a_step_is_shown_once_and_again_when_it_took_long() {
        let text = "#5 [navigation build-navigation 2/2] RUN --mount=type=cache,target=/ws build-package navigation\n\
                    #5 0.310 Starting\n#5 1.200 Finished\n#5 DONE 12.6s";
        let title = "build-navigation: RUN build-package navigation";
        assert_eq!(condensed(text), [title.to_owned(), format!("{title}: 13 s")]);
    }

    #[test]
    fn steps_are_recorded_as_they_end() {
        let text = "#1 [internal] load build definition\n#1 DONE 0.0s\n\
                    #3 [navigation build-tools 2/4] RUN install-wheels\n#3 CACHED\n\
                    #5 [navigation build-navigation 2/2] RUN --mount=type=cache build-package navigation\n\
                    #6 [camera] exporting to image\n#5 0.310 Starting\n#6 DONE 0.5s\n\
                    #6 [camera] exporting to image\n#6 DONE 0.7s\n#5 DONE 12.5s\n\
                    #7 [camera build-camera 1/1] RUN false\n#7 ERROR: exit code: 1";
        let mut steps = Steps::default();
        let ended: Vec<Ended> = text.lines().filter_map(|line| steps.line(line)).collect();
        let ran = |title: &str, millis| Ended::Ran(title.to_owned(), Duration::from_millis(millis));
        let seconds = |ended: &Ended| match ended {
            Ended::Ran(title, took) => ran(title, (took.as_secs_f32() * 10.0).round() as u64 * 100),
            Ended::Cached => Ended::Cached,
        };
        assert_eq!(
            ended.iter().map(seconds).collect::<Vec<_>>(),
            [
                Ended::Cached,
                ran("camera: exporting to image", 500),
                ran("camera: exporting to image", 200),
                ran("build-navigation: RUN build-package navigation", 12_500),
                ran("build-camera: RUN false", 0),
            ]
        );
    }

    #[test]
    fn images_are_reported_when_the_store_has_them() {
        let text = "#6 [lidar] exporting to image\n#6 exporting layers 8.4s done\n\
                    #6 exporting manifest sha256:3e9c 0.0s done\n#6 exporting config sha256:549c done\n\
                    #7 [camera] exporting to image\n#7 exporting manifest sha256:aaaa done\n\
                    #6 naming to docker.io/library/bench:lidar done\n#6 unpacking to docker.io/library/bench:lidar\n\
                    #7 naming to docker.io/library/bench:camera\n#7 naming to docker.io/library/bench:camera 0.1s done\n\
                    #8 naming to docker.io/library/bench:x done";
        let mut images = StoredImages::default();
        let owned = |(name, digest): (&str, &str)| (name.to_owned(), digest.to_owned());
        let reported: Vec<(String, String)> =
            text.lines().filter_map(|line| images.line(line).map(owned)).collect();
        let expected = [("bench:lidar", "sha256:3e9c"), ("bench:camera", "sha256:aaaa")];
        assert_eq!(reported, expected.map(owned));
    }

    #[test]
    fn failures_are_shown_with_their_explanation() {
        let text = "#5 [build-navigation 2/2] RUN build-package navigation\n\
                    #5 ERROR: process \"/bin/sh\" did not complete successfully: exit code: 1\n\
                    ------\n > [build-navigation 2/2] RUN build-package navigation:\n\
                    0.810 core.cpp:12: error: expected ';'\n------\nERROR: failed to solve";
        let lines = condensed(text);
        assert_eq!(lines.len(), 6);
        assert!(lines[0].starts_with("build-navigation: RUN build-package navigation: ERROR"));
        assert!(lines.iter().any(|line| line.contains("expected ';'")));
    }
}
