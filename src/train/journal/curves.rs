//! The curves of a run as one SVG: a panel for each tag, steps to the right.

use super::Point;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 24.0;

/// A panel under the other for each tag, in order of first appearance.
pub fn svg(points: &[Point]) -> String {
    let mut tags: Vec<&str> = Vec::new();
    for point in points {
        if !tags.contains(&&*point.tag) {
            tags.push(&point.tag);
        }
    }
    let height = HEIGHT * tags.len().max(1) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (i, tag) in tags.iter().enumerate() {
        let own: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.tag == *tag && point.value.is_finite())
            .map(|point| (point.step as f64, point.value))
            .collect();
        out += &panel(tag, &own, HEIGHT * i as f64);
    }
    out + "</svg>\n"
}

fn panel(tag: &str, points: &[(f64, f64)], y: f64) -> String {
    let mut out = format!("<g transform=\"translate(0 {y})\">\n<text x=\"{LEFT}\" y=\"15\" font-weight=\"bold\">{tag}</text>\n");
    let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |(low, high), (_, v)| (low.min(*v), high.max(*v)));
    let last = points.iter().map(|(step, _)| *step).fold(1.0, f64::max);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    // Writing to a String cannot fail.
    _ = writeln!(out, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>");
    if let [.., (_, end)] = points {
        let range = if high > low { high - low } else { 1.0 };
        let place = |(step, value): &(f64, f64)| {
            let x = LEFT + (right - LEFT) * step / last;
            (x, bottom - (bottom - TOP) * (value - low) / range)
        };
        let line: Vec<String> = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f6f3f\" stroke-width=\"1.5\"/>", line.join(" "));
        let (edge, under) = (LEFT - 6.0, bottom + 15.0);
        _ = writeln!(out, "<text x=\"{edge}\" y=\"{TOP}\" text-anchor=\"end\">{high:.4}</text>");
        _ = writeln!(out, "<text x=\"{edge}\" y=\"{bottom}\" text-anchor=\"end\">{low:.4}</text>");
        _ = writeln!(out, "<text x=\"{right}\" y=\"{under}\" text-anchor=\"end\">step {last}</text>");
        _ = writeln!(out, "<text x=\"{right}\" y=\"15\" text-anchor=\"end\">{end:.4} at the end</text>");
    }
    out + "</g>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_has_a_panel_with_its_points_and_its_ends() {
        let at = |step, tag: &'static str, value| Point::new(step, tag, value);
        let all = [at(1, "train/loss", 4.0), at(2, "dev/f1", 0.5), at(2, "train/loss", 2.0), at(4, "train/loss", f64::NAN)];
        let picture = svg(&all);
        assert_eq!(picture.matches("<polyline").count(), 2);
        // Step 2 of 2 at the right edge; the loss falls from the top to the bottom.
        assert!(picture.contains("points=\"344.0,24.0 628.0,156.0\""), "{picture}");
        assert!(picture.contains("2.0000 at the end") && !picture.contains("NaN"), "{picture}");
        assert!(svg(&[]).starts_with("<svg"));
    }
}
