//! The page that `watch` shows on a terminal: the last saves and what became of them, above the output of the present one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ui;

/// Number of earlier saves that are shown.
const SHOWN: usize = 5;

/// Earlier saves, and the number of live edits since the last release.
#[derive(Debug, Default)]
pub(super) struct Page {
    earlier: VecDeque<String>,
    live_edits: usize,
    /// Files of the present save.
    present: String,
}

/// Result of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    Release,
    LiveEdit,
    Undone,
    Failed,
}

impl Page {
    /// Begins a new page for a save of some files.
    pub(super) fn begin(&mut self, files: String) {
        ui::new_page();
        self.earlier.iter().for_each(|line| ui::output("watch", line));
        ui::step("watch", &format!("{files} was saved{}", self.since_release()));
        self.present = files;
    }

    /// Notes what became of the files saved last, after some time.
    pub(super) fn end(&mut self, became: Became, took: Duration) {
        let result = match became {
            Became::Release => "deployed",
            Became::LiveEdit => "live",
            Became::Undone => "undone",
            Became::Failed => "failed",
        };
        match became {
            Became::Release => self.live_edits = 0,
            Became::LiveEdit => self.live_edits += 1,
            Became::Undone | Became::Failed => {}
        }
        let files = match &*self.present {
            "" => "all",
            files => files,
        };
        self.earlier.push_back(format!("{files}: {result} after {:.1} s", took.as_secs_f32()));
        if self.earlier.len() > SHOWN {
            self.earlier.pop_front();
        }
    }

    /// Tells what runs, if that is no release.
    fn since_release(&self) -> String {
        match self.live_edits {
            0 => String::new(),
            count => format!("; {} since the last release", ui::count(count, "live edit")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_last_saves_and_counts_live_edits_since_the_release() {
        let mut page = Page::default();
        page.end(Became::Release, Duration::from_millis(3_140));
        assert_eq!(page.earlier, ["all: deployed after 3.1 s"]);
        for number in 0..SHOWN {
            page.begin(format!("{number}.py"));
            page.end(if number == 1 { Became::Undone } else { Became::LiveEdit }, Duration::from_secs(1));
        }
        assert_eq!(
            (page.earlier.len(), page.since_release()),
            (SHOWN, "; 4 live edits since the last release".to_owned())
        );
        assert_eq!(page.earlier[1], "1.py: undone after 1.0 s");
        page.end(Became::Release, Duration::ZERO);
        assert_eq!(page.since_release(), "");
    }
}
