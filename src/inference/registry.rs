//! Each model is opened once, when it is first asked for, and shared by all who name it.

use super::{Encoder, InferenceError, Options};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

type Slot = Arc<Mutex<Option<Arc<Encoder>>>>;

/// The models of this process by name and folder.
#[derive(Default)]
pub struct Registry {
    options: Options,
    slots: Mutex<HashMap<(String, PathBuf), Slot>>,
}

impl Registry {
    pub fn new(options: Options) -> Self {
        Self { options, slots: Mutex::default() }
    }

    /// The model, opened when this is the first call for it; others who ask meanwhile wait. Blocks while it reads. A failure is not
    /// remembered. `expected` is checked on every call.
    pub fn encoder(&self, name: &str, folder: &Path, expected: Option<&str>) -> Result<Arc<Encoder>, InferenceError> {
        let key = (name.to_owned(), folder.to_owned());
        let slot = Arc::clone(self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = &*slot {
            return match expected.filter(|e| !encoder.digest().matches(e)) {
                None => Ok(Arc::clone(encoder)),
                Some(expected) => Err(InferenceError::WrongDigest {
                    path: folder.join("model.safetensors"),
                    expected: expected.to_owned(),
                    found: encoder.digest().as_str().to_owned(),
                }),
            };
        }
        let encoder = Arc::new(Encoder::open(name, folder, expected, &self.options)?);
        *slot = Some(Arc::clone(&encoder));
        Ok(encoder)
    }

    /// The models that are open now, as `name@digest12`, sorted.
    pub fn loaded(&self) -> Vec<String> {
        let slots: Vec<Slot> = self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let open = |slot: Slot| slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|e| e.id().to_owned());
        let mut ids: Vec<String> = slots.into_iter().filter_map(open).collect();
        ids.sort();
        ids
    }
}
