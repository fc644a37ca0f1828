//! A confusion matrix as a picture and as a table.

use super::metrics::Confusion;
use std::fmt::Write as _;

/// An SVG: rows are the truth, columns the answers, darker where more rows are; each cell that is not empty tells its count when pointed at.
pub fn svg(confusion: &Confusion, labels: &[String]) -> String {
    let count = labels.len();
    let cell = (640 / count.max(1)).clamp(6, 60);
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let (font, side) = (cell.clamp(6, 13), cell * count);
    let margin = (longest * font * 6 / 10 + 12).max(40);
    let (width, height) = (margin + side + 12, margin + side + 12);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"{font}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (i, label) in labels.iter().enumerate() {
        let (label, middle) = (escaped(label), margin + i * cell + cell / 2);
        let (line, end) = (middle + font / 3, margin - 6);
        // Writing to a String cannot fail.
        _ = writeln!(out, "<text x=\"{end}\" y=\"{line}\" text-anchor=\"end\">{label}</text>");
        _ = writeln!(out, "<text transform=\"translate({line} {end}) rotate(-90)\">{label}</text>");
    }
    for truth in 0..count {
        let of_truth = confusion.of_label(truth).support.max(1);
        for answer in 0..count {
            let rows = confusion.count(truth, answer);
            if rows == 0 {
                continue;
            }
            let (x, y) = (margin + answer * cell, margin + truth * cell);
            let strength = rows as f64 / of_truth as f64;
            let fill = if truth == answer { "#1f6f3f" } else { "#b3261e" };
            let title = format!("{} as {}: {rows}", escaped(&labels[truth]), escaped(&labels[answer]));
            _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{cell}\" height=\"{cell}\" fill=\"{fill}\" fill-opacity=\"{strength:.3}\" \
                 stroke=\"#ddd\" stroke-width=\"0.5\"><title>{title}</title></rect>"
            );
        }
    }
    out + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The counts as CSV: a header of answers, then a row a truth.
pub fn csv(confusion: &Confusion, labels: &[String]) -> anyhow::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(std::iter::once("truth").chain(labels.iter().map(String::as_str)))?;
    for (truth, label) in labels.iter().enumerate() {
        let counts = (0..labels.len()).map(|answer| confusion.count(truth, answer).to_string());
        out.write_record(std::iter::once(label.clone()).chain(counts))?;
    }
    Ok(String::from_utf8(out.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_labels_are_in_both() {
        let labels = ["a<b".to_owned(), "c,d".to_owned()];
        let confusion = Confusion::of(2, [(0, 0), (0, 1), (0, 1), (1, 1)]);
        assert_eq!(csv(&confusion, &labels).unwrap(), "truth,a<b,\"c,d\"\na<b,1,2\n\"c,d\",0,1\n");
        let picture = svg(&confusion, &labels);
        assert!(picture.contains("<title>a&lt;b as c,d: 2</title>") && !picture.contains("a<b"), "{picture}");
        assert_eq!(picture.matches("<title>").count(), 3);
    }
}
