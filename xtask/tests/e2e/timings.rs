//! `deploy --timings`: the page that it writes, as a browser shows it.

use super::harness::{Lab, MAIN, ODOMETRY, Page};

const FILE: &str = "target/xtask/timings.html";

/// Fails unless every bar is inside its lane, bars in a row do not touch, and labels are readable.
#[track_caller]
fn assert_tidy(page: &Page) {
    assert!(page.content <= page.window, "the page is {} wide in a window of {}", page.content, page.window);
    for pair in page.ticks.windows(2) {
        assert!(pair[0].right <= pair[1].left, "marks of the axis touch: {pair:?}");
    }
    for lane in &page.lanes {
        assert!(lane.rows.iter().all(|row| !row.is_empty()), "{lane:?}");
        let mut above = lane.rect.top;
        for row in &lane.rows {
            let mut free = lane.rect.left - 1.0;
            for bar in row {
                let label = bar.label_rect;
                assert!(bar.rect.is_visible() && lane.rect.holds(bar.rect), "{bar:?} in {:?}", lane.rect);
                assert!(label.is_none_or(|label| label.is_visible() && lane.rect.holds(label)), "{bar:?}");
                assert!(!bar.inside || label.is_some_and(|label| bar.rect.holds(label)), "{bar:?}");
                let begin = label.map_or(bar.rect.left, |label| label.left.min(bar.rect.left));
                assert!(begin >= free - 0.5, "{bar:?} begins before {free}, in {row:?}");
                free = label.map_or(bar.rect.right, |label| label.right.max(bar.rect.right));
                assert!(bar.rect.top >= above, "{bar:?} is in the row above");
                // The legend explains the colour.
                let explained = (bar.class.clone(), bar.colour.clone());
                assert!(page.legend.contains(&explained), "{explained:?} is not in {:?}", page.legend);
            }
            above = row[0].rect.bottom;
        }
    }
    for table in &page.tables {
        assert!(table.rect.is_visible() && !table.rows.is_empty(), "{table:?}");
    }
}

#[track_caller]
fn fact<'a>(page: &'a Page, name: &str) -> &'a str {
    let fact = page.facts.iter().find(|(each, _)| each == name);
    &fact.unwrap_or_else(|| panic!("{name} is not in {:?}", page.facts)).1
}

pub fn the_page_of_a_deploy_looks_right_in_a_browser(lab: &Lab) {
    let workspace = lab.deployed();
    // A unique edit, because steps built by an earlier run are not built again.
    let timed = format!("    half = turn / 2  # timed {:?}", std::time::SystemTime::now());
    workspace.edit(ODOMETRY, "    half = turn / 2", &timed);
    workspace.xtask(&["deploy", "--robot", "main", "--timings", "--yes"]).expect_exit(0).says(FILE);

    let html = workspace.read(FILE);
    for width in [1024, 1600] {
        let page = Page::open(&html, width);
        assert_tidy(&page);
        assert_eq!(page.lanes.iter().map(|lane| lane.name.as_str()).collect::<Vec<_>>(), ["build", "main"]);
        let main = page.lane("main");
        let begins = ["connect", "pull", "start"].map(|class| main.begin(class));
        assert!(begins.is_sorted(), "{begins:?}");
        let build = page.lane("build");
        let labels: Vec<&str> = build.rows.iter().flatten().map(|bar| bar.label.as_str()).collect();
        assert!(labels.iter().any(|label| label.starts_with("build-localization ")), "{labels:?}");
        assert!(build.begin("build") < main.begin("pull"), "what is built is delivered");

        assert_eq!(fact(&page, "outcome"), "done");
        assert!(fact(&page, "revision").ends_with("-dirty"), "{:?}", page.facts);
        let steps = page.table("steps");
        let built =
            |row: &Vec<String>| row[0].contains("build-package localization") && row[1].ends_with(" s");
        assert!(steps.rows.iter().any(built), "{steps:?}");
        let robots = page.table("robots");
        assert_eq!((robots.rows.len(), robots.rows[0][0].as_str()), (1, "main"));
        assert_eq!(fact(&page, "sent"), robots.rows[0][1]);
        // The only layer sent, the edited one, comes first.
        let layers = page.table("layers");
        assert_eq!(layers.rows.len(), MAIN.layers("localization").len());
        let sent = layers.rows.iter().filter(|row| row[3] != "already there").count();
        assert_eq!(sent, 1, "{layers:?}");
        assert!(layers.rows[0][0] == "localization" && layers.rows[0][4] != "0 B", "{layers:?}");
    }
}

pub fn a_deploy_that_fails_says_so_on_its_page(lab: &Lab) {
    let workspace = lab.deployed();
    // The page has the longest steps: this one takes longer than BuildKit's own.
    let broken = "set -eu\n[ \"$1\" != localization ] || { echo '<not today>'; sleep 2; exit 1; }";
    workspace.edit("docker/build-package", "set -eu", broken);
    workspace.xtask(&["deploy", "--robot", "main", "--timings", "failed.html", "--yes"]).expect_exit(1);

    let page = Page::open(&workspace.read("failed.html"), 1280);
    assert_tidy(&page);
    assert_eq!(fact(&page, "outcome"), "failed");
    assert_eq!(page.failures.len(), 1, "{:?}", page.failures);
    assert!(page.failures[0].contains("building `localization` failed"), "{:?}", page.failures);
    let steps = page.table("steps");
    assert!(steps.rows.iter().any(|row| row[0].contains("build-package localization")), "{steps:?}");
}
