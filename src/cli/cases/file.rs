//! Files of cases: one JSON object a line; empty lines and lines that begin with `//` are passed over.

use crate::cli::common::Usage;
use crate::event::{Position, RawEvent};
use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One case, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Default: the line.
    #[serde(default)]
    pub name: Option<String>,
    /// The event's body: JSON, or a text that is taken as the record's bytes.
    #[serde(default)]
    pub event: Option<Value>,
    /// For functions with a memory: the key's events, oldest first; the last one is scored.
    #[serde(default)]
    pub events: Option<Vec<Value>>,
    /// The record's key.
    #[serde(default)]
    pub key: Option<String>,
    /// The record's timestamp, milliseconds; for events that carry no time.
    #[serde(default)]
    pub timestamp_ms: Option<i64>,
    /// A part of the answer.
    #[serde(default)]
    pub expect: Value,
    /// How far numbers may be away, as a share. Default 1e-6.
    #[serde(default)]
    pub tolerance: Option<f64>,
    /// Which pipeline; the one of the command line without.
    #[serde(default)]
    pub pipeline: Option<String>,
}

/// A case and where it stands.
#[derive(Debug, Clone)]
pub struct Placed {
    /// From 1 on.
    pub line: usize,
    pub case: Case,
}

impl Case {
    /// What it says of its events, oldest first.
    pub fn bodies(&self) -> impl Iterator<Item = &Value> {
        self.event.iter().chain(self.events.iter().flatten())
    }
}

impl Placed {
    pub fn name(&self) -> String {
        self.case.name.clone().unwrap_or_else(|| format!("line {}", self.line))
    }

    /// The events as they would stand in a log, one after the other.
    pub fn records(&self) -> Vec<RawEvent> {
        let case = &self.case;
        let record = |(offset, body): (i64, &Value)| RawEvent {
            position: Position { topic: "cases".into(), partition: 0, offset },
            timestamp_ms: case.timestamp_ms.unwrap_or(-1),
            key: case.key.as_ref().map(|key| key.as_bytes().into()),
            payload: Some(match body {
                Value::String(bytes) => bytes.as_bytes().into(),
                body => body.to_string().into_bytes().into(),
            }),
            headers: Vec::new(),
        };
        (0..).zip(case.bodies()).map(record).collect()
    }
}

/// The files at a path: itself, or those of a folder that end in `.jsonl`, in the order of their names.
pub fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Usage(format!("{} holds no file that ends in .jsonl", path.display())).into());
    }
    Ok(files)
}

/// The cases of a file. What is wrong with one is told by its line.
pub fn read(path: &Path) -> anyhow::Result<Vec<Placed>> {
    let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))?;
    let mut cases = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| is_case(line)) {
        let place = format!("{}:{}", path.display(), number + 1);
        let case: Case = serde_json::from_str(line).map_err(|error| Usage(format!("{place}: {error}")))?;
        fit(&case).map_err(|what| Usage(format!("{place}: {what}")))?;
        cases.push(Placed { line: number + 1, case });
    }
    if cases.is_empty() {
        return Err(Usage(format!("{} holds no case", path.display())).into());
    }
    Ok(cases)
}

fn is_case(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

fn fit(case: &Case) -> Result<(), String> {
    match (&case.event, &case.events) {
        (Some(_), Some(_)) => return Err("write `event` or `events`, not both".into()),
        (None, None) => return Err("it has neither `event` nor `events`".into()),
        (None, Some(events)) if events.is_empty() => return Err("`events` is empty".into()),
        _ => {}
    }
    if case.tolerance.is_some_and(|tolerance| !tolerance.is_finite() || tolerance < 0.0) {
        return Err("`tolerance` is a number from 0 on".into());
    }
    Ok(())
}

/// Writes new expectations into their lines; all other lines stay as they are. The file is whole at any moment.
pub fn update(path: &Path, expectations: &[(usize, Value)]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, expect) in expectations {
        let Some(text) = lines.get_mut(line - 1) else { continue };
        let mut case: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
        case.insert("expect".to_owned(), RawValue::from_string(expect.to_string())?);
        *text = ordered(&case);
    }
    let beside = path.with_extension("jsonl.new");
    std::fs::write(&beside, lines.join("\n") + "\n").with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// In the order in which people write a case.
fn ordered(case: &BTreeMap<String, Box<RawValue>>) -> String {
    const ORDER: [&str; 8] = ["name", "pipeline", "key", "timestamp_ms", "event", "events", "tolerance", "expect"];
    let parts = ORDER.iter().filter_map(|name| Some((name, case.get(*name)?)));
    let parts: Vec<String> = parts.map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Would catch: a broken case that is passed over, and one that says nothing of its line.
    #[test]
    fn what_is_wrong_with_a_case_is_told_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let told = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).map(|cases| cases.len()).map_err(|error| error.to_string())
        };
        assert_eq!(told("// a note\n\n{\"event\": 1, \"expect\": {}}\n{\"events\": [1, 2]}\n"), Ok(2));
        for (text, what) in [
            ("{\"event\": 1}\n{", ":2: EOF"),
            ("{\"event\": 1, \"evnt\": 2}", ":1: unknown field `evnt`"),
            ("{\"event\": 1, \"events\": [2]}", "not both"),
            ("{\"expect\": {}}", "neither"),
            ("{\"events\": []}", "empty"),
            ("{\"event\": 1, \"tolerance\": -1}", "tolerance"),
            ("// nothing\n", "holds no case"),
        ] {
            assert!(told(text).is_err_and(|error| error.contains(what)), "{text}: {:?}", told(text));
        }
        assert!(files(&folder.path().join("none")).is_ok() && read(&folder.path().join("none")).is_err());
        assert_eq!(files(folder.path()).unwrap(), std::slice::from_ref(&path));
        let empty = tempfile::tempdir().unwrap();
        assert!(files(empty.path()).is_err_and(|error| error.to_string().contains(".jsonl")));
    }

    /// Would catch: an update that touches other lines, loses a key of the case, or changes bytes of an event.
    #[test]
    fn an_update_touches_its_lines_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "// note\n{\"event\":   {\"b\": 1, \"a\": 2}}\n{\"expect\": 1, \"name\": \"n\", \"event\":  {\"b\": 1,  \"a\": 2e0}}\n").unwrap();
        update(&path, &[(3, json!({ "x": 1.5 }))]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "// note\n{\"event\":   {\"b\": 1, \"a\": 2}}\n{\"name\": \"n\", \"event\": {\"b\": 1,  \"a\": 2e0}, \"expect\": {\"x\":1.5}}\n";
        assert_eq!(text, expected);
        let cases = read(&path).unwrap();
        let raw = Case { event: Some(json!("{half")), ..cases[0].case.clone() };
        assert_eq!(Placed { line: 1, case: raw }.records()[0].payload.as_deref(), Some(&b"{half"[..]));
        assert_eq!((cases[0].name(), cases[1].name()), ("line 2".to_owned(), "n".to_owned()));
    }
}
