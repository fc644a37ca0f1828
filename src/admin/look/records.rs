//! The page of records.

use super::api::{RECORDS, RecordFound, RecordsFound};
use super::query::Given;
use super::{alert, choice, commands, escaped, input, narrowing, notes, query_of};
use crate::admin::ApiError;
use serde_json::Value;

/// The form as it was sent, and the answer.
pub fn body(given: &Given, pipelines: &[String], answered: Option<&Result<RecordsFound, ApiError>>) -> String {
    let wrong = match answered {
        Some(Err(error)) => error.param.as_deref().unwrap_or_default(),
        _ => "",
    };
    let mut body = "<h1>Records</h1><p>Predictions and dead letters, as they stand in Postgres. Dead letters by reason: \
                    <a href=\"/dead-letters\">dead letters</a>.</p>"
        .to_owned();
    body += &form(given, pipelines, wrong);
    if !given.of("q").is_empty() {
        body += &format!(
            "<p>Looked for <strong>{}</strong> as a record's id, as an event's place or id, and as a key.</p>",
            escaped(given.of("q"))
        );
    }
    match answered {
        None => {}
        Some(Err(error)) => body += &format!("<section id=\"found\">{}</section>", alert(error)),
        Some(Ok(found)) => body += &answer(given, found),
    }
    body
}

fn form(given: &Given, pipelines: &[String], wrong: &str) -> String {
    let names = pipelines.iter().map(String::as_str);
    format!(
        "<form method=\"get\" action=\"/records#found\" accept-charset=\"utf-8\" role=\"search\" aria-label=\"Records\">\
         <fieldset><legend>Fill in one</legend>{}{}{}</fieldset>{}{}<p><button type=\"submit\">Look up</button></p></form>",
        input(given, "id", "Record id", "pipeline/run/topic/partition/offset, with or without /n. Found at once.", wrong),
        input(
            given,
            "event",
            "Event",
            "The event's own id, where records hold it; or its place, topic/partition/offset, which is found at once.",
            wrong
        ),
        input(
            given,
            "key",
            "Key",
            "The record's key. Without an index the newest records are looked through, for some seconds.",
            wrong
        ),
        choice(given, "pipeline", "Pipeline", "One is faster than all.", names),
        narrowing(given, wrong, RECORDS),
    )
}

fn answer(given: &Given, found: &RecordsFound) -> String {
    let count = match found.records.len() {
        0 => "No record".to_owned(),
        1 => "1 record".to_owned(),
        more => format!("{more} records"),
    };
    let names = ["q", "id", "event", "key", "pipeline", "since", "until", "limit"];
    let same = query_of(names.map(|name| (name, given.of(name))));
    let records: String = found.records.iter().map(record).collect();
    format!(
        "<section id=\"found\" aria-labelledby=\"found-title\"><h2 id=\"found-title\">{count}</h2>{}{records}\
         <p>The same as JSON: <a href=\"/v1/records?{}\">/v1/records</a>.</p></section>",
        notes(&found.notes),
        escaped(&same)
    )
}

fn record(record: &RecordFound) -> String {
    let number = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    let hidden = match record.hidden_fields {
        0 => String::new(),
        fields => format!("{fields} fields are hidden."),
    };
    let key = match &record.key {
        None => "hidden".to_owned(),
        Some(Value::Null) => "none".to_owned(),
        Some(Value::String(key)) => key.clone(),
        Some(other) => other.to_string(),
    };
    let rows = [
        ("Kind", record.kind.clone()),
        ("Handling", record.handling.clone().unwrap_or_default()),
        ("Label", record.label.clone().unwrap_or_default()),
        // Its `score` in the value goes to 1000.
        (if record.function == "risk" { "Score (its probability)" } else { "Score" }, number(record.score)),
        ("Decided at", record.decided_at.clone()),
        ("Pipeline", format!("{}, run {}", record.pipeline, record.run)),
        ("Event", format!("{}/{}/{}", record.topic, record.partition, record.offset)),
        ("Number", record.n.to_string()),
        ("Key", key),
        ("Function", record.function.clone()),
        ("Model", record.model.clone()),
        ("Config", record.config.clone()),
        ("Output topic", record.out_topic.clone()),
        ("Headers", if record.headers.is_null() { String::new() } else { record.headers.to_string() }),
    ];
    let row = |(name, value): &(&str, String)| format!("<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escaped(value));
    let rows: String = rows.iter().filter(|(_, value)| !value.is_empty()).map(row).collect();
    format!(
        "<article><h3>{}</h3><div class=\"wide\"><table>{rows}</table></div><h4>Value</h4><pre tabindex=\"0\">{}</pre><p>{hidden}</p>{}</article>",
        escaped(&record.id),
        escaped(&format!("{:#}", record.value)),
        commands(&record.commands)
    )
}
