//! The report that CI servers read.

use super::{Tried, sentence};
use std::fmt::Write;

/// One suite a file, in their order.
pub fn report(tried: &[Tried]) -> String {
    let failed = |all: &[&Tried]| all.iter().filter(|one| !one.differences.is_empty()).count();
    let all: Vec<&Tried> = tried.iter().collect();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{}\" failures=\"{}\">\n",
        all.len(),
        failed(&all)
    );
    for suite in tried.chunk_by(|one, other| one.file == other.file) {
        let suite: Vec<&Tried> = suite.iter().collect();
        let file = suite.first().map_or("", |one| one.file.as_str());
        // Writing into a `String` cannot fail.
        writeln!(out, "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\">", attribute(file), suite.len(), failed(&suite))
            .unwrap_or_default();
        for one in suite {
            let (name, class) = (attribute(&one.name), attribute(&one.pipeline));
            write!(out, "    <testcase name=\"{name}\" classname=\"{class}\" line=\"{}\" time=\"{:.6}\"", one.line, one.seconds)
                .unwrap_or_default();
            if one.differences.is_empty() {
                out.push_str("/>\n");
                continue;
            }
            let said: Vec<String> = one.differences.iter().map(sentence).collect();
            let said = attribute(&said.join("\n"));
            writeln!(out, ">\n      <failure message=\"{said}\"/>\n    </testcase>").unwrap_or_default();
        }
        out.push_str("  </testsuite>\n");
    }
    out + "</testsuites>\n"
}

/// As the value of an attribute. Signs that XML cannot hold at all become U+FFFD.
fn attribute(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            sign if sign.is_control() || matches!(sign, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            sign => out.push(sign),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cases::compare::differences;
    use serde_json::json;

    /// Would catch: a name or an answer that breaks the document.
    #[test]
    fn whatever_a_case_says_the_report_stays_xml() {
        let found = json!({ "label": "<b>\"&\u{1}" });
        let tried = |name: &str, expect: serde_json::Value| Tried {
            file: "a & b.jsonl".into(),
            line: 3,
            name: name.into(),
            pipeline: "p".into(),
            differences: differences(&expect, &found, 0.0),
            found: found.clone(),
            seconds: 0.5,
        };
        let text = report(&[tried("\"good\"", json!({})), tried("bad <1>", json!({ "label": "x" }))]);
        assert!(text.contains("<testsuites tests=\"2\" failures=\"1\">"), "{text}");
        assert!(text.contains("name=\"&quot;good&quot;\" classname=\"p\" line=\"3\" time=\"0.500000\"/>"), "{text}");
        assert!(text.contains("bad &lt;1&gt;") && text.contains("a &amp; b.jsonl") && !text.contains('\u{1}'), "{text}");
        assert_eq!(text.matches("<failure ").count(), 1);
    }
}
