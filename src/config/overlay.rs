//! `MILLRACE_SECTION__FIELD` over the file's tables. `MILLRACE_PIPELINE__NAME__FIELD` is a pipeline's (by name or number), and
//! `MILLRACE_KAFKA__PROPERTIES__CLIENT_ID` is `client.id` under [kafka.properties].

use super::models::SETTINGS;
use super::nearest;
use std::collections::BTreeMap;
use toml::{Table, Value};

const PREFIX: &str = "MILLRACE_";
/// Fields that hold text whatever it looks like.
const TEXT: &[&str] = &[
    "brokers",
    "ca_file",
    "cert_file",
    "dead_letter_topic",
    "digest",
    "instance",
    "key_file",
    "key_password",
    "key_password_file",
    "level",
    "listen",
    "message",
    "model",
    "otlp_endpoint",
    "output_topic",
    "password",
    "password_file",
    "path",
    "sasl_mechanism",
    "schema",
    "token",
    "token_file",
    "url",
    "url_file",
    "username",
];

/// Lays every `MILLRACE_A__B` over the table; returns the names that were used. A variable without `__` is not ours.
pub fn apply(table: &mut Table, env: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut used = Vec::new();
    for (name, text) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if path.len() < 2 {
            continue;
        }
        let set = match path.iter().any(String::is_empty) {
            true => Err("a name between `__` is empty".to_owned()),
            false => set(table, &path, text),
        };
        set.map_err(|what| format!("{name} leads nowhere: {what}"))?;
        used.push(name.clone());
    }
    Ok(used)
}

fn set(table: &mut Table, path: &[String], text: &str) -> Result<(), String> {
    let known = |table: &Table, name: &str| table.keys().find(|key| plain(key) == plain(name)).cloned();
    match path {
        [kafka, properties, name] if kafka == "kafka" && properties == "properties" => {
            let properties = inner(inner(table, kafka)?, properties)?;
            // librdkafka's names have dots.
            let name = known(properties, name).unwrap_or_else(|| name.replace('_', "."));
            properties.insert(name, Value::String(text.to_owned()));
            Ok(())
        }
        [pipelines, which, rest @ ..] if pipelines == "pipeline" => match table.get_mut(pipelines) {
            Some(Value::Array(all)) => set_in(element(all, which)?, rest, text),
            _ => Err("the file has no [[pipeline]]".to_owned()),
        },
        [models, setting] if models == "models" && SETTINGS.contains(&setting.as_str()) => set_in(table, path, text),
        [models, which, rest @ ..] if models == "models" => {
            let models = inner(table, models)?;
            // A name written with `-` or `.` in the file is reached with `_`.
            let name = known(models, which).ok_or_else(|| none_of("model", which, models.keys().map(String::as_str)))?;
            set_in(inner(models, &name)?, rest, text)
        }
        path => set_in(table, path, text),
    }
}

fn set_in(table: &mut Table, path: &[String], text: &str) -> Result<(), String> {
    match path {
        [] => Err("it names no field".to_owned()),
        [field] => {
            table.insert(field.clone(), value(field, text));
            Ok(())
        }
        [first, rest @ ..] => set_in(inner(table, first)?, rest, text),
    }
}

fn inner<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut Table, String> {
    match table.entry(name.to_owned()).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => Ok(inner),
        _ => Err(format!("`{name}` is no section")),
    }
}

/// A pipeline by its name or its index.
fn element<'a>(items: &'a mut [Value], which: &str) -> Result<&'a mut Table, String> {
    let name_of = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let named = |item: &Value| name_of(item).is_some_and(|name| plain(&name) == plain(which));
    let index = items.iter().position(named).or_else(|| which.parse().ok().filter(|index| *index < items.len()));
    match index {
        Some(index) => items[index].as_table_mut().ok_or_else(|| "a [[pipeline]] is no table".to_owned()),
        None => {
            let names: Vec<String> = items.iter().filter_map(name_of).collect();
            Err(none_of("pipeline", which, names.iter().map(String::as_str)))
        }
    }
}

fn none_of<'a>(kind: &str, which: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let near = nearest(which, names.iter().copied()).map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
    format!("there is no {kind} {which:?}, there are: {}{near}", names.join(", "))
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}

fn value(field: &str, text: &str) -> Value {
    let as_text = || Value::String(text.to_string());
    if TEXT.contains(&field) || (field == "topic" && !text.starts_with('[')) {
        return as_text();
    }
    let parsed = toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"));
    parsed.unwrap_or_else(as_text)
}
