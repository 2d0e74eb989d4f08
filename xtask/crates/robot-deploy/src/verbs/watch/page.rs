//! The page that `watch` shows on a terminal: the last saves and what became of them, above the output of the present one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ui;

/// Number of earlier saves that are shown.
const SHOWN: usize = 5;

/// Earlier saves with their results.
#[derive(Debug, Default)]
pub(super) struct Page {
    earlier: VecDeque<String>,
    /// Files of the present save.
    present: String,
}

impl Page {
    /// Begins a new page for a save of some files, after some live edits since the last release.
    pub(super) fn begin(&mut self, files: String, live_edits: usize) {
        ui::new_page();
        self.earlier.iter().for_each(|line| ui::output("watch", line));
        let since = match live_edits {
            0 => String::new(),
            edits => format!("; {} since the last release", ui::count(edits, "live edit")),
        };
        ui::step("watch", &format!("{files} was saved{since}"));
        self.present = files;
    }

    /// Notes what became of the files saved last, after some time.
    pub(super) fn end(&mut self, result: &str, took: Duration) {
        let files = match &*self.present {
            "" => "all",
            files => files,
        };
        self.earlier.push_back(format!("{files}: {result} after {:.1} s", took.as_secs_f32()));
        if self.earlier.len() > SHOWN {
            self.earlier.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_last_saves() {
        let mut page = Page::default();
        page.end("deployed", Duration::from_millis(3_140));
        assert_eq!(page.earlier, ["all: deployed after 3.1 s"]);
        for number in 0..SHOWN {
            page.begin(format!("{number}.py"), number);
            page.end("live", Duration::from_secs(1));
        }
        assert_eq!((page.earlier.len(), &*page.earlier[0]), (SHOWN, "0.py: live after 1.0 s"));
    }
}
