//! A page that is written once, as HTML and as the list of what in it may change.

use crate::admin::forms::page::escaped;
use serde::Serialize;
use std::collections::BTreeMap;

/// What may change, by the names that the page gives its places.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Live {
    /// Texts.
    pub t: BTreeMap<String, String>,
    /// Pieces of HTML, safe as they stand.
    pub h: BTreeMap<String, String>,
    /// Paths of lines.
    pub d: BTreeMap<String, String>,
}

/// HTML, and what in it may change.
#[derive(Debug, Default)]
pub struct Out {
    pub html: String,
    pub live: Live,
}

impl Out {
    /// HTML that does not change.
    pub fn push(&mut self, html: &str) {
        self.html += html;
    }

    /// A text in an element of this name.
    pub fn text(&mut self, element: &str, key: String, text: &str) {
        self.html += &format!("<{element} data-t=\"{key}\">{}</{}>", escaped(text), name(element));
        self.live.t.insert(key, text.to_owned());
    }

    /// HTML in an element of this name; what stood in it is replaced when it changes.
    pub fn block(&mut self, element: &str, key: String, html: String) {
        self.html += &format!("<{element} data-h=\"{key}\">{html}</{}>", name(element));
        self.live.h.insert(key, html);
    }

    /// A line of a drawing.
    pub fn line(&mut self, class: &str, key: String, path: String) {
        self.html += &format!("<path class=\"{class}\" data-d=\"{key}\" d=\"{path}\"/>");
        self.live.d.insert(key, path);
    }
}

/// An element without its attributes.
fn name(element: &str) -> &str {
    element.split(' ').next().unwrap_or(element)
}

impl Live {
    /// The texts, and of the rest what is not as it was.
    pub fn news(&self, before: &Self) -> Self {
        let new = |now: &BTreeMap<String, String>, then: &BTreeMap<String, String>| {
            now.iter()
                .filter(|(key, value)| then.get(*key) != Some(value))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        Self { t: self.t.clone(), h: new(&self.h, &before.h), d: new(&self.d, &before.d) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: markup from outside that a browser obeys, news that lack what has changed or repeat what has not.
    #[test]
    fn texts_are_escaped_and_news_are_what_changed() {
        let write = |text: &str, piece: &str| {
            let mut out = Out::default();
            out.text("td class=\"num\"", "0.a".into(), text);
            out.block("ul", "0.b".into(), piece.to_owned());
            out
        };
        let first = write("<script>", "<li>1</li>");
        assert_eq!(first.html, "<td class=\"num\" data-t=\"0.a\">&lt;script&gt;</td><ul data-h=\"0.b\"><li>1</li></ul>");
        let same = write("x", "<li>1</li>").live.news(&first.live);
        assert_eq!((same.t["0.a"].as_str(), same.h.len()), ("x", 0));
        assert_eq!(write("x", "<li>2</li>").live.news(&first.live).h["0.b"], "<li>2</li>");
    }
}
