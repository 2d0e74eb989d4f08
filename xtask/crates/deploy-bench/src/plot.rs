//! The plot: a self-contained SVG without scripts or external fonts, readable on light and dark pages. Both
//! scales are logarithmic, because seconds and minutes have to fit on one.

use std::fmt::Write as _;

use super::report::{ratio, seconds};
use robot_deploy::ui;

/// Data of the plot.
#[derive(Debug, Default)]
pub struct Chart {
    pub title: String,
    /// Names of the series, one colour each; the others are compared with the first.
    pub series: Vec<String>,
    pub groups: Vec<Group>,
    /// Legend of the mark among the bytes.
    pub floor: String,
    /// Text below the plot: the source of the figures.
    pub note: String,
}

/// One case.
#[derive(Debug)]
pub struct Group {
    pub title: String,
    /// Small text below the title.
    pub subtitle: String,
    pub bars: Vec<Bar>,
    /// Number of bytes that is marked.
    pub floor: Option<u64>,
}

impl Group {
    /// Height of the group, enough for its title and subtitle.
    #[expect(clippy::cast_precision_loss, reason = "a few bars")]
    fn height(&self) -> f64 {
        (self.bars.len() as f64 * STEP).max(30.0)
    }
}

/// One method in a case.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Index of the chart's series.
    pub series: usize,
    pub seconds: f64,
    pub bytes: u64,
}

/// Colours of the series in order, visible on white and on black.
const COLOURS: [&str; 4] = ["#2f81f7", "#d29922", "#a371f7", "#57ab5a"];

/// Grey for all text, with a contrast of 4.5:1 on white and on GitHub's dark background.
const INK: &str = "#747c86";

/// Colour of the mark among the bars, visible on all their colours.
const MARK: &str = "#e5534b";

const WIDTH: f64 = 880.0;
const BAR: f64 = 15.0;
const STEP: f64 = 20.0;
const GROUP_GAP: f64 = 16.0;
const TOP: f64 = 112.0;
const MARGIN: f64 = 20.0;

/// One of the two halves of the plot.
struct Panel {
    title: &'static str,
    left: f64,
    /// Maximum width of bars; the labels follow the bars.
    width: f64,
    value: fn(&Bar) -> f64,
    /// Value that is marked in a group.
    floor: fn(&Group) -> Option<f64>,
    label: fn(f64) -> String,
}

#[expect(clippy::cast_precision_loss, reason = "bytes on a logarithmic scale")]
const PANELS: [Panel; 2] = [
    Panel {
        title: "seconds",
        left: 150.0,
        width: 230.0,
        value: |bar| bar.seconds,
        floor: |_| None,
        label: seconds,
    },
    Panel {
        title: "bytes on the wire",
        left: 520.0,
        width: 220.0,
        value: |bar| bar.bytes as f64,
        floor: |group| group.floor.map(|bytes| bytes as f64),
        label: size,
    },
];

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
fn size(bytes: f64) -> String {
    let text = ui::bytes(bytes as u64);
    // Three digits are enough here.
    match text.split_once('.') {
        Some((whole, rest)) if whole.len() > 2 => {
            format!("{whole} {}", rest.split_once(' ').map_or("", |(_, unit)| unit))
        }
        _ => text,
    }
}

/// A logarithmic scale that begins below the smallest value, so that every bar is visible.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let (least, most) =
            positive.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        if least > most {
            return Self { low: 0.0, high: 1.0 };
        }
        let low = (least / 1.5).log10().floor();
        Self { low, high: most.log10().max(low + 1.0) }
    }

    /// Position of a value, from 0 to 1.
    fn position(&self, value: f64) -> f64 {
        ((value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Powers of ten on the scale.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let high = self.high;
        std::iter::successors(Some(self.low), |power| Some(power + 1.0))
            .take_while(move |power| *power <= high)
            .map(|power| 10_f64.powf(power))
    }
}

/// Renders the chart as SVG.
pub fn render(chart: &Chart) -> String {
    let bottom = TOP + chart.groups.iter().map(|group| group.height() + GROUP_GAP).sum::<f64>();
    let height = bottom + 34.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\" \
         font-size=\"13\" fill=\"{INK}\">\n<title>{}</title>\n",
        escape(&chart.title),
    );
    text(&mut svg, MARGIN, 30.0, "font-size=\"17\" font-weight=\"600\"", &chart.title);
    legend(&mut svg, chart);
    for panel in &PANELS {
        let bars = chart.groups.iter().flat_map(|group| &group.bars).map(panel.value);
        let floors = chart.groups.iter().filter_map(|group| (panel.floor)(group));
        let scale = Scale::over(bars.chain(floors));
        axis(&mut svg, panel, &scale, bottom);
        draw(&mut svg, panel, &scale, chart);
    }
    let mut y = TOP;
    for group in &chart.groups {
        let (right, middle) = (PANELS[0].left - 12.0, y + group.height() / 2.0 - 3.0);
        text(&mut svg, right, middle, "text-anchor=\"end\" font-weight=\"600\"", &group.title);
        text(&mut svg, right, middle + 14.0, "text-anchor=\"end\" font-size=\"11\"", &group.subtitle);
        y += group.height() + GROUP_GAP;
    }
    text(&mut svg, MARGIN, height - 12.0, "font-size=\"11\"", &chart.note);
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, chart: &Chart) {
    let mut x = MARGIN;
    for (number, series) in chart.series.iter().enumerate() {
        rect(svg, [x, 46.0, 12.0, 12.0], COLOURS[number % COLOURS.len()]);
        text(svg, x + 18.0, 57.0, "", series);
        #[expect(clippy::cast_precision_loss, reason = "a short name")]
        let wide = series.chars().count() as f64 * 7.2;
        x += wide + 44.0;
    }
    if chart.groups.iter().any(|group| group.floor.is_some()) {
        mark(svg, x + 6.0, 45.0, 59.0);
        text(svg, x + 18.0, 57.0, "", &chart.floor);
    }
}

fn axis(svg: &mut String, panel: &Panel, scale: &Scale, bottom: f64) {
    text(svg, panel.left, TOP - 26.0, "font-weight=\"600\"", panel.title);
    for tick in scale.ticks() {
        let x = panel.left + panel.width * scale.position(tick);
        line(
            svg,
            &format!(
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.35\"/>",
                TOP - 6.0,
                bottom - GROUP_GAP + 2.0
            ),
        );
        text(svg, x, TOP - 10.0, "text-anchor=\"middle\" font-size=\"10\"", &short(panel, tick));
    }
}

/// Label of a power of ten, without decimals.
fn short(panel: &Panel, tick: f64) -> String {
    let label = if tick < 1.0 { format!("{tick} s") } else { (panel.label)(tick) };
    label.replace(".00 ", " ").replace(".0 ", " ")
}

fn draw(svg: &mut String, panel: &Panel, scale: &Scale, chart: &Chart) {
    let mut y = TOP;
    for group in &chart.groups {
        let top = y;
        let reference = group.bars.iter().find(|bar| bar.series == 0).map(panel.value);
        for bar in &group.bars {
            let value = (panel.value)(bar);
            let wide = (panel.width * scale.position(value)).max(1.0);
            rect(svg, [panel.left, y, wide, BAR], COLOURS[bar.series % COLOURS.len()]);
            let times = match reference.filter(|_| bar.series != 0) {
                Some(reference) => format!("  {}", ratio(value, reference)),
                None => String::new(),
            };
            let label = (panel.label)(value);
            let weight = if bar.series == 0 { "font-weight=\"600\"" } else { "" };
            text(svg, panel.left + wide + 6.0, y + 12.0, weight, &format!("{label}{times}"));
            y += STEP;
        }
        y = top + group.height() + GROUP_GAP;
        if let Some(floor) = (panel.floor)(group) {
            let x = panel.left + panel.width * scale.position(floor);
            mark(svg, x, top - 3.0, y - GROUP_GAP);
        }
    }
}

fn mark(svg: &mut String, x: f64, top: f64, bottom: f64) {
    line(
        svg,
        &format!(
            "<line x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"{MARK}\" stroke-width=\"3\"/>"
        ),
    );
}

fn rect(svg: &mut String, [x, y, width, height]: [f64; 4], colour: &str) {
    let shape = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"");
    line(svg, &format!("<rect {shape} fill=\"{colour}\"/>"));
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, content: &str) {
    line(
        svg,
        &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {style} xml:space=\"preserve\">{}</text>", escape(content)),
    );
}

fn line(svg: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(svg, "{line}");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let bar = |series, seconds, bytes| Bar { series, seconds, bytes };
        let group = |title: &str, floor, bars| Group {
            title: title.into(),
            subtitle: "10 Mbit/s".into(),
            bars,
            floor,
        };
        Chart {
            title: "ours & <theirs>".into(),
            series: vec!["ours".into(), "theirs".into()],
            groups: vec![
                group("nothing", None, vec![bar(0, 0.9, 30_000), bar(1, 9.0, 70_000)]),
                group("much", Some(50_000), vec![bar(0, 1.8, 90_000), bar(1, 83.0, 406_000_000)]),
            ],
            floor: "the floor".into(),
            note: "2 cores".into(),
        }
    }

    #[test]
    fn the_plot_is_well_formed_and_complete() -> robot_deploy::error::Result<()> {
        let svg = render(&chart());
        let document = roxmltree::Document::parse(&svg)?;
        let count = |name| {
            document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)))
                .count()
        };
        // Two legend entries, four bars in each of two panels.
        assert_eq!(count("rect"), 2 + 8);
        assert_eq!(svg.matches(MARK).count(), 2, "one in the legend, one in the group that has it");
        for label in
            ["ours &amp; &lt;theirs&gt;", ">83.0 s  46×<", ">406 MB  4511×<", ">0.90 s<", ">30.0 kB<"]
        {
            assert!(svg.contains(label), "{label} is not in {svg}");
        }
        Ok(())
    }

    #[test]
    fn an_empty_chart_is_well_formed() -> robot_deploy::error::Result<()> {
        roxmltree::Document::parse(&render(&Chart::default()))?;
        Ok(())
    }

    #[test]
    fn every_bar_is_visible_and_scales_have_ticks() {
        let scale = Scale::over([1.0, 83.0].into_iter());
        assert!(scale.position(1.0) > 0.0 && (scale.position(83.0) - 1.0).abs() < 1e-9);
        assert!(scale.position(9.0) > scale.position(2.0));
        assert_eq!(scale.ticks().count(), 3);
    }
}
