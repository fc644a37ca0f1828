//! An answer as tables, as JSON, and the command that asks for the same.

use super::page::escaped;
use axum::http::{HeaderMap, header};
use serde_json::Value;

/// Numbers of a list that are shown in a table; all of them stand in the JSON.
const SHOWN: usize = 8;

/// The tables and the JSON of an answer.
pub fn told(whole: &Value) -> String {
    let outputs = whole["outputs"].as_array().map_or(&[][..], Vec::as_slice);
    let tables: String = outputs.iter().map(|output| format!("<div class=\"wide\">{}</div>", value(output))).collect();
    format!("{tables}<h3>JSON</h3><pre tabindex=\"0\">{}</pre>", escaped(&format!("{whole:#}")))
}

fn value(of: &Value) -> String {
    match of {
        Value::Object(fields) => {
            let row = |(name, of): (&String, &Value)| {
                format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escaped(name), value(of))
            };
            format!("<table>{}</table>", fields.iter().map(row).collect::<String>())
        }
        Value::Array(items) if items.iter().all(Value::is_object) && !items.is_empty() => rows(items),
        Value::Array(items) => {
            let first: Vec<String> = items.iter().take(SHOWN).map(value).collect();
            let more = if items.len() > SHOWN { format!(", ... ({} in all)", items.len()) } else { String::new() };
            first.join(", ") + &more
        }
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    }
}

/// Objects of the same fields, one a row.
fn rows(items: &[Value]) -> String {
    let mut names: Vec<&String> = Vec::new();
    for name in items.iter().filter_map(Value::as_object).flat_map(|fields| fields.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let head: String = names.iter().map(|name| format!("<th scope=\"col\">{}</th>", escaped(name))).collect();
    let row = |item: &Value| {
        let cells: String =
            names.iter().map(|name| format!("<td>{}</td>", item.get(*name).map(value).unwrap_or_default())).collect();
        format!("<tr>{cells}</tr>")
    };
    format!("<table><thead><tr>{head}</tr></thead><tbody>{}</tbody></table>", items.iter().map(row).collect::<String>())
}

/// The command that does the same, for a shell. `path` is the function's name as part of a path, with the query where there is one.
pub fn command(path: &str, request: &Value, head: &HeaderMap) -> String {
    let host = head.get(header::HOST).and_then(|host| host.to_str().ok());
    let plain = |host: &&str| host.chars().all(|sign| sign.is_ascii_alphanumeric() || ".:-[]".contains(sign));
    let host = host.filter(plain).unwrap_or("127.0.0.1:9464");
    // In single quotes a shell obeys nothing but the quote itself.
    let body = request.to_string().replace('\'', "'\\''");
    let url = format!("http://{host}/v1/functions/{path}");
    let url = if path.contains('?') { format!("'{url}'") } else { url };
    let line = format!("curl -s {url} -H 'content-type: application/json' -d '{body}'");
    format!("<h3>The same in a shell</h3><pre tabindex=\"0\">{}</pre>", escaped(&line))
}
