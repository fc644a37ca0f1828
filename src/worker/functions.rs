//! The functions of this worker's pipelines, for HTTP: the same objects that score the streams.

mod call;
mod chat;
mod documented;
mod embeddings;
mod hugging_face;
mod models;
mod pieces;
#[cfg(test)]
mod plainly;
#[cfg(test)]
mod tests;
mod tuned;
mod versions;
mod within;

use super::versions::Shelf;
use crate::admin::{Answered, ApiError, Asked, Events, FunctionApi, FunctionDoc, Said, Shape, Versioned};
use crate::function::Function;
use crate::function::example;
use crate::function::offline::Offline;
use crate::inference::Threads;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that are in work or wait for their turn at the same time.
const IN_WORK: usize = 64;

/// Functions by the name of their pipeline. A request names a pipeline, or a function that is the same in all that run it.
pub struct Functions {
    by_pipeline: RwLock<BTreeMap<String, Known>>,
    /// Pipelines that will be added, with the names of their functions.
    expected: RwLock<Vec<(String, String)>>,
    room: Arc<Semaphore>,
    /// What a request without pieces may take.
    call_timeout: Duration,
    documents: documented::Documents,
}

/// A pipeline's function, and how it is given JSON.
#[derive(Clone)]
struct Known {
    function: Arc<dyn Function>,
    offline: Arc<dyn Offline>,
    /// When it was loaded, seconds since 1970.
    since: u64,
    /// Calls over HTTP that its model is given at the same time: what stands before a slice of the stream in the model's queue is bounded.
    turns: Arc<Semaphore>,
    /// Where the function is built again for requests with parameters.
    builds: Arc<tuned::Builds>,
    shelf: Arc<Shelf>,
}

impl Known {
    /// Whether a request in OpenAI's shape means this pipeline by a name: its own, its function's, or its model's with or without the digest.
    fn is_called(&self, pipeline: &str, name: &str) -> bool {
        let spec = self.function.spec();
        let model = spec.model.as_str();
        name == pipeline || name == spec.name || name == model || model.split('@').next() == Some(name)
    }

    /// What a client of others writes, as an event of this pipeline: its fields where the pipeline's options say, and a key where it needs
    /// one. Such a client knows the task alone, and could not write it otherwise.
    fn event(&self, input: &Value) -> Value {
        let Some(about) = self.function.requests().map(|requests| requests.about()) else { return input.clone() };
        let options = about.options.as_object().cloned().unwrap_or_default();
        example::event(input.clone(), about.fields, &options)
    }
}

impl Functions {
    /// `call_timeout`: what a request without pieces may take.
    pub fn new(call_timeout: Duration) -> Self {
        Self {
            by_pipeline: RwLock::default(),
            expected: RwLock::default(),
            room: Arc::new(Semaphore::new(IN_WORK)),
            call_timeout,
            documents: documented::Documents::default(),
        }
    }

    /// Pipelines that are being loaded, with the names of their functions: who asks for one meanwhile is told to come again.
    pub fn expect<'a>(&self, pipelines: impl Iterator<Item = (&'a str, &'a str)>) {
        let named = pipelines.map(|(pipeline, function)| (pipeline.to_owned(), function.to_owned()));
        self.expected.write().unwrap_or_else(PoisonError::into_inner).extend(named);
    }

    /// A pipeline's function by its own settings, and where its versions are found.
    pub fn add(&self, pipeline: &str, function: Arc<dyn Function>, offline: Arc<dyn Offline>, shelf: Arc<Shelf>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let turns = Arc::new(Semaphore::new(Threads::OnePerCore.count().max(2)));
        let builds = Arc::new(tuned::Builds::new(self.call_timeout));
        let known = Known { function, offline, since, turns, builds, shelf };
        self.expected.write().unwrap_or_else(PoisonError::into_inner).retain(|(name, _)| name != pipeline);
        self.by_pipeline.write().unwrap_or_else(PoisonError::into_inner).insert(pipeline.to_owned(), known);
    }

    /// Where the versions of a pipeline are found.
    pub fn shelf(&self, pipeline: &str) -> Option<Arc<Shelf>> {
        self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner).get(pipeline).map(|known| known.shelf.clone())
    }

    fn find(&self, name: &str) -> Result<Known, ApiError> {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name) {
            return Ok(known.clone());
        }
        let refused = |status, kind, message| Err(ApiError { status, kind, message, param: Some("name".into()) });
        let expected = self.expected.read().unwrap_or_else(PoisonError::into_inner);
        if expected.iter().any(|(pipeline, function)| pipeline == name || function == name) {
            return refused(503, "loading", format!("`{name}` is being loaded; ask again in a moment"));
        }
        let of_name: Vec<(&str, &Known)> = all
            .iter()
            .filter(|(_, known)| known.function.spec().name == name)
            .map(|(pipeline, of)| (pipeline.as_str(), of))
            .collect();
        match of_name[..] {
            [(_, only)] => Ok(only.clone()),
            [] => {
                let known: Vec<String> =
                    all.iter().map(|(pipeline, of)| format!("{pipeline} ({})", of.function.spec().name)).collect();
                let message = format!("there is no pipeline or function `{name}` here; known: {}", known.join(", "));
                refused(404, "not_found", message)
            }
            _ => {
                let pipelines: Vec<&str> = of_name.iter().map(|(pipeline, _)| *pipeline).collect();
                let message = format!("several pipelines run `{name}`; name one of them: {}", pipelines.join(", "));
                refused(409, "ambiguous", message)
            }
        }
    }

    /// A place for one request.
    fn room(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let message = format!("{IN_WORK} requests are in work; ask again in a moment");
            ApiError { status: 429, kind: "overloaded", message, param: None }
        })
    }
}

impl FunctionApi for Functions {
    fn list(&self) -> Value {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner);
        let one = |(pipeline, known): (&String, &Known)| {
            let spec = known.function.spec();
            let mut one = json!({ "pipeline": pipeline, "name": spec.name, "model": spec.model, "version": spec.version });
            (one["versions"], one["in_force"]) = (known.shelf.names().into(), known.shelf.in_force().as_deref().into());
            if let Some(requests) = known.function.requests() {
                let about = requests.about();
                one["fields"] = about.fields.iter().copied().collect();
                one["parameters"] = about.parameters.iter().copied().collect();
                let options = about.options.as_object().cloned().unwrap_or_default();
                let example = example::event(about.example, about.fields, &options);
                one["options"] = about.options;
                one["example"] = json!({ "inputs": example, "parameters": {} });
            }
            one
        };
        all.iter().map(one).collect()
    }

    fn documented(&self) -> Vec<Arc<FunctionDoc>> {
        let all = self.by_pipeline.read().unwrap_or_else(PoisonError::into_inner).clone();
        all.iter().map(|(pipeline, known)| self.documents.of(pipeline, known)).collect()
    }

    fn answer<'a>(
        &'a self,
        asked: Asked<'a>,
        input: Value,
        shape: Shape,
    ) -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>> {
        async move {
            let (known, by) = self.at(self.find(asked.name)?, asked.version).await?;
            let (place, gives_up, name) = (self.room()?, known.function.gives_up(), asked.name.to_owned());
            let work = |given_up| async move { call::call(&known, &name, &input, shape, &given_up).await };
            Ok(Versioned { by, answer: self.within(place, gives_up, work).await? })
        }
        .boxed()
    }

    fn embeddings<'a>(&'a self, version: Option<&'a str>, input: Value) -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>> {
        async move {
            let asked = embeddings::Asked::read(&input)?;
            let (known, by) = self.at(self.of_task("embed", asked.model.as_deref())?, version).await?;
            let (place, gives_up) = (self.room()?, known.function.gives_up());
            let work = |given_up| async move { embeddings::answer(&known, asked, &given_up).await };
            Ok(Versioned { by, answer: self.within(place, gives_up, work).await? })
        }
        .boxed()
    }

    fn chat<'a>(&'a self, version: Option<&'a str>, input: Value) -> BoxFuture<'a, Result<Versioned<Said>, ApiError>> {
        self.completion(version, input).boxed()
    }

    fn models(&self) -> Value {
        self.served()
    }

    fn model(&self, name: &str) -> Result<Value, ApiError> {
        self.served_as(name)
    }

    fn stream<'a>(&'a self, asked: Asked<'a>, input: Value, shape: Shape) -> BoxFuture<'a, Result<Versioned<Events>, ApiError>> {
        async move {
            let (known, by) = self.at(self.find(asked.name)?, asked.version).await?;
            let place = self.room()?;
            Ok(Versioned { by, answer: call::stream(&known, &input, shape, place).await? })
        }
        .boxed()
    }
}
