//! The figures over the number of targets, drawn as one SVG that reads well on light and on dark pages.
use std::fmt::Write as _;

use crate::report::{Report, float, number};

/// One small picture: both axes are logarithmic, a dashed line is the aim.
struct Panel {
    title: &'static str,
    unit: &'static str,
    /// Figures, and what each is called beside its line; one alone needs no name.
    lines: &'static [(&'static str, &'static str)],
    aim: Option<f64>,
}

const PANELS: [Panel; 6] = [
    Panel { title: "Start, until all are verified", unit: "s", lines: &[("start-wall", "")], aim: Some(30.0) },
    Panel { title: "Start, CPU", unit: "s", lines: &[("start-cpu", "")], aim: Some(15.0) },
    Panel { title: "Start, reads of ARM", unit: "", lines: &[("start-reads", "")], aim: None },
    Panel {
        title: "One change, apply to PATCH",
        unit: "ms",
        lines: &[("change-p50", "p50"), ("change-p99", "p99")],
        aim: Some(150.0),
    },
    Panel {
        title: "All get one more identity",
        unit: "s",
        lines: &[("mass-wall", "measured"), ("mass-operations", "longest operation")],
        aim: None,
    },
    Panel { title: "Peak resident memory", unit: "MB", lines: &[("memory", "")], aim: Some(150.0) },
];

const COLUMNS: usize = 3;
const WIDTH: f64 = 280.0;
const HEIGHT: f64 = 190.0;
/// Around the plot of a panel: left, top, right, bottom.
const MARGIN: [f64; 4] = [44.0, 34.0, 34.0, 30.0];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:13px}\
    .small{font-size:11px;fill:#57606a}.grid{stroke:#d0d7de}.aim{stroke:#9a6700;stroke-dasharray:4 3}\
    .line{fill:none;stroke-width:2}.a{stroke:#0969da}.b{stroke:#8250df}.dot{stroke:none}.dot.a{fill:#0969da}.dot.b{fill:#8250df}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.grid{stroke:#3d444d}.aim{stroke:#d29922}\
    .a{stroke:#4493f8}.b{stroke:#ab7df8}.dot.a{fill:#4493f8}.dot.b{fill:#ab7df8}}";

/// The picture.
#[must_use]
pub fn drawn(report: &Report) -> String {
    let rows = PANELS.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * float(COLUMNS), HEIGHT * float(rows) + 22.0);
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <title>What a fleet costs, by the number of machines</title><style>{STYLE}</style>"
    );
    for (place, panel) in PANELS.iter().enumerate() {
        let (x, y) = (WIDTH * float(place % COLUMNS), HEIGHT * float(place / COLUMNS));
        let _ = write!(svg, "<g transform=\"translate({x} {y})\">");
        panel.draw(report, &mut svg);
        svg.push_str("</g>");
    }
    let note = format!("machines, on {} cores; dashed: the aim; both axes logarithmic", report.cores);
    let _ = writeln!(svg, "<text class=\"small\" x=\"{}\" y=\"{}\">{note}</text></svg>", MARGIN[0], height - 6.0);
    svg
}

impl Panel {
    fn draw(&self, report: &Report, svg: &mut String) {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
        let _ = write!(svg, "<text class=\"title\" x=\"{}\" y=\"18\">{}{unit}</text>", MARGIN[0], self.title);
        let curves: Vec<Vec<(f64, f64)>> = self.lines.iter().map(|(id, _)| report.curve(id)).collect();
        let points = curves.iter().flatten().copied();
        let Some(axes) = Axes::around(points, self.aim) else {
            let _ = write!(svg, "<text class=\"small\" x=\"{}\" y=\"60\">not measured</text>", MARGIN[0]);
            return;
        };
        axes.draw(svg, &curves);
        if let Some(aim) = self.aim {
            let y = axes.y(aim);
            let _ = write!(svg, "<path class=\"aim\" d=\"M{} {y:.1}H{}\"/>", MARGIN[0], WIDTH - MARGIN[2]);
        }
        for (place, (curve, (_, name))) in curves.iter().zip(self.lines).enumerate() {
            draw_line(svg, &axes, curve, if place == 0 { "a" } else { "b" }, name);
        }
    }
}

fn draw_line(svg: &mut String, axes: &Axes, curve: &[(f64, f64)], class: &str, name: &str) {
    let path: Vec<String> = curve.iter().map(|(x, y)| format!("{:.1} {:.1}", axes.x(*x), axes.y(*y))).collect();
    if path.is_empty() {
        return;
    }
    let _ = write!(svg, "<path class=\"line {class}\" d=\"M{}\"/>", path.join("L"));
    for (targets, value) in curve {
        let (x, y) = (axes.x(*targets), axes.y(*value));
        let _ = write!(
            svg,
            "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>\
             <text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y - 7.0,
            number(*value)
        );
    }
    if let (Some((x, y)), false) = (curve.first(), name.is_empty()) {
        let _ = write!(
            svg,
            "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            axes.x(*x) + 6.0,
            axes.y(*y) + 14.0
        );
    }
}

/// Where values lie, in logarithms.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    /// None: there is nothing to show.
    fn around(points: impl Iterator<Item = (f64, f64)> + Clone, aim: Option<f64>) -> Option<Self> {
        let xs = points.clone().map(|(x, _)| x);
        let ys = points.map(|(_, y)| y).chain(aim).filter(|y| *y > 0.0);
        let (x, y) = (range(xs)?, range(ys)?);
        Some(Self { x, y: (y.0.floor(), (y.1 + 0.15).ceil()) })
    }

    fn x(&self, value: f64) -> f64 {
        scaled(value, self.x, MARGIN[0] + 8.0, WIDTH - MARGIN[2])
    }

    fn y(&self, value: f64) -> f64 {
        scaled(value, self.y, HEIGHT - MARGIN[3], MARGIN[1])
    }

    /// Lines at powers of ten, and the sizes below.
    fn draw(&self, svg: &mut String, curves: &[Vec<(f64, f64)>]) {
        let mut power = self.y.0;
        while power <= self.y.1 + 1e-9 {
            let (value, y) = (10_f64.powf(power), self.y(10_f64.powf(power)));
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{} {y:.1}H{}\"/>\
                 <text class=\"small\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                MARGIN[0],
                WIDTH - MARGIN[2],
                MARGIN[0] - 5.0,
                y + 4.0,
                number(value)
            );
            power += 1.0;
        }
        for (targets, _) in curves.first().into_iter().flatten() {
            let _ = write!(
                svg,
                "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.x(*targets),
                HEIGHT - MARGIN[3] + 15.0,
                number(*targets)
            );
        }
    }
}

/// The least and the most, as powers of ten.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.map(f64::log10).fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((least, most)) => Some((value.min(least), value.max(most))),
    })
}

/// What is nothing lies on the lower edge.
fn scaled(value: f64, (least, most): (f64, f64), from: f64, to: f64) -> f64 {
    if most <= least {
        return f64::midpoint(from, to);
    }
    let share = if value > 0.0 { ((value.log10() - least) / (most - least)).clamp(0.0, 1.0) } else { 0.0 };
    from + (to - from) * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    fn report(rows: &[(usize, f64)]) -> Report {
        let mut report = Report::default();
        for (targets, value) in rows {
            report.begin(*targets);
            report.add(Row::new("start-wall", "start", *value, "s"));
        }
        report
    }

    #[test]
    fn more_machines_lie_further_right_and_more_seconds_higher_up() {
        let axes = Axes::around([(10.0, 0.5), (10_000.0, 20.0)].into_iter(), Some(30.0)).expect("axes");
        assert!(axes.x(10.0) < axes.x(1_000.0) && axes.x(1_000.0) < axes.x(10_000.0));
        assert!(axes.y(20.0) < axes.y(0.5), "up is towards zero");
        assert!((axes.y(0.0) - (HEIGHT - MARGIN[3])).abs() < 1e-9);
    }

    #[test]
    fn every_measured_value_is_in_the_picture_and_what_was_not_is_said_so() {
        let svg = drawn(&report(&[(10, 0.7), (10_000, 21.5)]));
        assert!(svg.contains(">0.70<") && svg.contains(">21.5<") && svg.contains(">10000<"), "{svg}");
        assert_eq!(svg.matches("not measured").count(), PANELS.len() - 1);
    }
}
