//! BuildKit's plain log, condensed: what is really being done and what fails, not what is remembered.
//!
//! A build of four images is a hundred steps, of which an edit runs three. BuildKit's own display lists all
//! of them; this one shows a step when it has something to say, and again when it took long. Verbose mode
//! shows BuildKit's log whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::process::{self, LineFilter};

/// Steps that took longer than this get a closing line.
const LONG_SECONDS: f32 = 3.0;

/// A filter for one run of `docker buildx … --progress=plain`.
pub fn condense() -> LineFilter {
    if process::mode().verbose {
        return Box::new(|line| vec![line.to_owned()]);
    }
    let mut log = Log::default();
    Box::new(move |line| log.line(line).into_iter().collect())
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
            // What is outside of steps explains the failure of one.
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

/// `[navigation build-navigation 2/2] RUN --mount=… build-package navigation` without what people skip.
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

    fn condensed(text: &str) -> Vec<String> {
        let mut log = Log::default();
        text.lines().filter_map(|line| log.line(line)).collect()
    }

    #[test]
    fn what_is_remembered_is_not_shown() {
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
    fn failures_are_shown_with_all_that_explains_them() {
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
