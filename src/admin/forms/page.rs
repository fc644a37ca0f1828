//! The frame of a page.

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
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title} - Millrace</title><style>{STYLE}</style></head>\n\
         <body><a class=\"skip\" href=\"#main\">Skip to the content</a>\
         <header><nav aria-label=\"Main\"><a href=\"/functions\">Functions</a> <a href=\"/status\">Status</a> \
         <a href=\"/metrics\">Metrics</a></nav></header>\n<main id=\"main\">{body}</main></body></html>\n"
    )
}

/// Light or dark as the reader has it; one column, so that it fits a phone.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1a1c1e;--paper:#fff;--soft:#f2f4f6;--line:#8a9098;--link:#0b57a4;--wrong:#a3160d}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--paper:#15181b;--soft:#20252a;--line:#7c858e;--link:#8ab8f0;--wrong:#ff9a8f}}\
*{box-sizing:border-box}\
body{margin:0;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}\
header,main{max-width:48rem;margin:0 auto;padding:.75rem 1rem}\
nav a{display:inline-block;padding:.5rem .75rem .5rem 0}\
a{color:var(--link)}\
.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:.5rem;background:var(--paper)}\
:focus-visible{outline:3px solid var(--link);outline-offset:2px}\
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.2rem}\
.list{padding:0;list-style:none}.list li{padding:.5rem 0;border-bottom:1px solid var(--line)}\
.field{margin:0 0 1rem}\
label{display:block;font-weight:600}\
.hint{font-size:.875rem;margin:.1rem 0 .3rem}\
textarea,input,select,button{font:inherit;color:inherit;background:var(--soft);border:1px solid var(--line);border-radius:.25rem;\
padding:.5rem;width:100%}\
button{width:auto;padding:.6rem 1.5rem;font-weight:600;cursor:pointer}\
[aria-invalid=true]{border:2px solid var(--wrong)}\
.wrong{color:var(--wrong);font-weight:600;overflow-wrap:anywhere}\
details{margin:0 0 1rem}summary{cursor:pointer;padding:.5rem 0;font-weight:600}\
.wide{overflow-x:auto}\
table{border-collapse:collapse}caption{text-align:left;font-weight:600}\
th,td{border:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
pre{background:var(--soft);padding:.75rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}";
