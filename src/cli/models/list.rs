//! `millrace models`: the models of all places where names are looked up, and of a config.

use super::show;
use crate::config::Config;
use crate::hub::{Places, State, look};
use crate::inference::Weights;
use crate::inference::checkpoint::ModelConfig;
use crate::lifecycle::Exit;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One model.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// By which it is found.
    name: String,
    /// What kind of place it is in.
    place: &'static str,
    folder: PathBuf,
    /// The function that it is for.
    task: Option<&'static str>,
    family: Option<String>,
    labels: Vec<String>,
    /// Bytes of the weights.
    bytes: Option<u64>,
    /// Bytes of the weights in memory, as 32-bit floats: an estimate. For a head without its encoder.
    bytes_in_memory: Option<u64>,
    /// SHA-256 of the weights.
    digest: Option<String>,
    /// Why it cannot be used.
    wrong: Option<String>,
}

/// Reads all weights for their digests.
pub fn run(config: Option<&Path>, json: bool, env: &BTreeMap<String, String>) -> Result<Exit> {
    let mut all = of_places(&Places::of_process());
    if let Some(path) = config {
        let config = Config::load(path, env)?;
        let sections = config.models.iter().map(|(name, model)| (name.clone(), model.path.clone()));
        let mut of_config: Vec<Listed> =
            sections.filter(|(_, path)| !path.is_file()).map(|(name, path)| listed(name, "config", path)).collect();
        of_config.append(&mut all);
        all = of_config;
    }
    if json {
        show(&(serde_json::to_string_pretty(&all)? + "\n"))?;
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        show(
            "No models were found. The places: $MILLRACE_MODELS, models here, models beside the program, the cache of a hub.\n",
        )?;
    }
    show(&all.iter().map(Listed::told).collect::<String>())?;
    Ok(Exit::Done)
}

/// In the order in which names are looked up; a name that an earlier place has is not found in a later one.
fn of_places(places: &Places) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    for (root, place) in places.roots() {
        for folder in folders(root) {
            // A folder of a scoring model, or of models: neither is a language model.
            if folder.join("config.json").is_file() {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                all.push(listed(name, place, folder));
            } else {
                for folder in folders(&folder).into_iter().filter(|folder| folder.join("config.json").is_file()) {
                    let name = folder.strip_prefix(root).unwrap_or(&folder).to_string_lossy().into_owned();
                    all.push(listed(name, place, folder));
                }
            }
        }
    }
    for folder in places.cache.iter().flat_map(|cache| folders(cache)) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((org, name)) = name.strip_prefix("models--").and_then(|name| name.split_once("--")) else { continue };
        for snapshot in folders(&folder.join("snapshots")).into_iter().filter(|folder| folder.join("config.json").exists()) {
            let commit = snapshot.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.push(listed(format!("{org}/{name}@{commit}"), "the hub's cache", snapshot));
        }
    }
    all
}

/// The folders in one, by name.
fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    all.sort();
    all
}

fn listed(name: String, place: &'static str, folder: PathBuf) -> Listed {
    let mut one = Listed {
        name,
        place,
        folder,
        task: None,
        family: None,
        labels: Vec::new(),
        bytes: None,
        bytes_in_memory: None,
        digest: None,
        wrong: None,
    };
    match look(&one.folder) {
        State::Found => {}
        state => one.wrong = Some(state.to_string()),
    }
    if let Err(cause) = one.read() {
        one.wrong = one.wrong.or_else(|| Some(cause.to_string()));
    }
    one
}

impl Listed {
    fn read(&mut self) -> Result<()> {
        let config = ModelConfig::open(&self.folder)?;
        let class = config.architecture().unwrap_or_default();
        self.family = config.family().ok().map(str::to_owned).or_else(|| config.get("backbone").map(|_| "a head".to_owned()));
        self.task = Some(task(class));
        let names = config.get("id2label").and_then(serde_json::Value::as_object);
        let mut labels: Vec<(usize, String)> =
            names.into_iter().flatten().filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?.to_owned()))).collect();
        labels.sort();
        if matches!(self.task, Some("classify" | "tag")) {
            self.labels = labels.into_iter().map(|(_, name)| name).collect();
        }
        let weights = Weights::open(&self.folder, None)?;
        self.bytes = Some(weights.bytes() as u64);
        self.digest = Some(weights.digest().as_str().to_owned());
        self.bytes_in_memory = Some(weights.tensors()?.bytes_in_memory(&[]) as u64);
        Ok(())
    }

    fn told(&self) -> String {
        let mut told = format!("{} ({})\n", self.name, self.place);
        if let Some(wrong) = &self.wrong {
            told += &format!("  CANNOT BE USED: {wrong}\n");
        }
        if let Some(family) = &self.family {
            let labels = match &self.labels[..] {
                [] => String::new(),
                few @ ([_] | [_, _] | [_, _, _] | [_, _, _, _]) => format!(", labels {}", few.join(", ")),
                many => format!(", {} labels", many.len()),
            };
            told += &format!("  {}, {family}{labels}\n", self.task.unwrap_or_default());
        }
        if let (Some(bytes), Some(in_memory), Some(digest)) = (self.bytes, self.bytes_in_memory, &self.digest) {
            let mb = |bytes: u64| bytes as f64 / 1e6;
            told +=
                &format!("  {:.1} MB on disk, about {:.1} MB in memory, sha256 {}\n", mb(bytes), mb(in_memory), &digest[..12]);
        }
        told
    }
}

/// The functions that run such a class.
fn task(class: &str) -> &'static str {
    let heads = [
        ("ForSequenceClassification", "classify"),
        ("ForTokenClassification", "tag"),
        ("ForQuestionAnswering", "answer"),
        ("ForMaskedLM", "fill"),
        ("ForCausalLM", "generate"),
        ("LMHeadModel", "generate"),
        ("T5ForConditionalGeneration", "translate, summarize"),
        ("ForConditionalGeneration", "summarize"),
        ("MarianMTModel", "translate"),
    ];
    heads.iter().find(|(end, _)| class.ends_with(end)).map_or("embed", |(_, task)| task)
}
