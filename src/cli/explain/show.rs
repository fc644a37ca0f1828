//! How an explanation is printed.

use super::report::{Report, Verdict};
use crate::cli::common::escaped;
use serde_json::Value;

pub fn text(report: &Report) {
    let Report { topic, partition, offset, run, .. } = report;
    line("event", report.event_id.as_deref().unwrap_or("-"));
    line("place", &format!("{topic}/{partition}/{offset}, run {run}"));
    if let Some(time) = report.event_time_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        line("event time", &time.to_string());
    }
    if let Some(rung) = &report.rung {
        line("rung", &format!("{}: events were too old for the pipeline's own model", escaped(rung)));
    }
    if let Some(history) = &report.history {
        line("keys", &history.keys.join(", "));
        let of = format!("{} of {} events from offset {} on", history.folded, history.events, history.from);
        line("folded again", &of);
        if let Some((from, to)) = history.gone {
            let from = from.map_or_else(|| "those".to_owned(), |from| format!("offsets {from}"));
            let what =
                format!("{from} up to {} are not in the log any more: what they left in the state is missing here", to - 1);
            line("incomplete", &what);
        }
    }
    for (what, is) in [("late", report.late), ("truncated", report.truncated)] {
        if is {
            line(what, "yes");
        }
    }
    if let Some(why) = &report.rejected {
        let field = why.field.as_deref().map_or_else(String::new, |field| format!(" at {field}"));
        line("rejected", &format!("{}{field}: {}", why.code, why.detail));
    }
    if let Some(why) = &report.failed {
        line("the function failed", why);
    }
    features(report);
    answers(report);
    if let Some((record, config)) = &report.other_model {
        line("model", &format!("the record was scored by {record}, this config has {config}: scores and reasons may differ"));
    }
    let verdict = match report.verdict {
        Verdict::Same => "the record says the same".to_owned(),
        Verdict::Differs if report.records.is_empty() => "the event is decided and has no record".to_owned(),
        Verdict::Differs => format!("the record says something else in {} fields", report.differences.len()),
        Verdict::Incomplete => {
            let what = format!(
                "the record says something else in {} fields; the log does not hold all that was folded then",
                report.differences.len()
            );
            format!("{what}, so nothing follows from it")
        }
        Verdict::EndedByWorker => {
            let reason = report.records.first().and_then(|record| record.pointer("/reason/code")).and_then(Value::as_str);
            format!("the worker made the event a dead letter: {}", reason.unwrap_or("it says no reason"))
        }
        Verdict::NoRecord => "the event was skipped, and has no record".to_owned(),
        Verdict::NotDecided if report.answers.is_empty() => {
            "the event is not decided yet, and would have no record now".to_owned()
        }
        Verdict::NotDecided => "the event is not decided yet; this is what its record would say now".to_owned(),
    };
    line("verdict", &verdict);
}

fn features(report: &Report) {
    if report.features.is_empty() {
        return;
    }
    let stored = report.records.first().and_then(|record| record.get("features")).and_then(Value::as_object);
    let width = report.features.iter().map(|feature| feature.name.chars().count()).max().unwrap_or(0).max(7);
    println!("\n{:width$}  {:>20}  {:>20}", "feature", "folded again", "in the record");
    for feature in &report.features {
        let now = Value::from(feature.value);
        let then = stored.and_then(|stored| stored.get(&feature.name));
        let mark = if then.is_some_and(|then| *then != now) { "  differs" } else { "" };
        let then = then.map_or("-".to_owned(), of);
        println!("{:width$}  {:>20}  {then:>20}{mark}", escaped(&feature.name), of(&now));
    }
    println!();
}

/// The answers without their features; of what differs both.
fn answers(report: &Report) {
    for (n, answer) in report.answers.iter().enumerate() {
        if report.answers.len() > 1 {
            line("record", &n.to_string());
        }
        for (name, value) in answer.as_object().into_iter().flatten() {
            // A stage of a chain hands the whole event on; nobody asked to see that.
            if !matches!(name.as_str(), "features" | "event" | "event_id" | "timings_us") {
                line(name, &of(value));
            }
            let difference = report.differences.iter().find(|difference| difference.n == n && difference.field == *name);
            // Those of the features stand in their table.
            if let Some(difference) = difference.filter(|_| !matches!(name.as_str(), "event" | "features")) {
                line(
                    if name == "event_id" { "event_id" } else { "" },
                    &format!("in the record: {}", difference.in_record.as_ref().map_or("nothing".into(), of)),
                );
            }
        }
    }
    let known = |n: usize, field: &str| report.answers.get(n).is_some_and(|answer| answer.get(field).is_some());
    for difference in report.differences.iter().filter(|difference| !known(difference.n, &difference.field)) {
        let of = |value: &Option<Value>| value.as_ref().map_or("nothing".into(), of);
        line(&difference.field, &format!("{}, in the record: {}", of(&difference.folded_again), of(&difference.in_record)));
    }
}

fn of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "no value".into(),
        other => other.to_string(),
    }
}

fn line(name: &str, value: &str) {
    println!("{name:15} {}", escaped(value));
}
