//! The layout of a page in a browser: headless Chromium opens a copy of the page that measures itself.

use std::path::PathBuf;

use serde::Deserialize;

use super::shell::{command, succeeds};
use super::wait::eventually;

/// Runs at the end of the page and stores its measurements in the page, so that the DOM dump contains them.
const MEASURE: &str = include_str!("measure.js");

/// A rectangle, in pixels.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    /// Returns whether this rectangle contains the other one, within one pixel.
    pub fn holds(&self, other: Self) -> bool {
        self.left - 1.0 <= other.left
            && self.top - 1.0 <= other.top
            && self.right + 1.0 >= other.right
            && self.bottom + 1.0 >= other.bottom
    }

    /// Returns whether the rectangle is large enough to be visible.
    pub fn is_visible(&self) -> bool {
        self.right - self.left >= 2.0 && self.bottom - self.top >= 2.0
    }
}

/// A bar of the timeline.
#[derive(Clone, Debug, Deserialize)]
pub struct Bar {
    pub class: String,
    pub rect: Rect,
    pub colour: String,
    pub label: String,
    /// `None` if the label is not shown.
    pub label_rect: Option<Rect>,
    /// True if the label is on the bar.
    pub inside: bool,
}

/// A lane of the timeline.
#[derive(Clone, Debug, Deserialize)]
pub struct Lane {
    pub name: String,
    pub rect: Rect,
    pub rows: Vec<Vec<Bar>>,
}

/// A table: the texts of its cells, and its position.
#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    pub class: String,
    pub rect: Rect,
    pub rows: Vec<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// Width of the window, and of the content.
    pub window: f64,
    pub content: f64,
    pub facts: Vec<(String, String)>,
    pub failures: Vec<String>,
    pub legend: Vec<(String, String)>,
    pub ticks: Vec<Rect>,
    pub lanes: Vec<Lane>,
    pub tables: Vec<Table>,
}

impl Page {
    pub fn open(html: &str, width: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("e2e-browser-").tempdir().unwrap();
        let (file, profile) = (dir.path().join("page.html"), dir.path().join("profile"));
        let script = format!("<script>{MEASURE}</script></body>");
        std::fs::write(&file, html.replacen("</body>", &script, 1)).unwrap();
        let mut browser = command(&["timeout", "--kill-after=5", "60", &program()]);
        browser
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg("--disable-dev-shm-usage")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--window-size={width},1000"))
            .args(["--dump-dom".to_owned(), format!("file://{}", file.display())])
            // Files outside the profile also go to the temporary directory.
            .env("HOME", dir.path());
        let output = browser.output().unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        let measured =
            dom.split_once("<pre id=\"measured\">").and_then(|(_, rest)| rest.split_once("</pre>"));
        let Some((measured, _)) = measured else {
            panic!("{}: {}\n{dom}", output.status, String::from_utf8_lossy(&output.stderr))
        };
        let needle = profile.display().to_string();
        eventually("the browser's processes to end", || (!succeeds(&["pgrep", "-f", &needle])).then_some(()));
        serde_json::from_str(&unescape(measured)).unwrap()
    }

    pub fn table(&self, class: &str) -> &Table {
        let table = self.tables.iter().find(|table| table.class == class);
        table.unwrap_or_else(|| panic!("no table of {class}: {:?}", self.tables))
    }

    pub fn lane(&self, name: &str) -> &Lane {
        let lane = self.lanes.iter().find(|lane| lane.name == name);
        lane.unwrap_or_else(|| panic!("no lane of {name}: {:?}", self.lanes))
    }
}

impl Lane {
    /// Left edge of the first bar of a class.
    pub fn begin(&self, class: &str) -> f64 {
        let bars = self.rows.iter().flatten().filter(|bar| bar.class == class);
        let first = bars.map(|bar| bar.rect.left).min_by(f64::total_cmp);
        first.unwrap_or_else(|| panic!("no {class} in {self:?}"))
    }
}

fn program() -> String {
    let found = ["chromium", "chromium-browser"].into_iter().find_map(|name| which::which(name).ok());
    let found: PathBuf = found.expect("`cargo xtask test --only e2e --yes` installs Chromium");
    found.to_str().unwrap().to_owned()
}

/// Reverts the HTML escapes of a DOM dump.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
}
