//! `/v1/models`: what `/v1/embeddings` and `/v1/chat/completions` may be asked for, as clients of OpenAI's API list it.

use super::{Functions, Known};
use crate::admin::ApiError;
use serde_json::{Value, json};
use std::sync::PoisonError;

/// The functions that run in OpenAI's shape.
const TASKS: [&str; 2] = ["embed", "generate"];

impl Functions {
    /// One a pipeline, under its name.
    pub(super) fn served(&self) -> Value {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        let data: Value = all.iter().filter(|(_, known)| is_served(known)).map(|(name, known)| told(name, known)).collect();
        json!({ "object": "list", "data": data })
    }

    /// One of them, by any name that the requests take.
    pub(super) fn served_as(&self, name: &str) -> Result<Value, ApiError> {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        let served = || all.iter().filter(|(_, known)| is_served(known));
        let mut called = served().filter(|(pipeline, known)| known.is_called(pipeline, name));
        let only = called.next().filter(|_| called.next().is_none());
        // A pipeline's own name goes before that of a model or function, which several may share.
        if let Some((pipeline, known)) = served().find(|(pipeline, _)| *pipeline == name).or(only) {
            return Ok(told(pipeline, known));
        }
        let names: Vec<&str> = served().map(|(pipeline, _)| pipeline.as_str()).collect();
        let message = format!("there is no model `{name}` here, or several are called so; known: {}", names.join(", "));
        Err(ApiError { status: 404, kind: "not_found", message, param: Some("model".into()) })
    }
}

fn is_served(known: &Known) -> bool {
    TASKS.contains(&known.function.spec().name)
}

fn told(pipeline: &str, known: &Known) -> Value {
    let spec = known.function.spec();
    json!({
        "id": pipeline, "object": "model", "created": known.since, "owned_by": "millrace",
        "function": spec.name, "model": spec.model,
    })
}
