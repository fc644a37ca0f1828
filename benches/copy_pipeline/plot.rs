//! Lines over time as one SVG, a panel for each figure. Axes begin at zero, so that what is flat looks flat.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 22.0;
const COLOURS: [&str; 2] = ["#1f6f3f", "#8a3b12"];

/// A panel: its title, and the name and the values of each line.
pub struct Panel<'a> {
    pub title: &'a str,
    pub lines: Vec<(&'a str, Vec<f64>)>,
}

/// `minutes`: when each value was taken.
pub fn svg(minutes: &[f64], panels: &[Panel<'_>]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        out += &drawn(minutes, panel, HEIGHT * at as f64);
    }
    out + "</svg>\n"
}

/// The top of an axis, with two digits below 10: where it is near 1, rounding would move the scale by a quarter.
fn labelled(high: f64) -> String {
    match high {
        ..1.0 => format!("{high:.2}"),
        1.0..10.0 => format!("{high:.1}"),
        _ => format!("{high:.0}"),
    }
}

fn drawn(minutes: &[f64], panel: &Panel<'_>, y: f64) -> String {
    let mut out =
        format!("<g transform=\"translate(0 {y})\">\n<text x=\"{LEFT}\" y=\"16\" font-weight=\"bold\">{}</text>\n", panel.title);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let end = minutes.last().copied().unwrap_or(1.0).max(f64::MIN_POSITIVE);
    let high = panel.lines.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    // Writing to a String cannot fail.
    _ = writeln!(out, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>");
    for (number, (name, values)) in panel.lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let place = |(minute, value): (&f64, &f64)| {
            format!("{:.1},{:.1}", LEFT + (right - LEFT) * minute / end, bottom - (bottom - TOP) * value / high)
        };
        let line: Vec<String> = minutes.iter().zip(values).map(place).collect();
        _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>", line.join(" "));
        let x = right - 70.0 * (panel.lines.len() - 1 - number) as f64;
        _ = writeln!(out, "<text x=\"{x}\" y=\"16\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>");
    }
    let (edge, under) = (LEFT - 6.0, bottom + 15.0);
    _ = writeln!(out, "<text x=\"{edge}\" y=\"{}\" text-anchor=\"end\">{}</text>", TOP + 4.0, labelled(high));
    _ = writeln!(out, "<text x=\"{edge}\" y=\"{bottom}\" text-anchor=\"end\">0</text>");
    _ = writeln!(out, "<text x=\"{right}\" y=\"{under}\" text-anchor=\"end\">{end:.0} minutes</text>");
    out + "</g>\n"
}
