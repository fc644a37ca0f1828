//! The folder of a language model: what it is, how large, and an answer of it.

use super::show;
use crate::inference::causal::{Generator, Options as Generating};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::seq2seq::Transducer;
use crate::inference::{Described, Encoder, Head, Options, best};
use crate::lifecycle::Exit;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;

/// The text whose answer is shown.
const SAMPLE: &str = "I was charged twice for one order.";

pub fn run(folder: &Path, json: bool) -> Result<Exit> {
    let name = folder.file_name().map_or("model".into(), |name| name.to_string_lossy());
    let config = ModelConfig::open(folder)?;
    let class = config.architecture().unwrap_or_default();
    let told = if class.ends_with("ForCausalLM") || class.ends_with("LMHeadModel") {
        causal(&name, folder, &config)?
    } else if class.ends_with("ForConditionalGeneration") || class == "MarianMTModel" {
        pairs(&name, folder, &config)?
    } else {
        encoder(&name, folder)?
    };
    if json {
        show(&format!("{told:#}\n"))?;
        return Ok(Exit::Done);
    }
    let mut lines = format!("{}\n", folder.display());
    for (key, value) in told.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => lines += &format!("  {key}: {text}\n"),
            Value::Array(all) if all.is_empty() => {}
            other => lines += &format!("  {key}: {other}\n"),
        }
    }
    show(&lines)?;
    Ok(Exit::Done)
}

fn encoder(name: &str, folder: &Path) -> Result<Value> {
    let encoder = Encoder::open(name, folder, None, &Options::default())?;
    let Described { family, head, labels, layers, hidden, vocabulary, max_tokens, parameters, bytes, unread, notes, .. } =
        encoder.described();
    let sample = match *head {
        Some("sequence") => {
            let answer = encoder.answer_blocking(Head::Classify, vec![SAMPLE.to_owned()])?.swap_remove(0);
            let best = best(&answer.values);
            Some(format!("{SAMPLE:?} is {} ({:.3})", labels[best], answer.values[best]))
        }
        _ => None,
    };
    Ok(json!({
        "family": family, "digest": encoder.digest().as_str(), "head": head.unwrap_or("none: vectors of texts"), "labels": labels,
        "layers": layers, "hidden": hidden, "vocabulary": vocabulary, "max_tokens": max_tokens, "parameters": parameters,
        "bytes_on_disk": bytes, "bytes_of_activations": encoder.activations()?, "unused_tensors": unread, "sample": sample, "notes": notes,
    }))
}

fn causal(name: &str, folder: &Path, config: &ModelConfig) -> Result<Value> {
    let generator = Generator::open(name, folder, None, &Generating::default())?;
    let bytes = generator.bytes();
    Ok(json!({
        "family": config.family()?, "digest": generator.digest().as_str(), "head": "the next token",
        "vocabulary": generator.vocabulary(), "max_tokens": generator.max_positions(), "bytes_in_memory": bytes.weights,
        "bytes_of_cache_a_token": bytes.token, "bytes_of_cache": bytes.cache, "bytes_of_activations": bytes.activations,
    }))
}

fn pairs(name: &str, folder: &Path, config: &ModelConfig) -> Result<Value> {
    let model = Transducer::open(name, folder, None, &Options::default())?;
    let network = model.network();
    Ok(json!({
        "family": config.family()?, "digest": model.digest().as_str(), "head": "a text from a text", "hidden": network.hidden(),
        "vocabulary": network.vocabulary(), "max_tokens": network.max_tokens(),
    }))
}
