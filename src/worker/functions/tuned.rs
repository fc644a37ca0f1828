//! A pipeline's function with what a request wants otherwise, built on a thread that may block.
//!
//! What is built may take long: the automaton of a JSON schema, the texts of many labels. So it is no work for a thread of the runtime,
//! a few of a pipeline's are built at the same time, so that dear ones hold up no other pipeline's, and nothing of it is kept when the
//! request is over; what requests share is the function's own.

use super::call::refused;
use crate::admin::ApiError;
use crate::function::Function;
use crate::inference::Threads;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The builds of one pipeline's function.
pub struct Builds {
    /// A place for each at the same time.
    places: Arc<Semaphore>,
    /// What a request may wait for its own.
    timeout: Duration,
}

impl Builds {
    /// As many at the same time as there are cores.
    pub fn new(timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(Threads::OnePerCore.count().max(1))), timeout }
    }

    /// The function, with what the request wants otherwise.
    pub async fn tuned(&self, function: &Arc<dyn Function>, wanted: &Map<String, Value>) -> Result<Arc<dyn Function>, ApiError> {
        if wanted.is_empty() {
            return Ok(Arc::clone(function));
        }
        let internal = |message: String| ApiError { status: 500, kind: "internal", message, param: None };
        let (function, wanted, places) = (Arc::clone(function), wanted.clone(), Arc::clone(&self.places));
        let building = async move {
            let place = places.acquire_owned().await.map_err(|closed| internal(closed.to_string()))?;
            let work = move || {
                // Whoever has gone away still holds the place of what is being built for them.
                let _place = place;
                built(&function, &wanted)
            };
            tokio::task::spawn_blocking(work).await.map_err(|_| internal("the function failed".to_owned()))?
        };
        tokio::time::timeout(self.timeout, building).await.unwrap_or_else(|_| {
            let message = format!(
                "the function with these parameters was not built within {:?}, the limit `call_timeout_ms` of [admin]; ask with \
                 fewer labels or a smaller schema",
                self.timeout
            );
            Err(ApiError { status: 504, kind: "timeout", message, param: Some("parameters".to_owned()) })
        })
    }
}

fn built(function: &Arc<dyn Function>, wanted: &Map<String, Value>) -> Result<Arc<dyn Function>, ApiError> {
    match function.requests() {
        Some(requests) => requests
            .tuned(wanted)
            .map_err(|error| refused(400, "invalid_request", error.message, &format!("parameters.{}", error.name))),
        None => {
            let name = wanted.keys().next().map_or("", String::as_str);
            let message = format!("{} takes no parameters", function.spec().name);
            Err(refused(400, "invalid_request", message, &format!("parameters.{name}")))
        }
    }
}

#[cfg(test)]
mod tests;
