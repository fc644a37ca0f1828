//! The files that are shipped for Prometheus, Grafana and those who are called at night.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files of a folder that end so, by their name without the ending.
pub fn folder(path: &str, ending: &str) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(root().join(path)).unwrap().map(|entry| entry.unwrap().path());
    let named = files.filter_map(|file| Some((file.file_name()?.to_str()?.strip_suffix(ending)?.to_owned(), file.clone())));
    named.map(|(name, file)| (name, std::fs::read_to_string(file).unwrap())).collect()
}

pub fn dashboards() -> BTreeMap<String, Value> {
    let read = |text: String| serde_json::from_str(&text).unwrap();
    folder("deploy/grafana/dashboards", ".json").into_iter().map(|(name, text)| (name, read(text))).collect()
}

/// Pages of the runbooks by their path below `docs/runbooks`, without the two lists.
pub fn pages() -> BTreeMap<String, String> {
    let mut pages = folder("docs/runbooks", ".md");
    pages.extend(folder("docs/runbooks/halts", ".md").into_iter().map(|(name, text)| (format!("halts/{name}"), text)));
    pages.retain(|name, _| !name.ends_with("README"));
    pages
}

/// A query of a dashboard.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Dashboard and title.
    pub name: String,
    /// PromQL or SQL.
    pub query: String,
    pub legend: String,
    pub format: String,
}

/// Every query of every panel, and those of the variables.
pub fn queries(key: &str) -> Vec<Panel> {
    let mut found = Vec::new();
    for (file, board) in dashboards() {
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let of = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
                if !of(key).is_empty() {
                    let name = format!("{file}: {}", panel["title"].as_str().unwrap());
                    found.push(Panel { name, query: of(key), legend: of("legendFormat"), format: of("format") });
                }
            }
        }
        for variable in board["templating"]["list"].as_array().unwrap() {
            if let (Some("grafana-postgresql-datasource"), Some(query)) =
                (variable["datasource"]["type"].as_str(), variable["query"].as_str())
                && key == "rawSql"
            {
                let name = format!("{file}: ${}", variable["name"].as_str().unwrap());
                found.push(Panel { name, query: query.into(), legend: String::new(), format: "table".into() });
            }
        }
    }
    found
}

/// A rule of Prometheus.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// Name of the alert or of what is recorded.
    pub name: String,
    pub alerts: bool,
    pub expr: String,
    pub severity: String,
    pub summary: String,
    pub description: String,
    pub runbook: String,
}

/// Reads the rules, which are written in one way: a line that is none of it is an error.
pub fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in text("deploy/prometheus/rules.yaml").lines() {
        let (indent, words) = (line.len() - line.trim_start().len(), line.trim());
        let Some(rule) = rules.last_mut().filter(|_| indent >= 8) else {
            if let Some((kind, name)) = words.strip_prefix("- ").and_then(|rest| rest.split_once(": ")).filter(|_| indent == 6) {
                assert!(matches!(kind, "alert" | "record"), "{line}");
                rules.push(Rule { name: name.into(), alerts: kind == "alert", ..Rule::default() });
            }
            continue;
        };
        let value = |key: &str| words.strip_prefix(key).map(|value| value.trim().trim_matches('"').to_owned());
        match indent {
            8 if words.starts_with('#') || ["expr: |", "annotations:"].contains(&words) || words.starts_with("for: ") => {}
            8 => {
                rule.severity =
                    value("labels: { severity:").unwrap_or_else(|| panic!("{line}")).trim_end_matches([' ', '}']).into()
            }
            10 if value("summary:").is_some() => rule.summary = value("summary:").unwrap(),
            10 if value("description:").is_some() => rule.description = value("description:").unwrap(),
            10 if value("runbook_url:").is_some() => rule.runbook = value("runbook_url:").unwrap(),
            _ => rule.expr = format!("{} {words}", rule.expr),
        }
    }
    rules
}

/// Blocks of a page that are fenced as `language`.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let (mut found, mut open) = (Vec::new(), None::<Vec<&str>>);
    for line in page.lines() {
        match (&mut open, line.trim()) {
            (None, words) if words == fence => open = Some(Vec::new()),
            (Some(lines), "```") => {
                found.push(lines.join("\n"));
                open = None;
            }
            (Some(lines), _) => lines.push(line),
            _ => {}
        }
    }
    found
}
