//! `embed`: a text as a vector of length 1, such that near texts have near vectors.

use super::api::block;
use super::fields::Fields;
use super::one::{self, One};
use super::options::TooLong;
use super::requests::Requests;
use super::task::{Task, TextFunction};
use super::texts::{rounded, unknown};
use super::vectors::{Reading, Vectors, prompt, vectors};
use super::windows::Seen;
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::event::Rejection;
use crate::inference::{Encoder, InferenceError};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

const NAME: &str = "embed";

/// Options of `embed`; null is the default.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// `truncate` (default), `window` or `reject`. The vector of windows is the mean of theirs, weighted by their tokens, and of length 1 again.
    pub too_long: TooLong,
    /// Tokens by which windows overlap. Default: a quarter of what the model sees.
    pub stride: Option<usize>,
    /// Whether vectors have length 1. Default true; false gives them as the network pools them.
    pub normalize: bool,
    /// So many numbers of a vector, the first, and of length 1 again; for models that were trained to be cut short (Kusupati and others
    /// 2022). Default: all.
    pub dimensions: Option<usize>,
    /// What is put before each text, such as `query: `; an empty text is none. Default: what `prompt_name` names.
    pub prompt: Option<String>,
    /// The same by its name in the model's config_sentence_transformers.json. Default: that file's `default_prompt_name`, else none.
    pub prompt_name: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { too_long: TooLong::default(), stride: None, normalize: true, dimensions: None, prompt: None, prompt_name: None }
    }
}

/// The vector of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    pub vector: Vec<f32>,
    pub seen: Seen,
}

/// What `embed` does, as a task.
pub struct Embedding {
    encoder: Arc<Encoder>,
    how: Reading,
}

impl Embedding {
    /// The model, and how it reads.
    pub(super) fn parts(&self) -> (&Encoder, &Reading) {
        (&self.encoder, &self.how)
    }
}

impl Task for Embedding {
    const NAME: &'static str = NAME;
    const VERSION: u32 = 2;
    const FIELDS: &'static [&'static str] = &["text"];
    const PARAMETERS: &'static [&'static str] = &["too_long", "stride", "normalize", "dimensions", "prompt", "prompt_name"];
    type Model = Encoder;
    type Options = Options;
    type Ask = One;
    type Answer = Embedded;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        let Options { too_long, stride, normalize, dimensions, prompt: text, prompt_name } = options;
        let prompt = prompt(&encoder, text.as_deref(), prompt_name.as_deref())?;
        let how = Reading { too_long, stride, prompt, dimensions, normalize };
        how.check(&encoder)?;
        Ok(Self { encoder, how })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn limits(&self) -> Limits {
        one::limits(self.how.too_long)
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<One, Rejection> {
        fields.text("text").map(One)
    }

    fn texts(ask: &One) -> Vec<(&'static str, Option<usize>, &str)> {
        vec![("text", None, &ask.0)]
    }

    fn cost(&self, ask: &One) -> usize {
        self.how.cost(&self.encoder, &ask.0)
    }

    async fn answer(&self, asks: Vec<One>) -> Result<Vec<Result<Embedded, Rejection>>, CallError> {
        let (known, texts) = one::known(&self.encoder, asks);
        let one = |of: Arc<Vectors>| Embedded { vector: of.whole(&self.how), seen: of.seen };
        let found = vectors(&self.encoder, texts, &self.how).await?.into_iter().map(|found| found.map(one)).collect();
        one::in_known_places(known, found, || Err(unknown()))
    }

    fn prediction(&self, answer: Embedded) -> Prediction {
        let embedding: Vec<Value> = answer.vector.iter().map(|value| rounded(*value).into()).collect();
        let mut fields = Map::new();
        fields.insert("dimensions".into(), embedding.len().into());
        fields.insert("embedding".into(), embedding.into());
        answer.seen.tell(&mut fields, self.how.too_long);
        Prediction { key: None, fields, label: None, score: None, model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["embedding"].clone()
    }

    fn example(&self) -> Value {
        json!("I love it.")
    }
}

/// Fields: `embedding`, `dimensions`, `tokens`, `truncated`, with `too_long = "window"` also `windows`. Neither label nor score. A text of
/// which the model knows no token is refused.
pub struct Embed(TextFunction<Embedding>);

impl Embed {
    /// Uses an open model.
    pub fn new(encoder: Arc<Encoder>) -> Self {
        let prompt = encoder.prompts().by_default().unwrap_or_default().to_owned();
        let how = Reading { prompt, ..Reading::plain(TooLong::default(), None) };
        Self(TextFunction::of(Embedding { encoder, how }))
    }

    /// With the pipeline's options; the error says what to change.
    pub fn with(self, options: &Map<String, Value>) -> Result<Self, String> {
        one::check_fields(NAME, options)?;
        TextFunction::new(self.0.task().encoder.clone(), options).map(Self)
    }

    /// Opens a model folder under the folder's own name. Blocks while it reads.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, InferenceError> {
        one::load(NAME, folder.as_ref()).map(Self::new)
    }

    /// Embeds texts outside a stream; one outcome a text. Blocks its thread.
    pub fn call_texts(&self, texts: &[&str]) -> Result<Vec<Outcome>, CallError> {
        let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
        block::on(self.answer(&texts))
    }

    /// The same without blocking the thread. `None` is an input without a text.
    pub async fn answer(&self, texts: &[Option<&str>]) -> Result<Vec<Outcome>, CallError> {
        self.0.answer_texts(texts).await
    }
}

impl Function for Embed {
    fn spec(&self) -> &Spec {
        self.0.spec()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        self.0.call(slice)
    }

    fn requests(&self) -> Option<&dyn Requests> {
        self.0.requests()
    }
}
