//! GGUF, versions 2 and 3, as llama.cpp writes it: metadata, a vocabulary, and tensors in blocks.

mod architecture;
mod blocks;
mod gemma;
mod reader;
mod value;
mod vocabulary;

pub use reader::{Gguf, TensorInfo};
pub use value::Metadata;

use super::rows::unpermuted;
use super::{ImportError, Model, Planned, Request, Written, write};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

pub(super) fn import(request: &Request) -> Result<Written, ImportError> {
    let path = &request.file;
    let read = |error: std::io::Error| ImportError::Read { path: path.clone(), cause: error.to_string() };
    let file = File::open(path).map_err(read)?;
    let bytes = file.metadata().map_err(read)?.len();
    let mut gguf = Gguf::read(BufReader::new(file), bytes).map_err(|fault| fault.at(path))?;
    let plan = architecture::plan(&gguf, request.rope_theta).map_err(|fault| fault.at(path))?;
    let known = plan.config["vocab_size"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let vocabulary = vocabulary::build(gguf.metadata(), plan.context, known).map_err(|fault| fault.at(path))?;
    let metadata = gguf.metadata();
    let licence = metadata.text("general.license").ok().flatten().map(str::to_owned);
    let mut notes = vocabulary.notes;
    if let Some(name) = metadata.text("general.name").ok().flatten() {
        notes.push(format!("The file calls the model \"{}\".", name.replace(['\n', '\r', '|', '`'], " ")));
    }
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in gguf.tensors() {
        *types.entry(tensor.kind.name()).or_default() += 1;
    }
    let types: Vec<String> = types.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let origin = format!("GGUF version {} (architecture {}; tensors: {})", gguf.version(), plan.architecture, types.join(", "));
    let tensors = plan.tensors.iter().map(|t| Planned { name: t.name.clone(), shape: t.shape.clone() }).collect();
    let model = Model {
        config: plan.config,
        tokenizer: vocabulary.tokenizer,
        tokenizer_config: vocabulary.config,
        tensors,
        licence: licence.filter(|l| l.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) && !l.is_empty()),
        origin,
        notes,
    };
    write::write(request, &model, &mut |index| {
        let tensor = &plan.tensors[index];
        let mut values = gguf.values(&tensor.source)?;
        if tensor.one_more {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        Ok(match tensor.heads {
            Some(heads) => unpermuted(&values, tensor.shape[0], heads),
            None => values,
        })
    })
}
