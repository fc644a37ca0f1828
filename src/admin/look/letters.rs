//! The page of dead letters.

use super::api::{Command, LETTERS, LetterFound, LettersCounted, LettersFound};
use super::query::{Given, HANDLINGS};
use super::{alert, choice, commands, escaped, input, narrowing, notes, query_of};
use crate::admin::ApiError;
use serde_json::Value;

/// Counts, the form as it was sent, and the list.
pub fn body(given: &Given, pipelines: &[String], answered: &Result<LettersFound, ApiError>) -> String {
    let wrong = answered.as_ref().err().and_then(|error| error.param.as_deref()).unwrap_or_default();
    let mut body =
        "<h1>Dead letters</h1><p>Events that could not be scored, and why. One record: <a href=\"/records\">records</a>.</p>"
            .to_owned();
    match answered {
        Err(error) => body += &alert(error),
        Ok(found) => body += &counts(given, found),
    }
    body += &form(given, pipelines, wrong);
    if let Ok(found) = answered {
        body += &list(given, found);
    }
    body
}

fn form(given: &Given, pipelines: &[String], wrong: &str) -> String {
    format!(
        "<form method=\"get\" action=\"/dead-letters#letters\" accept-charset=\"utf-8\" role=\"search\" aria-label=\"Dead letters\">{}{}{}{}\
         <p><button type=\"submit\">Show</button></p></form>",
        choice(given, "pipeline", "Pipeline", "Whose events.", pipelines.iter().map(String::as_str)),
        input(given, "reason", "Reason", "A code, such as missing_field.", wrong),
        choice(given, "handling", "Handling", "What was done about it.", HANDLINGS),
        narrowing(given, wrong, LETTERS),
    )
}

/// Where the list of one pipeline and reason is.
fn narrowed(given: &Given, one: &LettersCounted) -> String {
    let pairs = [
        ("pipeline", one.pipeline.as_str()),
        ("reason", &one.reason),
        ("since", given.of("since")),
        ("until", given.of("until")),
    ];
    format!("/dead-letters?{}#letters", query_of(pairs))
}

fn counts(given: &Given, found: &LettersFound) -> String {
    if found.counts.is_empty() {
        return "<p>There are none of these pipelines and this time.</p>".to_owned();
    }
    let row = |one: &LettersCounted| {
        let (pipeline, reason, link) = (escaped(&one.pipeline), escaped(&one.reason), escaped(&narrowed(given, one)));
        let numbers: String =
            [one.open, one.redriving, one.redriven, one.discarded].map(|count| format!("<td>{count}</td>")).concat();
        format!("<tr><td>{pipeline}</td><th scope=\"row\"><a href=\"{link}\">{reason}</a></th>{numbers}</tr>")
    };
    let rows: String = found.counts.iter().map(row).collect();
    let of_reason = |one: &LettersCounted| {
        let title = format!("<h3>{}, {}</h3>", escaped(&one.pipeline), escaped(&one.reason));
        one.command.as_ref().map(|command| title + &commands(std::slice::from_ref(command)))
    };
    let redrive: String = found.counts.iter().filter_map(of_reason).collect();
    let redrive = match redrive.is_empty() {
        true => String::new(),
        false => format!("<details><summary>Redrive those that are open</summary>{redrive}</details>"),
    };
    let head: String = ["Pipeline", "Reason", "Open", "Redriving", "Redriven", "Discarded"]
        .map(|name| format!("<th scope=\"col\">{name}</th>"))
        .concat();
    format!(
        "<section aria-labelledby=\"counts-title\"><h2 id=\"counts-title\">By reason</h2><div class=\"wide\"><table><thead><tr>{head}</tr></thead>\
         <tbody>{rows}</tbody></table></div>{redrive}</section>"
    )
}

fn list(given: &Given, found: &LettersFound) -> String {
    let names = ["pipeline", "reason", "handling", "since", "until", "limit"];
    let same = query_of(names.map(|name| (name, given.of(name))));
    let count = match found.letters.len() {
        0 => "None".to_owned(),
        1 => "1 dead letter".to_owned(),
        more => format!("The newest {more}"),
    };
    let letters: String = found.letters.iter().map(letter).collect();
    format!(
        "<section id=\"letters\" aria-labelledby=\"letters-title\"><h2 id=\"letters-title\">{count}</h2>{}<ul class=\"list\">{letters}</ul>\
         <p>The same as JSON: <a href=\"/v1/dead-letters?{}\">/v1/dead-letters</a>.</p></section>",
        notes(&found.notes),
        escaped(&same)
    )
}

fn letter(letter: &LetterFound) -> String {
    let text = |text: &Option<String>| text.as_deref().map(escaped).unwrap_or_default();
    let field = letter.field.as_ref().map_or_else(String::new, |field| format!(", field <code>{}</code>", escaped(field)));
    let detail = match &letter.detail {
        Some(detail) => format!("<br>{}", escaped(detail)),
        None => "<br>The detail is hidden, or there is none.".to_owned(),
    };
    let done = match &letter.handled_at {
        Some(at) => format!(" at {} by {} {}", escaped(at), text(&letter.handled_by), text(&letter.note)),
        None => String::new(),
    };
    let event = letter.event.as_ref().map_or_else(String::new, |event| {
        let cut = if event.cut { "<p>This is its beginning; its record has the rest.</p>" } else { "" };
        format!(
            "<h3>Key</h3><pre tabindex=\"0\">{}</pre><h3>Payload</h3><pre tabindex=\"0\">{}</pre>{cut}",
            escaped(&plain(&event.key)),
            escaped(&plain(&event.payload))
        )
    });
    let link = format!("/records?{}#found", query_of([("id", letter.id.as_str())]));
    format!(
        "<li><a href=\"{}\">{}</a><br><strong>{}</strong>{field}{detail}<br>{} {} {}<br>{}{done}\
         <details><summary>Commands{}</summary>{event}{}</details></li>",
        escaped(&link),
        escaped(&letter.id),
        escaped(&letter.reason),
        escaped(&letter.decided_at),
        escaped(&letter.function),
        escaped(&letter.model),
        escaped(&letter.handling),
        if letter.event.is_some() { " and event" } else { "" },
        commands(&letter.commands as &[Command])
    )
}

/// A text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
