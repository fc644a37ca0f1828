//! `embed`: a text as a vector of length 1, such that near texts have near vectors.

use super::passed;
use super::requests::{About, BadParameter, Requests};
use super::texts::{Asked, TextOptions, call_error, rounded, unknown};
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::inference::{Answer, Encoder, Head, InferenceError, Options};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "embed";
const VERSION: u32 = 2;
const LIMITS: Limits = Limits { slice: 256, calls_in_flight: 2, timeout: Duration::from_secs(120) };

/// Fields: `embedding`, `dimensions`, `tokens`, `truncated`. Neither label nor score.
pub struct Embed {
    spec: Spec,
    encoder: Arc<Encoder>,
    options: TextOptions,
}

impl Embed {
    /// Uses an open model.
    pub fn new(encoder: Arc<Encoder>) -> Self {
        let spec = Spec { name: NAME, version: VERSION, model: encoder.id().to_owned(), limits: LIMITS };
        Self { spec, encoder, options: TextOptions::default() }
    }

    /// With the pipeline's options; the error says what to change.
    pub fn with(mut self, options: &Map<String, Value>) -> Result<Self, String> {
        self.options = TextOptions::of(NAME, options)?;
        Ok(self)
    }

    /// Opens a model folder under the folder's own name. Blocks while it reads.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, InferenceError> {
        let folder = folder.as_ref();
        let name = folder.file_name().map_or(NAME.into(), |n| n.to_string_lossy());
        Ok(Self::new(Arc::new(Encoder::open(&name, folder, None, &Options::default())?)))
    }

    /// Embeds texts outside a stream; one outcome a text. For callers outside a Tokio runtime; panics inside one.
    pub fn call_texts(&self, texts: &[&str]) -> Result<Vec<Outcome>, CallError> {
        let mut asked = Asked::new(&self.options, &self.encoder, texts.iter().map(|t| Some(*t)));
        let answers = self.encoder.answer_blocking(Head::Embed, asked.take_texts(&self.encoder)).map_err(call_error)?;
        asked.outcomes(answers, |answer| predict(&answer), || Outcome::Reject(unknown()))
    }

    /// The same inside a Tokio runtime. `None` is an input without a text.
    pub async fn answer(&self, texts: &[Option<&str>]) -> Result<Vec<Outcome>, CallError> {
        let mut asked = Asked::new(&self.options, &self.encoder, texts.iter().copied());
        let answers = self.encoder.answer(Head::Embed, asked.take_texts(&self.encoder)).await.map_err(call_error)?;
        asked.outcomes(answers, |answer| predict(&answer), || Outcome::Reject(unknown()))
    }
}

impl Function for Embed {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            let texts: Vec<Option<&str>> = slice.iter().map(|input| input.event.text.as_deref()).collect();
            let outcomes = self.answer(&texts).await?;
            Ok(passed::add(slice, outcomes, self.options.pass_event, &self.options.output_key))
        })
    }

    fn requests(&self) -> Option<&dyn Requests> {
        Some(self)
    }
}

impl Requests for Embed {
    fn about(&self) -> About {
        About { fields: &["text"], parameters: &[], options: self.options.shown(), example: json!("I love it.") }
    }

    fn tuned(&self, parameters: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter> {
        let name = parameters.keys().next().map_or("", String::as_str);
        Err(BadParameter::unknown(NAME, name, &[]))
    }

    fn bare(&self, fields: &Value) -> Value {
        fields["embedding"].clone()
    }
}

fn predict(answer: &Answer) -> Prediction {
    let embedding: Vec<Value> = answer.values.iter().map(|v| rounded(*v).into()).collect();
    let mut fields = Map::new();
    fields.insert("dimensions".into(), embedding.len().into());
    fields.insert("embedding".into(), embedding.into());
    fields.insert("tokens".into(), answer.tokens.into());
    fields.insert("truncated".into(), answer.truncated.into());
    Prediction { key: None, fields, label: None, score: None }
}
