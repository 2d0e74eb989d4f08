//! Condensed log of BuildKit: steps that run or fail, without cached steps.
//!
//! A build of four images has a hundred steps, of which an edit runs three. BuildKit's own display lists all
//! of them; this one shows a step when it prints output, and again when it took long. Verbose mode shows the
//! whole log. The steps are also recorded in the [timeline](crate::timeline).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;

use super::activity::Activity;
use super::dockerfile;
use super::failures::{Failed, Output, Paths, in_words};
use crate::process::{self, LineFilter};
use crate::timeline::{self, Lane, Phase};

/// Duration in seconds from which a finished step gets a line.
const LONG_SECONDS: f32 = 3.0;

/// Knowledge about a build that its log lacks, and places for what it tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    pub paths: Paths,
    pub failed: Failed,
    /// File for the whole log.
    pub file: Option<Utf8PathBuf>,
}

/// Returns a filter for the log of one `docker buildx … --progress=plain`. It calls `stored` with name and
/// manifest digest of each image that the store has received.
pub(super) fn condense(watch: Watch, mut stored: impl FnMut(&str, &str) + 'static) -> LineFilter {
    let mut steps = Steps::default();
    let mut stored_images = StoredImages::default();
    // A log that cannot be written does not stop the build.
    let mut file = watch.file.as_ref().and_then(|file| fs_err::File::create(file).ok());
    let mut log = Log { watch, ..Log::default() };
    let mut activity = Activity::new();
    Box::new(move |line| {
        if let Some(file) = &mut file {
            writeln!(file, "{line}").ok();
        }
        if let Some((name, digest)) = stored_images.line(line) {
            stored(name, digest);
        }
        match steps.line(line) {
            Some(Ended::Ran(title, took)) => timeline::ended(Lane::Build, Phase::Build, title, took),
            Some(Ended::Cached) => timeline::cached_step(),
            None => {}
        }
        let lines = log.line(line);
        activity.line(line, log.title(line));
        if crate::mode::verbose() { vec![line.to_owned()] } else { lines }
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
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        Some((name.strip_prefix("library/").unwrap_or(name), self.manifests.get(number)?))
    }
}

#[derive(Default)]
struct Log {
    /// Steps by their number.
    titles: BTreeMap<String, String>,
    announced: BTreeSet<String>,
    /// Output of steps, by their number.
    outputs: BTreeMap<String, Output>,
    failed: bool,
    watch: Watch,
}

impl Log {
    /// Title of the Dockerfile's step that a line belongs to.
    fn title(&self, line: &str) -> Option<&str> {
        let (number, _) = line.strip_prefix('#')?.split_once(' ')?;
        self.titles.get(number).map(String::as_str)
    }

    fn line(&mut self, line: &str) -> Vec<String> {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
            // Lines outside of steps explain a failure of BuildKit itself; of a step they repeat the end.
            self.failed |= line.starts_with("----") || line.starts_with("ERROR");
            // BuildKit calls it an error that it was ended by a signal.
            let is_told = !self.watch.failed.lock().is_empty() || process::check_interrupted().is_err();
            return if self.failed && !is_told { vec![line.to_owned()] } else { Vec::new() };
        };
        if rest.starts_with("ERROR") {
            return self.failure(number, rest);
        }
        self.progress(number, rest).into_iter().collect()
    }

    /// The output of a step that has failed.
    fn failure(&mut self, number: &str, rest: &str) -> Vec<String> {
        let Some(title) = self.titles.get(number) else { return vec![rest.to_owned()] };
        let what = in_words(title);
        if self.watch.failed.lock().contains(&what) {
            return Vec::new();
        }
        let said = self.outputs.remove(number).unwrap_or_default().explanation(&self.watch.paths, title);
        let said = if said.is_empty() { vec![rest.to_owned()] } else { said };
        let lines = std::iter::once(format!("{what} failed:")).chain(said).collect();
        self.watch.failed.lock().push(what);
        lines
    }

    fn progress(&mut self, number: &str, rest: &str) -> Option<String> {
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
                self.outputs.entry(number.to_owned()).or_default().add(rest);
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
    let command = command.join(" ");
    let short: String = command.strip_suffix(dockerfile::MOVE).unwrap_or(&command).chars().take(80).collect();
    Some(format!("{stage}: {short}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{fuzz, text};

    fn condensed(text: &str) -> Vec<String> {
        let mut log = Log::default();
        text.lines().flat_map(|line| log.line(line)).collect()
    }

    #[test]
    fn fuzzed_logs_of_builds_are_shown() {
        let log = b"#5 [camera build-camera 2/2] RUN build-package camera\n#5 0.123 compiling\n#5 DONE 12.5s\n\
            #6 exporting to image\n#6 exporting manifest sha256:aa 0.1s done\n#6 naming to docker.io/library/a:b 0.0s done\n\
            #7 CACHED\n#5 ERROR: exit code: 3\n------\nERROR: failed";
        fuzz("build log", 1_000, &[log], |bytes| {
            let mut filter = condense(Watch::default(), |_, _| ());
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
        let text = "#5 [navigation build-navigation 2/2] RUN --mount=type=cache,target=/ws build-package navigation && mkdir /made && mv /out /made/\n\
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
        let error = "ERROR: process \"/bin/sh\" did not complete successfully: exit code: 1";
        assert_eq!(lines, ["building `navigation` failed:", error]);
        let text = text.replacen("\n#5 ERROR", "\n#5 0.810 core.cpp:12: error: expected ';'\n#5 ERROR", 1);
        let lines = condensed(&text);
        assert_eq!(lines[1..], ["building `navigation` failed:", "core.cpp:12: error: expected ';'"]);
        // BuildKit's own failures have no step.
        let lines = condensed("------\nERROR: failed to solve: lost");
        assert_eq!(lines, ["------", "ERROR: failed to solve: lost"]);
    }
}
