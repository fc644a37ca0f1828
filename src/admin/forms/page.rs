//! The frame of a page: one for all that the admin server shows.

/// Text that HTML does not obey, in elements and in quoted attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\0' => out += "\u{fffd}",
            sign => out.push(sign),
        }
    }
    out
}

/// A whole page; `body` is HTML.
pub fn page(title: &str, body: &str) -> String {
    Frame { title, body, ..Frame::default() }.html()
}

/// What a page is made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frame<'a> {
    pub title: &'a str,
    /// HTML.
    pub body: &'a str,
    /// More attributes of the main element, as HTML.
    pub main: &'a str,
    /// Path of a script of this server; pages work without it.
    pub script: Option<&'a str>,
}

/// Where the header leads. `/metrics` is text.
const PLACES: [(&str, &str); 5] = [
    ("/", "Overview"),
    ("/records", "Records"),
    ("/dead-letters", "Dead letters"),
    ("/functions", "Functions"),
    ("/metrics", "Metrics"),
];

impl Frame<'_> {
    pub fn html(&self) -> String {
        let Self { body, main, .. } = self;
        let title = escaped(self.title);
        let script = self.script.map(|path| format!("<script src=\"{path}\" defer></script>")).unwrap_or_default();
        let link = |(path, name): (&str, &str)| {
            let here = if name == self.title { " aria-current=\"page\"" } else { "" };
            format!("<a href=\"{path}\"{here}>{name}</a> ")
        };
        let places: String = PLACES.map(link).concat();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title} - Millrace</title><style>{STYLE}</style>{script}</head>\n\
             <body><a class=\"skip\" href=\"#main\">Skip to the content</a>\
             <header><nav aria-label=\"Main\">{places}</nav>\
             <form class=\"search\" role=\"search\" aria-label=\"Find a record\" action=\"/records\" method=\"get\"><label for=\"q\" class=\"unseen\">Key or id of an event</label>\
             <input id=\"q\" name=\"q\" type=\"search\" placeholder=\"Key or id of an event\" autocomplete=\"off\">\
             <button type=\"submit\">Find</button></form></header>\n<main id=\"main\"{main}>{body}</main></body></html>\n"
        )
    }
}

/// Light or dark as the reader has it; one column, so that it fits a phone.
const STYLE: &str = include_str!("page.css");
