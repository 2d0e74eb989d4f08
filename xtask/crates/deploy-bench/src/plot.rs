//! The plot: a self-contained SVG without scripts or external fonts, readable on light and dark pages. Both
//! scales are logarithmic, because seconds and minutes have to fit on one.

use anyhow::Context as _;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{BoldPoints, Ranged as _};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::{ratio, seconds};
use robot_deploy::error::Result;
use robot_deploy::ui;

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

/// One method in a case.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Index of the chart's series.
    pub series: usize,
    pub seconds: f64,
    pub bytes: u64,
}

/// Colours of the series in order, visible on white and on black.
const COLOURS: [RGBColor; 5] = [
    RGBColor(47, 129, 247),
    RGBColor(210, 153, 34),
    RGBColor(163, 113, 247),
    RGBColor(87, 171, 90),
    RGBColor(0x8a, 0x6d, 0x3b),
];

/// Grey for all text, with a contrast of 4.5:1 on white and on GitHub's dark background.
const INK: RGBColor = RGBColor(116, 124, 134);

/// Colour of the mark among the bars, visible on all their colours.
const MARK: RGBColor = RGBColor(229, 83, 75);

/// Width of the plot, and the part of each panel that is left for labels behind the bars.
const WIDTH: u32 = 880;
const LABELS: f64 = 0.36;
/// Height of a bar with the space below it.
const STEP: i32 = 20;
const TOP: i32 = 112;
/// Left and right edges of the two panels.
const EDGES: [(i32, i32); 2] = [(150, 500), (520, 870)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// One of the two halves of the plot.
struct Panel {
    title: &'static str,
    value: fn(&Bar) -> f64,
    /// Value that is marked in a group.
    floor: fn(&Group) -> Option<f64>,
    label: fn(f64) -> String,
}

#[expect(clippy::cast_precision_loss, reason = "bytes on a logarithmic scale")]
const PANELS: [Panel; 2] = [
    Panel { title: "seconds", value: |bar| bar.seconds, floor: |_| None, label: seconds },
    Panel {
        title: "bytes on the wire",
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

impl Group {
    /// Height of the group in pixels, enough for its title and subtitle, with the space below it.
    fn height(&self) -> i32 {
        i32::try_from(self.bars.len().max(2)).unwrap_or(i32::MAX / STEP) * STEP + STEP
    }
}

/// Renders the chart as SVG.
pub(crate) fn render(chart: &Chart) -> Result<String> {
    let bottom = TOP + chart.groups.iter().map(Group::height).sum::<i32>();
    let mut svg = String::new();
    let size = (WIDTH, u32::try_from(bottom + 26)?);
    draw(chart, &SVGBackend::with_string(&mut svg, size).into_drawing_area(), bottom)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("draw the plot")?;
    Ok(svg)
}

fn draw<'a>(chart: &Chart, area: &Area<'a>, bottom: i32) -> Drawn<'a> {
    text(area, (20, 30), &chart.title, font(17).style(FontStyle::Bold), HPos::Left)?;
    legend(chart, area)?;
    for (panel, edges) in PANELS.iter().zip(EDGES) {
        draw_panel(chart, panel, area, edges, bottom)?;
    }
    let mut y = TOP;
    for group in &chart.groups {
        let (right, middle) = (EDGES[0].0 - 12, y + (group.height() - STEP) / 2);
        text(area, (right, middle + 2), &group.title, font(13).style(FontStyle::Bold), HPos::Right)?;
        text(area, (right, middle + 15), &group.subtitle, font(11), HPos::Right)?;
        y += group.height();
    }
    text(area, (20, bottom + 14), &chart.note, font(11), HPos::Left)?;
    area.present()
}

/// A font whose size in the SVG is `size`: the backend divides by 1.24.
fn font(size: u8) -> FontDesc<'static> {
    ("system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif", f64::from(size) * 1.24).into_font()
}

/// Draws text on a baseline, with the end, the middle or the beginning at a position.
fn text<'a>(area: &Area<'a>, at: (i32, i32), content: &str, font: FontDesc<'_>, align: HPos) -> Drawn<'a> {
    let style = TextStyle::from(font).pos(Pos::new(align, VPos::Bottom)).color(&INK);
    area.draw(&Text::new(content, at, style))
}

fn rectangle<'a>(area: &Area<'a>, corners: [(i32, i32); 2], colour: RGBColor) -> Drawn<'a> {
    area.draw(&Rectangle::new(corners, colour.filled()))
}

fn legend<'a>(chart: &Chart, area: &Area<'a>) -> Drawn<'a> {
    let mut x = 20;
    for (colour, series) in COLOURS.iter().cycle().zip(&chart.series) {
        rectangle(area, [(x, 46), (x + 12, 58)], *colour)?;
        text(area, (x + 18, 59), series, font(13), HPos::Left)?;
        x += 44 + i32::try_from(series.chars().count() * 36 / 5).unwrap_or_default();
    }
    if chart.groups.iter().any(|group| group.floor.is_some()) {
        rectangle(area, [(x + 5, 45), (x + 8, 59)], MARK)?;
        text(area, (x + 18, 59), &chart.floor, font(13), HPos::Left)?;
    }
    Ok(())
}

/// Draws the bars of all groups on a scale that begins below the smallest value, so that every bar is visible.
fn draw_panel<'a>(
    chart: &Chart,
    panel: &Panel,
    area: &Area<'a>,
    (left, right): (i32, i32),
    bottom: i32,
) -> Drawn<'a> {
    let bars = chart.groups.iter().flat_map(|group| &group.bars).map(panel.value);
    let values = bars.chain(chart.groups.iter().filter_map(panel.floor)).filter(|value| *value > 0.0);
    let (least, most) =
        values.fold((f64::MAX, 1.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)));
    let low = 10_f64.powf((least.min(most) / 1.5).log10().floor());
    let width = f64::from(right - left) * (1.0 - LABELS);
    let scale = LogCoord::from((low..most.max(low * 10.0)).log_scale());
    #[expect(clippy::cast_possible_truncation, reason = "a position in a picture")]
    let x = |value: f64| scale.map(&value.max(low), (left, left + width as i32));
    text(area, (left, TOP - 24), panel.title, font(13).style(FontStyle::Bold), HPos::Left)?;
    for tick in scale.key_points(BoldPoints(8)).into_iter().filter(|tick| tick.log10().fract().abs() < 1e-9) {
        let line = [(x(tick), TOP - 6), (x(tick), bottom - STEP + 2)];
        area.draw(&PathElement::new(line, INK.mix(0.35)))?;
        text(area, (x(tick), TOP - 8), &short(panel, tick), font(10), HPos::Center)?;
    }
    let mut top = TOP;
    for group in &chart.groups {
        draw_bars(panel, group, area, top, &x)?;
        top += group.height();
    }
    Ok(())
}

fn draw_bars<'a>(
    panel: &Panel,
    group: &Group,
    area: &Area<'a>,
    top: i32,
    x: &impl Fn(f64) -> i32,
) -> Drawn<'a> {
    let reference = group.bars.iter().find(|bar| bar.series == 0).map(panel.value);
    for (bar, y) in group.bars.iter().zip((top..).step_by(STEP.unsigned_abs() as usize)) {
        let value = (panel.value)(bar);
        let end = x(value).max(x(0.0) + 1);
        rectangle(area, [(x(0.0), y), (end, y + 15)], COLOURS[bar.series % COLOURS.len()])?;
        let times = match reference.filter(|_| bar.series != 0) {
            Some(reference) => format!(" · {}", ratio(value, reference)),
            None => String::new(),
        };
        let style = if bar.series == 0 { font(13).style(FontStyle::Bold) } else { font(13) };
        text(area, (end + 6, y + 16), &format!("{}{times}", (panel.label)(value)), style, HPos::Left)?;
    }
    match (panel.floor)(group) {
        Some(floor) => {
            rectangle(area, [(x(floor) - 1, top - 3), (x(floor) + 2, top + group.height() - STEP)], MARK)
        }
        None => Ok(()),
    }
}

/// Label of a power of ten, without decimals.
fn short(panel: &Panel, tick: f64) -> String {
    let label = if tick < 1.0 { format!("{tick} s") } else { (panel.label)(tick) };
    label.replace(".00 ", " ").replace(".0 ", " ")
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
        let svg = render(&chart())?;
        let document = roxmltree::Document::parse(&svg)?;
        let count = |name| {
            document
                .descendants()
                .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)))
                .count()
        };
        // Two legend entries, four bars in each of two panels, and two marks.
        assert_eq!(count("rect"), 2 + 8 + 2);
        assert_eq!(svg.matches("#E5534B").count(), 2, "one in the legend, one in the group that has it");
        for label in
            ["ours &amp; &lt;theirs&gt;", ">83.0 s · 46×<", ">406 MB · 4511×<", ">0.90 s<", ">30.0 kB<"]
        {
            assert!(svg.replace('\n', "").contains(label), "{label} is not in {svg}");
        }
        Ok(())
    }

    #[test]
    fn an_empty_chart_is_well_formed() -> robot_deploy::error::Result<()> {
        roxmltree::Document::parse(&render(&Chart::default())?)?;
        Ok(())
    }
}
