//! The reference of the config file against the page that is in the repository, and against the config that it describes.

use super::page::root;
use millrace::config::Config;
use serde_json::Value;
use std::process::Command;

/// What `millrace config` prints.
fn said(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("config").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every key with the title of its section.
fn keys() -> Vec<(String, Value)> {
    let sections: Vec<Value> = serde_json::from_str(&said(&["reference", "--json"])).unwrap();
    let of = |section: &Value| {
        let title = section["title"].as_str().unwrap().to_owned();
        let keys = section["keys"].as_array().unwrap().clone();
        keys.into_iter().map(move |key| (title.clone(), key)).collect::<Vec<_>>()
    };
    sections.iter().flat_map(of).collect()
}

/// Would catch: a key that was added, changed or taken away, and a page that does not know it.
#[test]
fn the_pages_are_what_the_code_says() {
    for (name, args) in [("configuration.md", "reference"), ("millrace.schema.json", "schema")] {
        let (file, text) = (root().join("docs").join(name), said(&[args]));
        if std::env::var_os("MILLRACE_WRITE_DOCS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        let line = found.lines().zip(text.lines()).position(|(old, new)| old != new).unwrap_or(0) + 1;
        assert!(
            found == text,
            "docs/{name} is out of date from line {line} on; write it anew with `millrace config {args} > docs/{name}`, and look at the \
             difference"
        );
    }
}

/// Would catch: a key without a word of what it means, a section that is left out.
#[test]
fn every_key_has_a_meaning() {
    let keys = keys();
    for (section, key) in &keys {
        let text = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
        assert!(text("words").len() + text("default").len() > 10 && !text("kind").is_empty(), "{section}: {key}");
    }
    for (section, name) in [
        ("`[kafka]`", "brokers"),
        ("`[[pipeline]]`", "topic"),
        ("`[models.NAME]`", "path"),
        ("`[[risk.feature]]`", "window"),
        ("`[recommend.blend]`", "weights"),
        ("`[dialogue]`", "gap"),
        ("Options of `reply`", "min_score"),
        ("Options of `risk`", "policy"),
    ] {
        assert!(keys.iter().any(|(title, key)| title == section && key["name"] == name), "{section} {name} is not told");
    }
}

/// Would catch: a comment that tells another default than the code has.
#[test]
fn comments_and_code_agree_on_defaults() {
    let mut compared = 0;
    for (section, key) in keys() {
        let Some((told, machine)) = number(key["default"].as_str().unwrap()).zip(key["machine"].as_f64()) else { continue };
        assert!((told - machine).abs() < 1e-6 * machine.abs().max(1.0), "{section}: {key}");
        compared += 1;
    }
    assert!(compared > 30, "{compared} defaults are told");
}

/// The number that a text begins with: `4,096`, `64 MiB`, `0.35: …`.
fn number(text: &str) -> Option<f64> {
    let text = text.trim_start_matches('`').replace(',', "");
    let digits: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit = text[digits.len()..].trim_start();
    let times = [("KiB", 1024.0), ("MiB", 1_048_576.0)].into_iter().find(|(name, _)| unit.starts_with(name));
    Some(digits.trim_end_matches('.').parse::<f64>().ok()? * times.map_or(1.0, |(_, times)| times))
}

/// Would catch: a variable that leads nowhere.
#[test]
fn variables_reach_their_keys() {
    let pipeline = "[[pipeline]]\nname = 'name'\ntopic = 't'\nevent = 'json'\nfunction = 'copy'";
    let text = format!("[kafka]\n[postgres]\n[models.name]\npath = 'm'\n{pipeline}");
    let mut tried = 0;
    for (_, key) in keys() {
        let Some(env) = key["env"].as_str() else { continue };
        let name = if env.ends_with("PROPERTIES") { format!("{env}__CLIENT_ID") } else { env.to_owned() };
        // A value that no key takes: an error may be about it, never about the name.
        let error = Config::parse(&text, "t", &[(name.clone(), "{ no_such_key = 1 }".to_owned())].into()).err();
        let error = error.map_or(String::new(), |error| error.to_string());
        let field = key["name"].as_str().unwrap();
        assert!(!error.contains("leads nowhere") && !error.contains(&format!("unknown field `{field}`")), "{name}: {error}");
        tried += 1;
    }
    assert!(tried > 100, "{tried} variables");
}

/// Would catch: a schema by which an editor marks a sample as wrong.
#[test]
fn the_schema_knows_every_key_of_the_samples() {
    let schema: Value = serde_json::from_str(&said(&["schema"])).unwrap();
    let pipeline = schema["$defs"]["Pipeline"]["properties"].as_object().unwrap();
    let mut seen = 0;
    let samples = std::fs::read_dir(root().join("deploy/samples")).unwrap().map(|entry| entry.unwrap().path());
    for file in samples.filter(|file| file.extension().is_some_and(|end| end == "toml")) {
        let table: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        for of_pipeline in table.get("pipeline").and_then(toml::Value::as_array).into_iter().flatten() {
            for key in of_pipeline.as_table().unwrap().keys() {
                assert!(pipeline.contains_key(key), "{}: {key}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen} keys");
}
