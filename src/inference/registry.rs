//! Each model is opened once, when it is first asked for, and shared by all who name it.

use super::causal;
use super::generate::Writer;
use super::seq2seq::TextToText;
use super::{Digest, Encoder, InferenceError, Options};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

type Slots<T> = Mutex<HashMap<(String, PathBuf), Arc<Mutex<Option<Arc<T>>>>>>;

/// The models of this process by name and folder.
#[derive(Default)]
pub struct Registry {
    options: Options,
    encoders: Slots<Encoder>,
    writers: Slots<Writer>,
    text_to_text: Slots<TextToText>,
}

impl Registry {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// The model, opened when this is the first call for it; others who ask meanwhile wait. Blocks while it reads. A failure is not
    /// remembered. `expected` is checked on every call.
    pub fn encoder(&self, name: &str, folder: &Path, expected: Option<&str>) -> Result<Arc<Encoder>, InferenceError> {
        let open = || Encoder::open(name, folder, expected, &self.options);
        opened(&self.encoders, name, folder, expected, open, Encoder::digest)
    }

    /// The same for a causal network with its vocabulary and its template.
    pub fn writer(&self, name: &str, folder: &Path, expected: Option<&str>) -> Result<Arc<Writer>, InferenceError> {
        let options =
            causal::Options { threads: self.options.threads, memory: self.options.memory.clone(), ..causal::Options::default() };
        let open = || Writer::open(name, folder, expected, &options);
        opened(&self.writers, name, folder, expected, open, Writer::digest)
    }

    /// The same for a network that writes a text from a text.
    pub fn text_to_text(&self, name: &str, folder: &Path, expected: Option<&str>) -> Result<Arc<TextToText>, InferenceError> {
        let open = || TextToText::open(name, folder, expected, &self.options);
        opened(&self.text_to_text, name, folder, expected, open, TextToText::digest)
    }

    /// The models that are open now, as `name@digest12`, sorted.
    pub fn loaded(&self) -> Vec<String> {
        let mut ids = ids(&self.encoders, Encoder::id);
        ids.extend(self::ids(&self.writers, Writer::id));
        ids.extend(self::ids(&self.text_to_text, TextToText::id));
        ids.sort();
        ids
    }
}

fn opened<T>(
    slots: &Slots<T>,
    name: &str,
    folder: &Path,
    expected: Option<&str>,
    open: impl FnOnce() -> Result<T, InferenceError>,
    digest: fn(&T) -> &Digest,
) -> Result<Arc<T>, InferenceError> {
    let key = (name.to_owned(), folder.to_owned());
    let slot = Arc::clone(slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(model) = &*slot {
        return match expected.filter(|e| !digest(model).matches(e)) {
            None => Ok(Arc::clone(model)),
            Some(expected) => Err(InferenceError::WrongDigest {
                path: folder.join("model.safetensors"),
                expected: expected.to_owned(),
                found: digest(model).as_str().to_owned(),
            }),
        };
    }
    let model = Arc::new(open()?);
    *slot = Some(Arc::clone(&model));
    Ok(model)
}

fn ids<T>(slots: &Slots<T>, id: fn(&T) -> &str) -> Vec<String> {
    let slots: Vec<_> = slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
    let open = |slot: Arc<Mutex<Option<Arc<T>>>>| {
        slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|model| id(model).to_owned())
    };
    slots.into_iter().filter_map(open).collect()
}
