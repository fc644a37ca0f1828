//! The fixtures as model folders.

use crate::inference::heads::{Head, Heads, Spans};
use crate::inference::network::{self, Network, Sequence};
use crate::inference::{InferenceError, Weights, checkpoint::ModelConfig};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Folders of `tests/fixtures/encoders`.
pub const FOLDERS: [&str; 8] = ["albert", "albert_groups", "bert", "distilbert", "electra", "electra_equal", "mpnet", "roberta"];

#[derive(Deserialize)]
pub struct Input {
    pub ids: Vec<u32>,
    pub types: Vec<u32>,
}

impl Input {
    pub fn sequence(&self) -> Sequence<'_> {
        Sequence { ids: &self.ids, types: &self.types }
    }
}

/// One head, or the network's own output, of one family.
#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub config: Value,
    /// As transformers 4 writes it, where that differs.
    pub config_4: Option<Value>,
    pub head: String,
    /// One list an input; some cases have the first inputs only.
    pub expected: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
pub struct Fixture {
    pub inputs: Vec<Input>,
    pub cases: Vec<Case>,
}

pub fn place(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders").join(folder)
}

pub fn fixture(folder: &str) -> Fixture {
    serde_json::from_slice(&std::fs::read(place(folder).join("cases.json")).unwrap()).unwrap()
}

/// A folder as `save_pretrained` leaves it when it saves in parts: the backbone in one file, the head in another. Without a head no
/// class is named.
pub fn write(into: &Path, folder: &str, head: &str, config: &Value) {
    let mut index = serde_json::Map::new();
    let parts = if head == "hidden" { vec!["backbone"] } else { vec!["backbone", head] };
    for part in parts {
        let file = format!("{part}.safetensors");
        let bytes = std::fs::read(place(folder).join(&file)).unwrap();
        for name in SafeTensors::deserialize(&bytes).unwrap().names() {
            index.insert(name.to_owned(), json!(file));
        }
        std::fs::write(into.join(file), bytes).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": index});
    std::fs::write(into.join("model.safetensors.index.json"), index.to_string()).unwrap();
    let mut config = config.clone();
    if head == "hidden" {
        config.as_object_mut().unwrap().remove("architectures");
    }
    std::fs::write(into.join("config.json"), config.to_string()).unwrap();
}

/// A network with its heads, and the tensors that nothing has read.
pub struct Opened {
    pub network: Box<dyn Network>,
    pub heads: Heads,
    pub unread: Vec<String>,
}

impl Opened {
    pub fn head(&self) -> Option<&Head> {
        let Heads { sequence, tokens, spans, mask } = &self.heads;
        let labelled = sequence.as_ref().or(tokens.as_ref()).map(|labelled| &labelled.head);
        let spans = spans.as_ref().and_then(|spans| match spans {
            Spans::Each(head) => Some(head),
            Spans::Beams(_) => None,
        });
        labelled.or(spans).or(mask.as_ref())
    }
}

pub fn open(folder: &Path) -> Result<Opened, InferenceError> {
    let config = ModelConfig::open(folder)?;
    let weights = Weights::open(folder, None)?;
    let tensors = weights.tensors()?;
    let network = network::load(&config, &tensors)?;
    let heads = Heads::load(&config, &tensors, &*network)?;
    Ok(Opened { network, heads, unread: tensors.unread() })
}
