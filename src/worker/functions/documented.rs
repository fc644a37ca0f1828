//! What each function takes and answers, found once.

use super::{Known, hugging_face};
use crate::admin::FunctionDoc;
use crate::function::schema::{Schema, schema};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// By pipeline. A function does not change once it is loaded.
#[derive(Default)]
pub struct Documents(Mutex<BTreeMap<String, Arc<FunctionDoc>>>);

impl Documents {
    /// Of a pipeline's function. Whoever asks meanwhile waits, so that it is found once.
    pub fn of(&self, pipeline: &str, of: &Known) -> Arc<FunctionDoc> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(pipeline.to_owned()).or_insert_with(|| Arc::new(document(pipeline, of))).clone()
    }
}

/// By the pipeline's own settings.
fn document(pipeline: &str, of: &Known) -> FunctionDoc {
    let function = &*of.function;
    let spec = function.spec();
    let Schema { input, parameters, output, bare, example, pieces } = schema(function);
    FunctionDoc {
        pipeline: pipeline.to_owned(),
        function: spec.name.to_owned(),
        model: spec.model.clone(),
        version: spec.version,
        versions: of.shelf.names(),
        most: spec.limits.slice,
        input,
        parameters,
        output,
        bare: hugging_face::schema(spec.name, &bare),
        example,
        pieces,
    }
}
